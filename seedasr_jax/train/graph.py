"""The stage graph: order, recipe hashes, staleness. A stage is defined by its config."""

from collections.abc import Callable, Mapping
import contextlib
import dataclasses
import re

from seedasr_jax import config, errors
from seedasr_jax import workdir as disk
from seedasr_jax.checkpoint.limits import Limits, derive
from seedasr_jax.errors import ConfigError, UserError, nearest
from seedasr_jax.models import parts as registry
from seedasr_jax.train import objectives

_NAME = re.compile(r"[A-Za-z0-9][\w-]*")
# Names with another meaning in `init` or in a workdir.
_TAKEN = ("fresh", disk.VOCAB, disk.CACHE, disk.LOGS, disk.FROZEN)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that determines a stage's parameters."""

    tree: dict  # nested dicts: the stage's recipe, and under "reads" the content of its inputs
    parents: dict[str, str]  # part -> its source, see `origin`
    hash: str  # hash of the tree, by content, and the parents' hashes
    source_hashes: dict[str, str]  # part -> see `_source_hash`


def origin(part: str, source: str) -> tuple[str, str]:
    """The stage or checkpoint of `init.PART=SOURCE`, and the part there (`ssl1:encoder`)."""
    found = re.fullmatch(r"(.+):([a-z]\w*)", source)
    return (found[1], found[2]) if found else (source, part)


def stage_of(stages, where: str) -> tuple[str, int | None]:
    """The stage that `ctc` or `ctc@10` names, and the step (None: its last); else ("", None)."""
    name, at, step = where.partition("@")
    if name not in stages or (at and not step.isdecimal()):
        return "", None
    return name, int(step) if at else None


def _sources(graph, name):
    """(stage, step) of each `init` of a stage; see `stage_of`."""
    init = graph.stages[name].init.items()
    return [stage_of(graph.stages, origin(*item)[0]) for item in init]


def parents(graph: config.Graph, name: str) -> list[str]:
    """The stages of the graph that a stage starts from."""
    return [source for source in dict.fromkeys(s for s, _ in _sources(graph, name)) if source]


def named_steps(graph: config.Graph, name: str) -> set[int]:
    """Steps of a stage that other stages start from by number; they are not deleted."""
    found = (source for other in graph.stages for source in _sources(graph, other))
    return {step for stage, step in found if stage == name and step is not None}


def order(graph: config.Graph) -> list[str]:
    """Stages, parents first; ties keep the config's order. A ConfigError if they form a cycle."""
    done: list[str] = []
    left = list(graph.stages)
    while left:
        ready = [n for n in left if all(p in done for p in parents(graph, n))]
        if not ready:
            if itself := [n for n in left if n in parents(graph, n)]:
                raise ConfigError(f"stage {itself[0]!r} starts from itself")
            raise ConfigError(f"config.stages: {', '.join(left)} start from each other")
        done.append(ready[0])
        left.remove(ready[0])
    return done


def descendants(graph: config.Graph, name: str) -> list[str]:
    """The stage and all stages that start from it, directly or not, in order."""
    found = {name}
    for other in order(graph):
        if found & set(parents(graph, other)):
            found.add(other)
    return [n for n in order(graph) if n in found]


def check(graph: config.Graph, needed: Callable[[config.Stage], tuple[str, ...]]):
    """Checks names, and each stage's `init` against the parts its objective needs; a ConfigError
    if a name is invalid, a part has no source, a source no part, or a stage does not exist.
    """
    for name, stage in graph.stages.items():
        if not _NAME.fullmatch(name) or name in _TAKEN:
            raise ConfigError(
                f"config.stages: {name!r} names a folder of the workdir: expected letters, digits,"
                f" - and _, and none of {', '.join(_TAKEN)}"
            )
        with of_stage(name):
            _check_init(graph, stage, needed(stage))


@contextlib.contextmanager
def of_stage(name: str):
    """Context that adds the stage's name to a UserError."""
    try:
        yield
    except UserError as error:
        raise errors.renewed(error, f"stage {name!r}: {error}") from error


def _check_init(graph, stage, parts):
    for part in parts:
        if part not in stage.init:
            raise ConfigError(
                f"init.{part} is missing; set it to 'fresh', an earlier stage or a checkpoint"
            )
    known = registry.with_inner(parts)
    for part, source in stage.init.items():
        if part not in known:
            raise errors.unknown(f"init.{part}: part of kind {stage.kind!r}", part, known)
        where, _ = origin(part, source)
        parent, step = stage_of(graph.stages, where)
        before, _, number = where.partition("@")
        text = f"init.{part} = {source!r}"
        if before in graph.stages and not parent:
            raise ConfigError(
                f"{text}: expected {before}@STEP, a number, or {before} alone, found {number!r}"
            )
        if step is not None:
            _check_saved(text, graph, parent, step)
        if source != "fresh" and not parent and not path_like(where):
            near = nearest(where, [*graph.stages, "fresh"])
            raise ConfigError(f"{text}: expected a stage, a path or 'fresh'.{near}")


