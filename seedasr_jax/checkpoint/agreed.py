"""A checkpoint as one process opened it, handed to the others of a job: they look at no disk."""

from etils import epath

from seedasr_jax import config
from seedasr_jax.checkpoint import opened
from seedasr_jax.checkpoint import record as records


def to_dict(checkpoint: opened.Checkpoint) -> dict:
    """A checkpoint as JSON."""
    return {
        "folder": str(checkpoint.folder),
        "name": checkpoint.name,
        "step": checkpoint.step,
        "record": config.to_dict(checkpoint.record),
        "vocab": str(checkpoint.vocab),
        "imports": list(checkpoint.imports),
        "bundle": checkpoint.bundle,
    }


def from_dict(tree: dict) -> opened.Checkpoint:
    """What `to_dict` made JSON of."""
    paths = {key: epath.Path(tree[key]) for key in ("folder", "vocab")}
    record = records.parse(tree["record"], tree["folder"])
    return opened.Checkpoint(**tree | paths | {"record": record, "imports": (*tree["imports"],)})
