"""Where a stage's parts come from, and what is kept of them.

A frozen part is not in the stage's own checkpoints: stage.json refers to the checkpoint that holds
it. No training removes a bundle, or the last step of a finished stage; `init.PART=ctc@10` makes the
stage `ctc` of the graph keep that step. Any other step will be removed by the stage that wrote it:
its part is copied (copies.py), before the first stage trains.
"""

import collections.abc
import contextlib
import dataclasses

from seedasr_jax import checkpoint as checkpoints
from seedasr_jax import config
from seedasr_jax.errors import UserError
from seedasr_jax.launch import copies
from seedasr_jax.launch.progress import say
from seedasr_jax.parallel import processes
from seedasr_jax.train import graph


def opened(job, name: str, part: str) -> tuple[checkpoints.Checkpoint, str]:
    """The checkpoint that a part of a stage comes from, and the part's name there.

    That is what the stage began with or, where it did not begin or `init` names another place now,
    what `init` names.
    """
    wanted, before = job.graph.stages[name].init[part], began_with(job, name, part)
    if before is None or job.record(name).recipe["init"].get(part) != wanted:
        return _named(job, name, part)
    try:
        found = checkpoints.open_checkpoint(job.workdir / before["checkpoint"])
    except UserError as error:
        raise UserError(
            f"stage {name!r} began with a {part} (hash {before['hash'][:8]}) that is gone: {error};"
            f" put it back, or name its place now: --config.stages.{name}.init.{part}=PLACE"
        ) from error
    return found, before.get("part", part)


def agreed(job, name: str, part: str) -> tuple[checkpoints.Checkpoint, str]:
    """`opened` as process 0 finds it, on every process, each of which must call it."""

    def decide():
        found, there = opened(job, name, part)
        return checkpoints.to_dict(found), there

    found, there = processes.first(decide)
    return checkpoints.from_dict(found), there


def limits(job, name: str, **data) -> checkpoints.Limits:
    """What a stage can take, as of `graph.limits`.

    Args:
        job: the job.Job.
        name: the stage's.
        data: what is known of its data.
    """

    def known(name):
        record = job.record(name)
        return record and record.limits

    def outside(name, part):
        return opened(job, name, part)[0].limits

    return graph.limits(job.graph, name, known, outside, **data)


def began_with(job, name: str, part: str) -> collections.abc.Mapping[str, str] | None:
    """The reference to a part in a stage's stage.json."""
    record = job.record(name)
    return record.parents.get(part) if record else None


def is_saved(job, name: str, part: str) -> bool:
    """Whether a part is in a checkpoint of the stage itself, which it resumes from."""
    resumes = name not in job.redone and checkpoints.latest(job.folder(name)) is not None
    return resumes and part in job.graph.stages[name].trains


def _source(job, name, part) -> tuple[str, str, str]:
    """(a stage of this graph or "", its folder or step or the path, the part's name there)."""
    where, there = graph.origin(part, job.graph.stages[name].init[part])
    stage, step = graph.stage_of(job.graph.stages, where)
    if stage:
        where = job.folder(stage) if step is None else f"{job.folder(stage)}@{step}"
    return stage, str(where), there


def _named(job, name, part):
    """What `init` names: a stage of this graph, a step of one, a path or the copy of one."""
    stage, where, there = _source(job, name, part)
    try:
        return checkpoints.open_checkpoint(where), there
    except UserError:
        copy = None if stage else copies.of(job.workdir, where, there)
        if copy is None:
            raise
    return copy, there


def secure(job, name: str, part: str):
    """Copies a part that a stage will start from, where training will remove it until then.

    Process 0 calls it, before the first stage trains: a neighbour goes on meanwhile.
    """
    if job.graph.stages[name].init[part] == "fresh" or is_saved(job, name, part):
        return
    stage, where, _ = _source(job, name, part)
    if not stage:
        found, there = opened(job, name, part)
        if not found.permanent:
            copies.make(job.workdir, where, there, found)


def outside(job) -> collections.abc.Callable[[str], str]:
    """Path in `init` -> the recipe of its checkpoint.

    What is gone by now is known by a copy of it, or by the records of the job's stages.
    """

    def recipe(path):
        try:
            return checkpoints.open_checkpoint(path).recipe
        except UserError:
            for name, stage in job.graph.stages.items():
                for part, wanted in stage.init.items():
                    where, there = graph.origin(part, wanted)
                    if where == path and (copy := copies.of(job.workdir, where, there)):
                        return copy.recipe
                record = job.record(name)
                for part, wanted in (record.recipe["init"] if record else {}).items():
                    if part in record.parents and graph.origin(part, wanted)[0] == path:
                        return record.parents[part]["recipe"]
            raise

    return recipe