def _check_saved(text, graph, name, step):
    stage = graph.stages[name]
    every, last = stage.run.save_every, stage.steps
    if step != last and (step % every or not 0 < step < last):
        near = min(max(round(step / every), 1) * every, last)
        raise ConfigError(
            f"{text}: {name} saves every {every} steps (run.save_every) and at its end, {last}"
            f" (steps); the nearest is {name}@{near}"
        )


def limits(
    graph: config.Graph,
    name: str,
    known: Callable[[str], Limits | None] = lambda name: None,
    outside: Callable[[str, str], Limits | None] = lambda name, part: None,
    **data,
) -> Limits:
    """The limits of a stage: as in its record, or derived from its config and its parents' limits.

    Args:
        known: stage -> limits in its record, or None.
        outside: (stage, part) with a checkpoint as source -> limits of that, or None.
        data: facts about the stage's data, keyword arguments of `checkpoint.derive`.
    """
    if (recorded := known(name)) is not None:
        return recorded
    stage, found = graph.stages[name], {}
    needs = objectives.needs(stage)
    for part, source in stage.init.items():
        if part in needs.consults:
            continue
        parent, _ = stage_of(graph.stages, origin(part, source)[0])
        if parent:
            found[part] = limits(graph, parent, known, outside)
        elif source != "fresh":
            found[part] = outside(name, part)
    found = {part: limit for part, limit in found.items() if limit is not None}
    return derive(stage, found, prompted=needs.prompted, **data)


def path_like(source: str) -> bool:
    """Whether a source in `init` looks like a checkpoint's path rather than a stage's name."""
    return "/" in source or "@" in source or source.startswith(".")


def recipes(
    graph: config.Graph,
    vocabulary: str,
    content: Callable[[str, config.Stage], str],
    outside: Callable[[str], str],
) -> Mapping[str, Recipe]:
    """The recipe of every stage.

    Args:
        vocabulary: hash of the tokenizer.
        content: (SPEC or task, stage) -> identity by content, such as a manifest's, not its path.
        outside: path of a checkpoint -> its identity: recipe and step.
    """
    out: dict[str, Recipe] = {}
    for name in order(graph):
        stage = graph.stages[name]
        tree = config.to_dict(stage, recipe_only=True)
        reads = {spec: content(spec, stage) for spec, _ in stage.data.mixture}
        tree["reads"] = {"vocabulary": vocabulary} | reads
        sources = {p: s for p, s in stage.init.items() if s != "fresh"}
        hashes = {}
        for part, source in sources.items():
            try:
                hashes[part] = _source_hash(part, source, out, outside)
            except UserError as error:
                text = f"stage {name!r}: init.{part}: {error}"
                raise errors.renewed(error, text) from error
        # By content: the path of a tokenizer or a manifest is no part of the recipe.
        where = {"vocab": None, "init": sorted(stage.init)}
        data = tree["data"] | {"mixture": [[reads[s], rate] for s, rate in stage.data.mixture]}
        hashed = tree | where | {"data": data, "reads": vocabulary, "parents": hashes}
        out[name] = Recipe(tree, sources, config.digest(hashed), hashes)
    return out


def _source_hash(part, source, known, outside):
    """The hash of a source's recipe, its step, and the part's name there if it differs."""
    where, source_part = origin(part, source)
    name, step = stage_of(known, where)
    content = known[name].hash if name else outside(where)
    content += f"@{step}" if step is not None else ""
    return content if source_part == part else f"{content}:{source_part}"


def stale(name: str, old: dict, new: Recipe, began: Mapping | None = None) -> str:
    """The line that explains why a stage is stale, key by key.

    Args:
        old: tree of the recipe that it was trained by.
        new: the current recipe.
        began: part -> reference to the checkpoint that it started from.
    """
    lines = config.difference(old, new.tree)
    if not lines:  # the recipe of a source differs
        changed = [
            f"init.{part}: {new.parents[part]} was trained again by another recipe since"
            for part, content in new.source_hashes.items()
            if part not in (began or {})
            or not began[part]["recipe"].startswith(content.partition(":")[0])
        ]
        lines = changed or ["a stage that it starts from changed"]
    return (
        f"stage {name!r} was trained by another recipe: {'; '.join(lines)}. Run it and its"
        f" descendants again with --from={name}, or choose a new --workdir"
    )
