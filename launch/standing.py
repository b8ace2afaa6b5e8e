"""State of a stage on disk: its record, its newest step and that step's note, its probe's layer.

Process 0 reads it for all processes.
"""

from collections.abc import Mapping
import dataclasses

from seedasr_jax import checkpoint as checkpoints
from seedasr_jax import config, inventory
from seedasr_jax.errors import ConfigError
from seedasr_jax.evaluate import probe
from seedasr_jax.launch import parents
from seedasr_jax.launch.job import Job, note
from seedasr_jax.launch.progress import say
from seedasr_jax.models import names
from seedasr_jax.parallel import processes
from seedasr_jax.train import objectives
from seedasr_jax.train.keeper import RECORD, ROW

# Keys that a resuming stage takes over from the record noted with its newest step.
_CARRIED = ("step", "position", "hours", "spent")


@dataclasses.dataclass(frozen=True)
class Standing:
    """State of a stage on disk, before it is built."""

    stage: config.Stage  # with its probe's best layer, where the recipe leaves it open
    record: checkpoints.StageRecord | None  # None: the stage has not begun
    latest: int | None  # the step to resume from; None: from the start
    note: Mapping[str, Mapping] | None  # the note of that step

    @property
    def carried(self) -> dict:
        """The items that a resuming stage takes over into its record."""
        return {key: self.note[RECORD][key] for key in _CARRIED} if self.note else {}

    @property
    def unwritten(self) -> dict | None:
        """The row of the newest step, which may not be in metrics.jsonl yet."""
        return self.note and self.note[ROW]


def agreed(job: Job, name: str) -> Standing:
    """The standing as process 0 finds it; a collective call of all processes.

    Raises:
        ConfigError: the stage was trained, but no step of it is left.
    """
    at = processes.first(lambda: _found(job, name))
    stage = job.graph.stages[name]
    record = at["record"] and checkpoints.parse(at["record"], job.folder(name))
    resolved = stage if at["layer"] is None else stage.at_layer(at["layer"])
    return Standing(resolved, record, at["latest"], at["note"])


def consults(stage: config.Stage) -> tuple[str, ...]:
    """Keys of `init` whose checkpoints a stage consults without taking a part from them."""
    return objectives.needs(stage).consults


def _found(job, name) -> dict:
    latest, record = _newest(job, name), job.record(name)
    return {
        "latest": latest,
        "record": None if record is None else config.to_dict(record),
        "note": None if latest is None else note(job.folder(name), latest),
        "layer": _best_layer(job, name),
    }


def _newest(job, name) -> int | None:
    """The step that a stage resumes from; logs damaged and missing later steps.

    Raises:
        ConfigError: the stage was trained, but no step of it is left.
    """
    folder, record = job.folder(name), job.record(name)
    latest, damaged = inventory.newest(folder)
    for line in damaged:
        say(f"{name}: {line}; set aside")
    if record is not None and record.step > (latest or 0):
        lost = f"{name}: {record.state} at step {record.step}, which is gone from {folder}"
        if latest is None:
            raise ConfigError(f"{lost}, and none is before it: bring it back, or --from={name}")
        say(f"{lost}; taken: step {latest}")
    return latest


def _best_layer(job, name) -> int | None:
    """The best layer by a stage's probe; None if it consults none."""
    if names.PROBE not in consults(job.graph.stages[name]):
        return None
    source, _ = parents.opened(job, name, names.PROBE)
    layer = probe.best_layer(source)
    say(f"{name}: layer {layer}, the best of {source.label}")
    return layer
