"""stage.json: the recipe, progress and parents of a stage."""

from collections.abc import Mapping
import dataclasses
import importlib.metadata
import os
import platform
import re
from typing import Any

from etils import epath

from seedasr_jax import config
from seedasr_jax import workdir as disk
from seedasr_jax.checkpoint.limits import Limits
from seedasr_jax.errors import ConfigError, UserError

_Group = Mapping[str, Any]
_References = Mapping[str, Mapping[str, str]]  # part -> {"checkpoint": path, "hash": content hash}
_PACKAGES = ("seedasr_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


@dataclasses.dataclass(frozen=True)
class StageRecord:
    """The content of stage.json. Paths in references, such as `lm@4000`, start in the workdir."""

    format_version: int
    state: str = config.one_of("running", "finished")
    kind: str
    recipe: _Group  # config.Stage without its run settings
    run: _Group  # the run settings alone
    recipe_hash: str
    parents: _References
    frozen: _References  # parts that are not stored here
    vocabulary: str  # hash of the tokenizer's content
    reads: Mapping[str, str]  # SPEC or task -> the same, with content hashes
    step: int = config.at_least(0)  # newest complete step on disk
    position: int  # steps of data consumed: batches are a function of seed and step
    hours: Mapping[str, float]  # of audio consumed, by task
    spent: Mapping[str, float]  # seconds, cpu_seconds, chip_seconds
    limits: Limits | None  # None until the stage has read its data
    hashes: Mapping[str, str]  # part -> content hash, once the stage is finished
    versions: Mapping[str, str]  # of packages

    @property
    def stage(self) -> config.Stage:
        """The stage's config: recipe and run settings."""
        return config.build(config.merge(self.recipe, self.run), config.Stage, "recipe")


def new(stage: config.Stage, recipe_hash: str, **inputs) -> StageRecord:
    """The record of a starting stage; `inputs`: its parents, frozen, vocabulary and reads."""
    settings, recipe = config.to_dict(stage), config.to_dict(stage, recipe_only=True)
    start = dict(state="running", step=0, position=0, hours={}, spent={}, limits=None, hashes={})
    return StageRecord(
        format_version=disk.FORMAT_VERSION,
        kind=stage.kind,
        recipe=config.build(recipe, _Group, "recipe"),
        run=config.build(_without(settings, recipe), _Group, "run"),
        recipe_hash=recipe_hash,
        versions=versions(),
        **start,
        **inputs,
    )


def read(folder) -> StageRecord:
    """Reads stage.json; a UserError if it is missing, unreadable, or of another version."""
    path = epath.Path(folder) / disk.STAGE
    if not path.exists():
        raise UserError(f"{path}: no such file: {folder} is not a stage directory")
    return parse(disk.read_stage(path.parent), path, disk.NEW_STAGE)


def write(folder, record: StageRecord) -> None:
    """Replaces stage.json atomically."""
    folder = epath.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    disk.write_json(folder / disk.STAGE, config.to_dict(record))


def parse(tree, path, cure="; copy it there again") -> StageRecord:
    """A StageRecord from nested dicts, whose unknown keys are ignored; a UserError with file, key
    and `cure` if a key is missing or invalid.
    """
    disk.check_format(tree, path)
    names = {field.name for field in dataclasses.fields(StageRecord)}
    found = {"limits": None} | {k: v for k, v in tree.items() if k in names}
    try:
        record = config.build(found, StageRecord, str(path))
        config.check(record, str(path))
        config.build(record.recipe.get("init"), Mapping[str, str], f"{path}.init")
        for part, reference in (*record.parents.items(), *record.frozen.items()):
            config.build(reference.get("checkpoint"), str, f"{path}.parents.{part}.checkpoint")
            config.build(reference.get("hash"), str, f"{path}.parents.{part}.hash")
    except ConfigError as error:
        raise UserError(f"{error}{cure}") from error
    return record


def without_path(name: str) -> str:
    """The name of a SPEC without the path of its manifest, which its content hash identifies."""
    return re.sub(r"\bmanifest:[^?#]*", "manifest:", name)


def absolute(path):
    """The absolute path; `~` is the home folder."""
    return epath.Path(os.path.abspath(os.path.expanduser(path)))


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that affect results."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version()} | found


def _without(tree, known):
    """The nested dict `tree` without the leaves of `known`."""
    out = {}
    for key, value in tree.items():
        if key not in known:
            out[key] = value
        elif isinstance(value, dict) and (rest := _without(value, known[key])):
            out[key] = rest
    return out
