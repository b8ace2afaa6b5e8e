"""Nested dicts <-> a config's dataclasses: build, expand, dump, hash, compare."""

from collections.abc import Mapping
import copy
import dataclasses
import hashlib
import json
import types
import typing
from typing import Any

from seedasr_jax.config import code, groups
from seedasr_jax.config.bounds import above, at_least, check
from seedasr_jax.config.schema import Graph, Stage
from seedasr_jax.errors import ConfigError, nearest

# Keys of the graph itself; all other top-level keys are defaults of every stage.
GRAPH_KEYS = ("name", "imports", "scale_steps", "stages")

_RECIPE = "config"  # prefix of a recipe's keys in errors


@dataclasses.dataclass(frozen=True)
class Recipe(Graph):
    """A graph with the keys that `expand` resolves."""

    scale_steps: float = above(0, 1e6)
    seed: int = at_least(0)  # of which the stages' seeds are derived


def build(tree, kind, where=_RECIPE):
    """Builds the dataclass `kind` from nested dicts, strictly; a tagged group becomes its kind's.

    Raises:
        ConfigError: an unknown or missing key, with the nearest, or a value of another type.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if is_group(kind) and not isinstance(tree, Mapping):
        raise ConfigError(f"{where}: expected a group of keys, found {tree!r}")
    if dataclasses.is_dataclass(kind):
        if groups.is_tagged(kind):
            _check_present(tree, (kind.tag,), where)
            kind = groups.find(kind, build(tree[kind.tag], str, f"{where}.{kind.tag}"), where)
        fields = groups.fields(kind)
        for name in tree:
            if name not in fields:
                raise ConfigError(f"{where}.{name} is no key.{nearest(name, fields)}")
        _check_present(tree, fields, where, common=not code.is_of_user(kind))
        return kind(**{n: build(tree[n], t, f"{where}.{n}") for n, t in fields.items()})
    if origin is types.UnionType:  # KIND | None
        return None if tree is None else build(tree, arguments[0], where)
    if origin is Mapping:
        built = {k: build(v, arguments[1], f"{where}.{k}") for k, v in tree.items()}
        return types.MappingProxyType(built)
    if origin is tuple:
        if not isinstance(tree, (tuple, list)):
            raise ConfigError(f"{where}: expected a tuple, found {tree!r}")
        items = arguments
        if arguments[-1] is Ellipsis:
            items = (arguments[0],) * len(tree)
        if len(items) != len(tree):
            raise ConfigError(f"{where}: expected {len(items)} values, found {tree!r}")
        return tuple(build(v, t, f"{where}[{i}]") for i, (v, t) in enumerate(zip(tree, items)))
    if kind is Any:
        return tuple(tree) if isinstance(tree, list) else tree
    if kind is float and isinstance(tree, int) and not isinstance(tree, bool):
        try:
            return float(tree)
        except OverflowError as error:
            raise ConfigError(f"{where}: expected a float, found a number above 1e308") from error
    if not isinstance(tree, kind) or (kind is int and isinstance(tree, bool)):
        raise ConfigError(f"{where}: expected {kind.__name__}, found {tree!r}")
    return tree


def _check_present(tree, names, where, *, common=True):
    if missing := [name for name in names if name not in tree]:
        common = common and where.startswith(_RECIPE)
        cure = "; configs/common.py has common values" if common else ""
        verb = "is" if len(missing) == 1 else "are"
        raise ConfigError(f"{where}.{', .'.join(missing)} {verb} missing{cure}")


def is_group(kind) -> bool:
    """Whether a type of the schema is a group of keys."""
    return dataclasses.is_dataclass(kind) or typing.get_origin(kind) is Mapping


def merge(base, over, kind=None):
    """Merges nested dicts of type `kind`; `over` takes precedence, see also `dropped`."""
    left_out = dropped(kind, base, over)
    out = {key: value for key, value in base.items() if key not in left_out}
    types = groups.fields_at(kind, out | over) if dataclasses.is_dataclass(kind) else {}
    for key, value in over.items():
        nested = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = merge(out[key], value, types.get(key)) if nested else value
    return out


def dropped(kind, base, over) -> list[str]:
    """Keys of `base` that are invalid once `over` changes the kind of a tagged group."""
    if not groups.is_tagged(kind) or over.get(kind.tag, base.get(kind.tag)) == base.get(kind.tag):
        return []
    return [key for key in base if key not in groups.fields_at(kind, over)]


def with_defaults(tree: dict) -> dict:
    """A recipe as nested dicts whose stages include the graph's defaults."""
    defaults = {k: v for k, v in tree.items() if k not in GRAPH_KEYS}
    stages = {}
    for name, stage in tree["stages"].items():
        stages[name] = merge(copy.deepcopy(defaults), stage, Stage)
        if "seed" in defaults and "seed" not in stage:  # no stage repeats the draws of another
            stages[name]["seed"] = int(digest([name, defaults["seed"]])[:7], 16)
    return tree | {"stages": stages}


