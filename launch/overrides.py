"""`--config.KEY=VALUE`: a recipe's keys set from a command line, by the types of the schema."""

import ast
from typing import Any

from ml_collections import ConfigDict

from seedasr_jax import config
from seedasr_jax.errors import ConfigError, nearest
from seedasr_jax.launch.progress import say


def apply(recipe: ConfigDict, overrides: list[tuple[str, str]]):
    """Sets `a.b.c` to a value written as Python (text that is no literal is a string).

    A key of a stage that the stage leaves to the graph (`stages.ctc.mesh.tensor`) becomes its own.
    A group takes {'KEY': VALUE} and keeps its other keys; one by part (`init`, `optim.rates`) is
    replaced, and takes any part as a key.

    Raises:
        ConfigError: an unknown key, with the nearest; a key that is set twice; a value of another
            form; a default that no stage takes.
    """
    leaves: list[str] = []
    with recipe.unlocked(), recipe.ignore_type():
        for path, text in overrides:
            leaves += (found := _set(recipe, path, _parsed(text), text))
            for leaf in found:
                if leaves.count(leaf) > 1:
                    raise ConfigError(f"--config.{leaf} is set twice: leave one of them out")
    for path in leaves:
        _check_reach(recipe.to_dict(), path)


def _parsed(text):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text.lower(), text)


def _set(recipe, path, value, text) -> list[str]:
    """Sets a key; returns it, or those of the group that it is."""
    known, kind = _known(recipe, path), config.kind_at(path)
    if config.is_group(kind) and isinstance(value, dict):
        if config.by_part(path):
            _put(recipe, path, ConfigDict(sort_keys=False))
        elif not value:
            raise ConfigError(
                f"--config.{path}={{}} changes nothing ({', '.join(known)}); write it as"
                f" {config.form(kind)}"
            )
        each = (_set(recipe, f"{path}.{key}", one, str(one)) for key, one in value.items())
        return [leaf for leaves in each for leaf in leaves]
    if kind is Any:  # an option of an objective, which checks it
        kind = type(known)
    if kind is str and value is not None and not isinstance(value, str):
        value = text  # a name that looks like a number
    try:
        value = config.build(value, kind, f"--config.{path}")
    except ConfigError as error:
        more = f" ({', '.join(known)})" if isinstance(known, dict) and known else ""
        raise ConfigError(f"{error}{more}; write it as {config.form(kind, known)}") from error
    _put(recipe, path, value)
    return [path]


def _put(recipe, path, value):
    *groups, last = path.split(".")
    holder = recipe
    for key in groups:
        if key not in holder:
            holder[key] = ConfigDict(sort_keys=False)
        holder = holder[key]
    holder[last] = value


def _known(recipe, path):
    """What the recipe has at a key; None of a part that is new to a group by part."""
    keys, known = path.split("."), config.with_defaults(recipe.to_dict())
    for depth, key in enumerate(keys):
        valid = known if isinstance(known, dict) else ()
        if key in valid:
            known = known[key]
        elif depth == len(keys) - 1 and config.by_part(".".join(keys[:-1])):
            return None
        else:
            where, near = ".".join(["config", *keys[:depth]]), nearest(key, valid)
            stages = {} if depth else known["stages"]
            if stages and all(key in stage for stage in stages.values()):
                near = f" Each stage has its own: --config.stages.{next(iter(stages))}.{path}"
            raise ConfigError(f"--config.{path}: {where} has no key {key!r}.{near}")
    return known


def _check_reach(tree, path):
    """Refuses a shared default that all stages set themselves, and names those that do."""
    head = path.partition(".")[0]
    if head in config.GRAPH_KEYS:
        return
    stages = config.with_defaults(tree)["stages"]
    readers = {name: stage for name, stage in stages.items() if _reads(stage, path)}
    shared = _at(tree, path)
    kept = [name for name in readers if _at(tree["stages"][name], path, shared) != shared]
    if len(kept) == len(readers):
        who = f"{', '.join(kept)} set their own" if kept else "no stage reads it"
        cure = f"; write --config.stages.{kept[0]}.{path}" if kept else ""
        raise ConfigError(f"--config.{path} changes nothing: {who}{cure}")
    if kept:
        say(f"--config.{path} does not reach {', '.join(kept)}, which set their own")


def _reads(stage, path):
    """Whether a stage reads a default: without audio nothing is augmented or recognised."""
    if path == "eval.every":
        return bool(stage["eval"]["tasks"])
    hears = any(bucket[0] for bucket in stage["data"]["buckets"])
    return hears or path.partition(".")[0] not in ("augment", "eval")


def _at(tree, path, default=None):
    for key in path.split("."):
        if key not in tree:
            return default
        tree = tree[key]
    return tree
