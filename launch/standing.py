"""State of a stage on disk, read by process 0 for all: record, newest step, note, probe layer."""

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

_CARRIED = ("step", "position", "hours", "spent")  # keys of a record


@dataclasses.dataclass(frozen=True)
class Standing:
    """State of a stage on disk, before it is built."""

    stage: config.Stage  # with its probe's best layer, where the recipe leaves it open
    record: checkpoints.StageRecord | None  # None: the stage has not begun
    latest: int | None  # the step to resume from; None: from the start
    carried: Mapping  # items of the record noted with that step, for the resuming stage's record
    unwritten: Mapping | None  # the row of that step, which may not be in metrics.jsonl yet


def agreed(job: Job, name: str) -> Standing:
    """The standing as process 0 finds it; collective.

    Raises:
        ConfigError: the stage was trained, but no step of it is left.
    """
    at = processes.first(lambda: _found(job, name))
    stage = job.graph.stages[name]
    record = at["record"] and checkpoints.parse(at["record"], job.folder(name))
    resolved = stage if at["layer"] is None else stage.at_layer(at["layer"])
    noted = at["note"]
    carried = {key: noted[RECORD][key] for key in _CARRIED} if noted else {}
    return Standing(resolved, record, at["latest"], carried, noted and noted[ROW])


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
    """The step that a stage resumes from; logs damaged and missing later steps."""
    folder, record = job.folder(name), job.record(name)
    latest, damaged = inventory.newest(folder)
    for line in damaged:
        say(f"{name}: {line}; set aside")
    if record is not None and record.step > (latest or 0):
        lost = f"{name}: {record.state} at step {record.step}, which is missing from {folder}"
        if latest is None:
            raise ConfigError(f"{lost}, as is any earlier one: restore it, or run --from={name}")
        say(f"{lost}; using step {latest}")
    return latest


def _best_layer(job, name) -> int | None:
    """The best layer by a stage's probe; None if it consults none."""
    if names.PROBE not in consults(job.graph.stages[name]):
        return None
    source, _ = parents.opened(job, name, names.PROBE)
    layer = probe.best_layer(source)
    say(f"{name}: layer {layer}, the best of {source.label}")
    return layer