def import_from(tree: dict, where=_RECIPE) -> None:
    """Imports the modules that a recipe names under `imports`; errors as of `code.import_all`."""
    code.import_all(build(tree.get("imports", ()), tuple[str, ...], f"{where}.imports"))


def stored(tree: dict, where: str) -> Graph:
    """The graph of nested dicts from `to_dict`; the modules of its `imports` are imported first."""
    import_from(tree, where)
    return build(tree, Graph, where)


def expand(recipe) -> Graph:
    """Expands a recipe (ConfigDict or nested dict) to a Graph.

    The modules of its `imports` are imported first, because they register kinds of groups. Keys
    outside GRAPH_KEYS become defaults of every stage, and `scale_steps` multiplies the steps, the
    warm-up and the intervals of each (at least 1).

    Raises:
        ConfigError: see `build` and `check`.
    """
    tree = recipe.to_dict() if hasattr(recipe, "to_dict") else recipe
    import_from(tree)
    _check_present(tree, ("name", "stages"), _RECIPE)
    build(tree["stages"], Mapping[str, Mapping[str, Any]], f"{_RECIPE}.stages")
    tree = {"imports": (), "scale_steps": 1.0, "seed": 0} | with_defaults(tree)
    built = build({key: tree[key] for key in groups.fields(Recipe)}, Recipe)
    check(built, _RECIPE)
    stages = {name: _scale(stage, built.scale_steps) for name, stage in built.stages.items()}
    graph = Graph(built.name, built.imports, types.MappingProxyType(stages))
    check(graph, _RECIPE)
    return graph


def _scale(stage: Stage, scale) -> Stage:
    """Multiplies steps, warm-up and intervals by `scale`; 0 (never) remains 0."""

    def scaled(group, *keys):
        changes = {k: max(1, round(getattr(group, k) * scale)) for k in keys if getattr(group, k)}
        return dataclasses.replace(group, **changes)

    return dataclasses.replace(
        scaled(stage, "steps"),
        optim=scaled(stage.optim, "warmup"),
        run=scaled(stage.run, "save_every", "log_every"),
        eval=scaled(stage.eval, "every"),
    )


def to_dict(value, recipe_only=False):
    """A dataclass as nested plain dicts and lists; `recipe_only` omits the run settings."""
    if dataclasses.is_dataclass(value):
        return {
            f.name: to_dict(getattr(value, f.name), recipe_only)
            for f in dataclasses.fields(value)
            if not (recipe_only and f.metadata.get("run"))
        }
    if isinstance(value, Mapping):
        return {k: to_dict(v, recipe_only) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_dict(v, recipe_only) for v in value]
    return value


def flatten(tree, prefix="") -> dict:
    """Nested dicts -> {"a.b.c": leaf}; an empty dict is a leaf."""
    out = {}
    for key, value in tree.items():
        path = f"{prefix}.{key}" if prefix else str(key)
        out |= flatten(value, path) if isinstance(value, dict) and value else {path: value}
    return out


def dump(graph: Graph) -> str:
    """The expanded graph as text, one key per line in the dataclasses' order; for golden files."""
    return "".join(f"{k} = {v!r}\n" for k, v in flatten(to_dict(graph)).items())


def digest(tree) -> str:
    """SHA-256 (hex) of nested dicts as canonical JSON."""
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def difference(old: dict, new: dict) -> list[str]:
    """A line "key: old -> new" for each leaf that differs between two recipes as nested dicts."""
    old, new, absent = flatten(old), flatten(new), "(absent)"
    pairs = {key: (old.get(key, absent), new.get(key, absent)) for key in old | new}
    return [f"{key}: {was!r} -> {now!r}" for key, (was, now) in pairs.items() if was != now]
