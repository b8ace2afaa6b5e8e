"""A checkpoint as JSON: one process of a job opens it and hands it to the others."""

from etils import epath

from seedasr_jax import config
from seedasr_jax.checkpoint import opened
from seedasr_jax.checkpoint import record as records


def to_dict(checkpoint: opened.Checkpoint) -> dict:
    """The fields of a checkpoint as JSON values."""
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
    """The inverse of `to_dict`."""
    paths = {key: epath.Path(tree[key]) for key in ("folder", "vocab")}
    record = records.parse(tree["record"], tree["folder"])
    return opened.Checkpoint(**tree | paths | {"record": record, "imports": (*tree["imports"],)})
