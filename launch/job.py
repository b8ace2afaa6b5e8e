"""A job: a workdir with what its stages share, and what its folders say of each stage."""

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
    redone: collections.abc.Collection[str] = ()  # stages that begin anew, whatever is there

    def folder(self, name) -> pathlib.Path:
        """A stage's directory."""
        return self.workdir / name

    def record(self, name) -> checkpoints.StageRecord | None:
        """A stage's stage.json, or None where it has not begun.

        Where the file is gone, its newest checkpoint has a copy.
        """
        folder = self.folder(name)
        if name in self.redone:
            return None
        if (folder / disk.STAGE).exists():
            return checkpoints.read(folder)
        latest = checkpoints.latest(folder)
        if latest is None:
            return None
        copied = note(folder, latest)[RECORD]
        return checkpoints.parse(copied, f"{folder}@{latest}")

    def done(self, name) -> bool:
        """Whether a stage is finished and its last step is still there."""
        record = self.record(name)
        if record is None or record.state != "finished":
            return False
        return inventory.newest(self.folder(name))[0] == record.step

    def cache(self, stage: config.Stage) -> pathlib.Path:
        """Where made or converted audio is kept."""
        return pathlib.Path(stage.run.cache) if stage.run.cache else self.workdir / disk.CACHE


def note(folder, step) -> dict:
    """What a stage wrote beside a step: its row of metrics.jsonl, and its record.

    Raises:
        ConfigError: the step has no such note.
    """
    found = checkpoints.note(folder, step)
    if not all(isinstance(found.get(key), dict) for key in (ROW, RECORD)):
        raise ConfigError(
            f"{folder}@{step}: expected its {ROW} and {RECORD} noted beside it, found"
            f" {', '.join(found) or 'nothing'}: no stage of this seedasr_jax wrote it; run"
            f" --from={folder.name}, or take a new --workdir"
        )
    return found
