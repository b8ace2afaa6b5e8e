"""A job: a workdir with what its stages share, and the recorded state of each stage."""

import collections.abc
import dataclasses
import pathlib

from seedasr_jax import checkpoint as checkpoints
from seedasr_jax import config, inventory
from seedasr_jax import workdir as disk
from seedasr_jax.errors import ConfigError
from seedasr_jax.text import vocab
from seedasr_jax.train import graph
from seedasr_jax.train.keeper import RECORD, ROW


@dataclasses.dataclass(frozen=True)
class Job:
    """A workdir with everything that its stages share."""

    workdir: pathlib.Path
    graph: config.Graph
    vocab: vocab.Vocabulary | None  # None while nothing needs it yet
    recipes: collections.abc.Mapping[str, graph.Recipe]
    redone: collections.abc.Collection[str] = ()  # stages that start over, ignoring what exists

    def folder(self, name) -> pathlib.Path:
        """A stage's directory."""
        return self.workdir / name

    def record(self, name) -> checkpoints.StageRecord | None:
        """A stage's stage.json, or its copy in the newest checkpoint; None if it has not begun."""
        folder = self.folder(name)
        if name in self.redone:
            return None
        if (folder / disk.STAGE).exists():
            return checkpoints.read(folder)
        if (latest := checkpoints.latest(folder)) is None:
            return None
        return checkpoints.parse(note(folder, latest)[RECORD], f"{folder}@{latest}")

    def done(self, name) -> bool:
        """Whether a stage is finished and its last step still exists."""
        record = self.record(name)
        if record is None or record.state != "finished":
            return False
        return inventory.newest(self.folder(name))[0] == record.step

    def cache(self, stage: config.Stage) -> pathlib.Path:
        """Folder of generated and converted audio."""
        return pathlib.Path(stage.run.cache) if stage.run.cache else self.workdir / disk.CACHE


def note(folder, step) -> dict:
    """The note beside a stage's step: its row of metrics.jsonl and its record.

    Raises:
        ConfigError: the step has no such note.
    """
    found = checkpoints.note(folder, step)
    if not all(isinstance(found.get(key), dict) for key in (ROW, RECORD)):
        raise ConfigError(
            f"{folder}@{step}: expected a note with {ROW} and {RECORD} beside the checkpoint, found"
            f" {', '.join(found) or 'none'}, so no stage of this seedasr_jax wrote it: run"
            f" --from={folder.name}, or choose a new --workdir"
        )
    return found
