"""Sources of a stage's parts, and how they are preserved.

A frozen part is not in the stage's own checkpoints: stage.json refers to the checkpoint that
contains it. Bundles and last steps of finished stages are never removed; `init.PART=ctc@10` makes
the stage `ctc` of the graph keep that step. Any other step will be removed by the stage that wrote
it, so its part is copied (copies.py) before the first stage trains.
"""

import collections.abc
import contextlib
import dataclasses

from seedasr_jax import checkpoint as checkpoints
from seedasr_jax import config
from seedasr_jax.errors import ConfigError, UserError
from seedasr_jax.launch import copies
from seedasr_jax.launch.progress import say
from seedasr_jax.parallel import processes
from seedasr_jax.train import graph


def opened(job, name: str, part: str) -> tuple[checkpoints.Checkpoint, str]:
    """The checkpoint that a part of a stage comes from, and the part's name there: the one that the
    stage began with or, if it has not begun or `init` has changed since, the one `init` names.

    Raises:
        ConfigError: it needs a module that the recipe does not import.
        UserError: it is missing.
    """
    found, there = _find(job, name, part)
    if str(found.folder.parent) == str(job.workdir):  # written by this graph, or an earlier one
        return dataclasses.replace(found, imports=job.graph.imports), there
    if missing := tuple(one for one in found.imports if one not in job.graph.imports):
        # Else its kinds, parts and languages would be registered in this process, today, alone.
        raise ConfigError(
            f"init.{part}: {found.label} in {found.folder} needs modules that config.imports lacks:"
            f' add {", ".join(missing)} to the recipe, or by --config.imports="{missing}"'
        )
    return found, there


def _find(job, name, part):
    record = job.record(name)
    before = record and record.parents.get(part)
    if not before or record.recipe["init"].get(part) != job.graph.stages[name].init[part]:
        return _named(job, name, part)
    try:
        found = checkpoints.open_checkpoint(job.workdir / before["checkpoint"])
    except UserError as error:
        raise UserError(
            f"stage {name!r} began with a {part} (hash {before['hash'][:8]}), now missing: {error};"
            f" restore it, or set its new path with --config.stages.{name}.init.{part}=PATH"
        ) from error
    return found, before.get("part", part)


def agreed(job, name: str, part: str) -> tuple[checkpoints.Checkpoint, str]:
    """The result of `opened` on process 0; collective."""

    def decide():
        found, there = opened(job, name, part)
        return checkpoints.to_dict(found), there

    found, there = processes.first(decide)
    return checkpoints.from_dict(found), there


def limits(job, name: str, **data) -> checkpoints.Limits:
    """The input limits of a stage; `data`: known properties of its data; see `graph.limits`."""

    def known(name):
        record = job.record(name)
        return record and record.limits

    def outside(name, part):
        return opened(job, name, part)[0].limits

    return graph.limits(job.graph, name, known, outside, **data)


def is_saved(job, name: str, part: str) -> bool:
    """Whether a part is in the stage's own checkpoint, from which it resumes."""
    resumes = name not in job.redone and checkpoints.latest(job.folder(name)) is not None
    return resumes and part in job.graph.stages[name].trains


def _source(job, name, part) -> tuple[str, str, str]:
    """(stage of this graph or "", its folder, its step or the path, the part's name there)."""
    where, there = graph.origin(part, job.graph.stages[name].init[part])
    stage, step = graph.stage_of(job.graph.stages, where)
    if stage:
        where = job.folder(stage) if step is None else f"{job.folder(stage)}@{step}"
    return stage, str(where), there


def _named(job, name, part):
    """Opens what `init` names: a stage of this graph, a step of one, a path or its copy."""
    stage, where, there = _source(job, name, part)
    try:
        return checkpoints.open_checkpoint(where), there
    except UserError:
        copy = None if stage else copies.of(job.workdir, where, there)
        if copy is None:
            raise
    return copy, there


def secure(job, name: str, part: str):
    """Copies a part that a stage will start from, if another job may remove it before then."""
    if job.graph.stages[name].init[part] == "fresh" or is_saved(job, name, part):
        return
    stage, where, _ = _source(job, name, part)
    if not stage:
        found, there = opened(job, name, part)
        if not found.permanent:
            copies.make(job.workdir, where, there, found)


def outside(job) -> collections.abc.Callable[[str], str]:
    """Returns a function: path in `init` -> the recipe of its checkpoint or, if that is missing, of
    its copy or in the records of the job's stages.
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
    """The TrainState that a stage starts from, and {part: reference} to the sources of its parts.

    Parameters from no other checkpoint stay shapes: the stage's own checkpoint has them, or they
    are initialised later. `record` is None for a stage that has not begun; `resumes`: whether it
    has a checkpoint of its own.

    Raises:
        ConfigError: a part does not fit.
        UserError: a checkpoint is missing, or its part is not the one the stage began with.
    """
    state, stage, references = built.abstract, job.graph.stages[name], {}
    for part in job.recipes[name].parents:
        before = record.parents.get(part) if record else None
        if before and resumes and part in stage.trains:
            references[part] = before
            continue
        holder = "params" if part in built.saved else "frozen"
        tree, places = getattr(state, holder), getattr(built.sharding, holder)
        places = checkpoints.select(places, part)
        found, there = agreed(job, name, part)
        if places:
            found = _lasting(job, name, part, found, there)
        theirs = {checkpoints.renamed(n, part, there): place for n, place in places.items()}
        references[part] = found.reference(there, job.workdir, part, theirs or None)
        _check_same(name, part, before, references[part])
        if places:
            how = dict(source_part="" if there == part else there)
            how |= dict(model=stage.model, vocabulary=job.vocab.hash)
            leaves = checkpoints.hand_over(found, part, tree, places, **how)
            state = state.replace(**{holder: checkpoints.fill(tree, leaves)})
            say(f"{name}: {part} from {found.label}")
    return state, references


def settle(job, name: str):
    """Updates a finished stage's references to frozen parts, if `init` has changed or a missing
    part is back; logs missing parts.

    Raises:
        UserError: `init` names a part of other content than the stage was trained with.
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
            say(f"{name}: {part} is now in {moved[part]['checkpoint']}")
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
    """The new source of a frozen part if `init` changed or the old is missing; None: it stays."""
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
    """A checkpoint that remains: `found`, or a copy of the part if training will remove it."""
    stage, where, _ = _source(job, name, part)
    if found.permanent or stage:
        return found

    def copy():
        return checkpoints.to_dict(copies.make(job.workdir, where, there, found))

    return checkpoints.from_dict(processes.first(copy))


def _check_same(name, part, before, found):
    if before and before["hash"] != found["hash"]:
        raise UserError(
            f"stage {name!r} was trained with a {part} of hash {before['hash'][:8]}, found"
            f" {found['hash'][:8]} in {found['checkpoint']}: restore the former, or run the stage"
            f" again with --from={name}"
        )
