"""`--config.KEY=VALUE`: sets a recipe's keys from the command line, typed by the schema."""

import ast
from collections.abc import Mapping
import dataclasses
import typing
from typing import Any

from ml_collections import ConfigDict

from seedasr_jax import config
from seedasr_jax.config import groups as tagged_groups
from seedasr_jax.errors import ConfigError, nearest
from seedasr_jax.launch.progress import say

_ABSENT = object()


def apply(recipe: ConfigDict, overrides: list[tuple[str, str]]) -> list[str]:
    """Sets `a.b.c` to a value written as a Python literal; other text is a string.

    A stage's key (`stages.ctc.mesh.tensor`) overrides the graph's default. `imports` adds modules
    to those of the recipe. A group takes {'KEY': VALUE} and keeps its other keys, but a group by
    part (`init`, `optim.rates`) is replaced, and takes any part as a key; a tagged group whose kind
    changes keeps the keys that the new kind has.

    Returns the keys that were set, groups as the keys inside them, for `check_reach`.

    Raises:
        ConfigError: an unknown key, with the nearest; a key set twice; a value of another type.
    """
    leaves: list[str] = []
    imports = [one for one in overrides if one[0] == "imports"]  # they register kinds of groups
    with recipe.unlocked(), recipe.ignore_type():
        own = tuple(recipe.get("imports", ()))  # kept, as the recipe's kinds may need them
        for path, text in imports:
            leaves += _set(recipe, path, _parsed(text), text, leaves)
            recipe.imports = tuple(dict.fromkeys((*own, *recipe.imports)))
        config.import_from(recipe.to_dict())
        for path, text in overrides:
            if path != "imports":
                leaves += _set(recipe, path, _parsed(text), text, leaves)
    tree = recipe.to_dict()
    for leaf in leaves:
        if _at(tree, leaf, _ABSENT) is _ABSENT:
            raise ConfigError(
                f"--config.{leaf}: a later --config sets another kind of its group, which has no"
                " such key: leave one of them out"
            )
    return leaves


def check_reach(recipe: ConfigDict, paths: list[str]):
    """Logs which of the keys set do not reach a stage, in a recipe that expands without errors.

    Raises:
        ConfigError: a default reaches no stage.
    """
    for path in paths:
        _check_reach(recipe.to_dict(), path)


def _parsed(text):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # not a literal
        return {"true": True, "false": False}.get(text.lower(), text)


def _set(recipe, path, value, text, done) -> list[str]:
    """Sets a key, or the keys of a group; returns those set. `done`: keys set before."""
    tree = config.with_defaults(recipe.to_dict())
    known, kind = _known(tree, path), _kind_at(path, tree)
    by_part = _by_part(path, tree)
    inside = f"{path}."  # replacing a group by part would drop keys set before
    if twice := [leaf for leaf in done if leaf == path or (by_part and leaf.startswith(inside))]:
        raise ConfigError(f"--config.{twice[0]} is set twice: leave one of them out")
    if config.is_group(kind) and isinstance(value, dict):
        if by_part:
            _put(recipe, tree, path, ConfigDict(sort_keys=False))
            if not value:
                return [path]
        elif not value:
            raise ConfigError(
                f"--config.{path}={{}} has no effect ({', '.join(known)}); write it as"
                f" {_form(kind)}"
            )
        leaves, tag = [], getattr(kind, "tag", None)  # set first: it determines the other keys
        for key, one in sorted(value.items(), key=lambda item: item[0] != tag):
            leaves += _set(recipe, f"{path}.{key}", one, str(one), done)
        return leaves
    if kind is Any and isinstance(known, str | int | float):  # an option, checked by its kind
        numbers = isinstance(known, int | float) and isinstance(value, int | float)
        kind = Any if numbers else type(known)
    if kind is str and value is not None and not isinstance(value, str):
        value = text  # a name that looks like a number
    try:
        value = config.build(value, kind, f"--config.{path}")
    except ConfigError as error:
        more = f" ({', '.join(known)})" if isinstance(known, dict) and known else ""
        raise ConfigError(f"{error}{more}; write it like {_form(kind, known)}") from error
    _put(recipe, tree, path, value)
    return [path]


def _put(recipe, tree, path, value):
    *groups, last = path.split(".")
    holder = recipe
    for key in groups:
        if key not in holder:
            holder[key] = ConfigDict(sort_keys=False)
        holder = holder[key]
    group = _kind_at(".".join(groups), tree) if groups else None
    for key in config.dropped(group, holder.to_dict(), {last: value}):
        del holder[key]
    holder[last] = value