def begin(job, name: str, built, record: checkpoints.StageRecord | None, resumes: bool):
    """What a stage starts from, and references to where its parts came from.

    What no other checkpoint gives is left as a shape: one of its own has it, or it is drawn.

    Args:
        job: the job.Job.
        name: the stage's.
        built: what it computes with.
        record: the stage's, where it has begun.
        resumes: whether a checkpoint of its own is there.

    Returns:
        (TrainState of arrays and shapes, {part: reference}).

    Raises:
        ConfigError: a part that does not fit.
        UserError: a checkpoint that is not there, or whose part is not what the stage began with.
    """
    state, stage, references = built.abstract, job.graph.stages[name], {}
    for part in job.recipes[name].parents:
        before = record.parents.get(part) if record else None
        if before and resumes and part in stage.trains:
            references[part] = before
            continue
        holder = "params" if part in built.own else "frozen"
        tree, places = getattr(state, holder), getattr(built.sharding, holder)
        places = checkpoints.select(places, part)
        found, there = agreed(job, name, part)
        if places:
            found = _lasting(job, name, part, found, there)
        theirs = {checkpoints.renamed(n, part, there): place for n, place in places.items()}
        references[part] = found.reference(there, job.workdir, part, theirs or None)
        _check_same(name, part, before, references[part])
        if places:
            leaves = checkpoints.hand_over(
                found,
                part,
                tree,
                places,
                source_part="" if there == part else there,
                model=stage.model,
                vocabulary=job.vocab.hash,
            )
            state = state.replace(**{holder: checkpoints.fill(tree, leaves)})
            say(f"{name}: {part} from {found.label}")
    return state, references


def settle(job, name: str):
    """Of a finished stage: follows frozen parts to where `init` has them now, or has them again;
    says what is missing.

    Raises:
        UserError: `init` names another content than the stage was trained with.
    """
    stage, moved = job.graph.stages[name], {}
    tree = processes.first(lambda: config.to_dict(job.record(name)))
    record = checkpoints.parse(tree, job.folder(name))
    for part, before in record.frozen.items():
        again = processes.first(lambda part=part: _elsewhere(job, name, part))
        if again is not None:
            found, there = checkpoints.from_dict(again[0]), again[1]
            found = _lasting(job, name, part, found, there)
            moved[part] = found.reference(there, job.workdir, part)
            _check_same(name, part, before, moved[part])
            say(f"{name}: {part} is in {moved[part]['checkpoint']}")
    recipe = config.to_dict(stage, recipe_only=True)
    new = dict(frozen={**record.frozen, **moved}, parents={**record.parents, **moved})

    def finish():
        if moved:
            changed = dataclasses.replace(record, recipe=recipe, **new)
            checkpoints.write(job.folder(name), changed)
        for part in record.frozen:
            try:
                checkpoints.open_checkpoint(job.folder(name)).shapes(part)
            except UserError as error:
                say(f"{name}: {error}")

    processes.first(finish)


def _elsewhere(job, name, part):
    """What `init` names for a frozen part, where that is another place than the stage's reference,
    or where nothing is there any more; None: there is nothing to follow.
    """
    record = job.record(name)
    if record.recipe["init"][part] != job.graph.stages[name].init[part]:
        found, there = opened(job, name, part)
        return checkpoints.to_dict(found), there
    with contextlib.suppress(UserError):
        opened(job, name, part)
        return None
    with contextlib.suppress(UserError):
        found, there = _named(job, name, part)
        if found.recorded(there) in (None, record.frozen[part]["hash"]):
            return checkpoints.to_dict(found), there
    return None


def _lasting(job, name, part, found, there):
    """A checkpoint that stays: itself, or a copy of the part if training will remove it."""
    stage, where, _ = _source(job, name, part)

    def copy():
        return checkpoints.to_dict(copies.make(job.workdir, where, there, found))

    if found.permanent or stage:
        return found
    return checkpoints.from_dict(processes.first(copy))


def _check_same(name, part, before, found):
    if before and before["hash"] != found["hash"]:
        raise UserError(
            f"stage {name!r} was trained with a {part} of hash {before['hash'][:8]}, found"
            f" {found['hash'][:8]} in {found['checkpoint']}: put back what it was, or run the stage"
            f" again with --from={name}"
        )
