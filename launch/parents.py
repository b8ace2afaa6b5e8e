"""Where a stage's parts come from, and what is kept of them.

A frozen part is not in the stage's own checkpoints: stage.json refers to the checkpoint that holds
it. No training removes a bundle, or the last step of a finished stage; `init.PART=ctc@10` makes the
stage `ctc` of the graph keep that step. Any other step will be removed by the stage that wrote it:
its part is copied into the folder of the stage that needs it.
"""

import collections.abc
import concurrent.futures
import dataclasses
import multiprocessing

import jax

from seedasr_jax import checkpoint as checkpoints
from seedasr_jax import config
from seedasr_jax.convert import bundle
from seedasr_jax.errors import UserError
from seedasr_jax.launch.progress import say
from seedasr_jax.parallel import processes
from seedasr_jax.train import graph

COPIES = "frozen"  # folder of a stage: a bundle of each part that is copied


def opened(job, name: str, part: str) -> tuple[checkpoints.Checkpoint, str]:
    """The checkpoint that a part of a stage comes from, and the part's name there.

    That is what the stage began with or, where it did not begin or `init` names another place now,
    what `init` names.
    """
    wanted, before = job.graph.stages[name].init[part], began_with(job, name, part)
    if before is None or job.record(name).recipe["init"].get(part) != wanted:
        return _named(job, part, wanted)
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
        job: the stage.Job.
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
    resumes = checkpoints.latest(job.folder(name)) is not None
    return resumes and part in job.graph.stages[name].trains


def _named(job, part, wanted):
    """What `init` names: a stage of this graph, a step of one, or a path."""
    where, there = graph.origin(part, wanted)
    stage, step = graph.stage_of(job.graph.stages, where)
    if stage:
        where = job.folder(stage) if step is None else f"{job.folder(stage)}@{step}"
    return checkpoints.open_checkpoint(where), there


def outside(records: list[checkpoints.StageRecord]) -> collections.abc.Callable[[str], str]:
    """Path in `init` -> the recipe of its checkpoint.

    Args:
        records: of the workdir's stages, which know it of what is gone by now.
    """

    def recipe(path):
        try:
            return checkpoints.open_checkpoint(path).recipe
        except UserError:
            for record in records:
                for part, wanted in record.recipe["init"].items():
                    if part in record.parents and graph.origin(part, wanted)[0] == path:
                        return record.parents[part]["recipe"]
            raise

    return recipe


def begin(job, name: str, built, record: checkpoints.StageRecord | None, resumes: bool):
    """What a stage starts from, and references to where its parts came from.

    What no other checkpoint gives is left as a shape: one of its own has it, or it is drawn.

    Args:
        job: the stage.Job.
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
        if holder == "frozen" and places:
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
                there="" if there == part else there,
                model=stage.model,
                vocabulary=job.vocab.hash,
            )
            state = state.replace(**{holder: checkpoints.fill(tree, leaves)})
            say(f"{name}: {part} from {found.label}")
    return state, references


def settle(job, name: str):
    """Of a finished stage: follows frozen parts to where `init` has them now; says what is missing.

    Raises:
        UserError: `init` names another content than the stage was trained with.
    """
    stage, moved = job.graph.stages[name], {}
    tree = processes.first(lambda: config.to_dict(job.record(name)))
    record = checkpoints.parse(tree, job.folder(name))
    for part, before in record.frozen.items():
        if record.recipe["init"][part] != stage.init[part]:
            found, there = agreed(job, name, part)
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


def _lasting(job, name, part, found, there):
    """A checkpoint that stays: itself, or a copy of the part if training will remove it.

    Of several processes the first has it copied, and the others wait: reading a checkpoint is a
    matter of all that JAX knows of, so a process by itself does it.
    """
    where, _ = graph.origin(part, job.graph.stages[name].init[part])
    if found.lasts or graph.stage_of(job.graph.stages, where)[0]:
        return found
    folder = job.folder(name) / COPIES / part

    def copy():
        if not folder.exists():
            say(f"{name}: {part} is copied: {found.folder} will remove its step {found.step}")
        one = checkpoints.to_dict(found), str(folder), there
        if jax.process_count() == 1:
            return _copied(*one)
        spawned = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, spawned, _on_the_host) as apart:
            return apart.submit(_copied, *one).result()

    return checkpoints.from_dict(processes.first(copy))


def _on_the_host():
    jax.config.update("jax_platforms", "cpu")  # accelerators are the job's


def _copied(source: dict, folder: str, part: str) -> dict:
    """Copies a part of a checkpoint; both as `checkpoints.to_dict` gives them."""
    bundle.export_bundle(checkpoints.from_dict(source), folder, parts=(part,))
    return checkpoints.to_dict(checkpoints.open_checkpoint(folder))


def _check_same(name, part, before, found):
    if before and before["hash"] != found["hash"]:
        raise UserError(
            f"stage {name!r} was trained with a {part} of hash {before['hash'][:8]}, found"
            f" {found['hash'][:8]} in {found['checkpoint']}: put back what it was, or run the stage"
            f" again with --from={name}"
        )