def _known(tree, path):
    """The value of a recipe with its defaults at a key; None for a valid key that it lacks."""
    keys, known = path.split("."), tree
    for depth, key in enumerate(keys):
        valid = known if isinstance(known, dict) else ()
        if key in valid:
            known = known[key]
        elif depth == len(keys) - 1 and _may_be_new(path, tree):
            return None
        else:
            where = ".".join(["config", *keys[:depth]])
            below = [found for found in config.flatten(dict(valid)) if found.endswith(f".{key}")]
            near = nearest(key, below, likeness=0.0) or nearest(key, valid)
            group = _kind_at(".".join(keys[:depth]), tree) if depth else None
            if tagged_groups.is_tagged(group) and (tag := known.get(group.tag)):
                own = ", ".join(tagged_groups.fields_at(group, known))
                near = f" {group.tag.capitalize()} {tag!r} has {own}.{near}"
            stages = {} if depth else known["stages"]
            if stages and all(key in stage for stage in stages.values()):
                near = f" Each stage has its own: --config.stages.{next(iter(stages))}.{path}"
            raise ConfigError(f"--config.{path}: {where} has no key {key!r}.{near}")
    return known


def _check_reach(tree, path):
    """Refuses a default that reaches no stage; logs stages that it does not reach, unread keys."""
    head, _, rest = path.partition(".")
    if head in config.GRAPH_KEYS:
        name, _, key = rest.partition(".")
        if head == "stages" and not _reads(config.with_defaults(tree)["stages"][name], key):
            say(f"--config.{path} has no effect: {name} does not read it")
        return
    stages = config.with_defaults(tree)["stages"]
    readers = {name: stage for name, stage in stages.items() if _reads(stage, path)}
    shared = _at(tree, path)
    kept = [name for name in readers if _at(tree["stages"][name], path, shared) != shared]
    if len(kept) == len(readers):
        reason = f"{', '.join(kept)} set their own" if kept else "no stage reads it"
        cure = f"; write --config.stages.{kept[0]}.{path}" if kept else ""
        raise ConfigError(f"--config.{path} has no effect: {reason}{cure}")
    if kept:
        say(f"--config.{path} does not reach {', '.join(kept)}, which set their own")


def _reads(stage, path):
    """Whether a stage reads a default: `augment`, `eval` need audio, sizes of a part need it."""
    from seedasr_jax.models import parts  # late, because it imports JAX

    group, key = (*path.split("."), "")[:2]
    if path == "eval.every":
        return bool(stage["eval"]["tasks"])
    if group == "vocab" and key in ("kind", "size"):
        return not stage["vocab"]["path"]
    if group == "model" and (dependent := parts.of_group(key)):
        # A part that a module of `config.imports` has yet to register may depend on it.
        return any(part in dependent or part not in parts.known() for part in stage["init"])
    has_audio = any(bucket[0] for bucket in stage["data"]["buckets"])
    return has_audio or group not in ("augment", "eval")


def _at(tree, path, default=None):
    for key in path.split("."):
        if key not in tree:
            return default
        tree = tree[key]
    return tree


def _kind_at(path: str, recipe: dict):
    """The schema's type at a key of a recipe `with_defaults`; None: the schema has no such key."""
    keys = path.split(".")
    kind, tree = (config.Recipe if keys[0] in config.GRAPH_KEYS else config.Stage), recipe
    for key in keys:
        tree = tree if isinstance(tree, dict) else {}
        if dataclasses.is_dataclass(kind):
            kind = tagged_groups.fields_at(kind, tree).get(key)
        else:
            kind = typing.get_args(kind)[1] if config.is_group(kind) else None
        tree = tree.get(key, {})
    return kind


def _by_part(path: str, recipe: dict) -> bool:
    """Whether a key is a group whose keys are names of parts: `init` or `optim.rates`."""
    kind = _kind_at(path, recipe) if path else None
    return typing.get_origin(kind) is Mapping and typing.get_args(kind)[1] in (str, float)


def _may_be_new(path: str, recipe: dict) -> bool:
    """Whether a recipe may lack a valid key: one of a group by part or of a tagged group."""
    where = path.rpartition(".")[0]
    tagged = bool(where) and tagged_groups.is_tagged(_kind_at(where, recipe))
    return _by_part(where, recipe) or (tagged and _kind_at(path, recipe) is not None)


def _form(kind, known=None) -> str:
    """How a value of a type is written; the `known` value serves as the example."""
    if config.is_group(kind):
        return "{'KEY': VALUE}"
    if known not in (None, "", ()):
        return repr(known)
    if typing.get_origin(kind) is tuple:
        listed = [_form(one) for one in typing.get_args(kind) if one is not Ellipsis]
        return f"({', '.join(listed)}{',' * (len(listed) == 1)})"
    return {str: "'TEXT'", int: "1", float: "1.0", bool: "True"}[kind]
