"""Bounds of config fields: declared beside the type, checked in one place.

    steps: int = at_least(1)
    tempo: tuple[float, float] = ascending(0.2, 5)
    decay: str = one_of("cosine", "linear", "constant")

A bound applies to every number of a field, including each element of a tuple or mapping. A group
whose fields depend on each other has a method `check`, which calls `require`.
"""

from collections.abc import Callable, Mapping
import dataclasses
import math
from typing import Any

from seedasr_jax import filesystem
from seedasr_jax.errors import ConfigError, nearest

INT32 = 2**31  # steps, sizes and seeds are int32 on the devices
_SMALLEST, _LARGEST = 2.0**-126, 2.0**128  # range of normal float32 numbers


@dataclasses.dataclass(frozen=True)
class Rule:
    """Condition on each number or text of a field."""

    holds: Callable[[Any], bool]
    expected: str  # the condition in words, for errors
    types: type | tuple[type, ...] = (int, float)  # of the values that the condition applies to
    names: tuple[str, ...] = ()  # valid choices, for suggestions
    pair: bool = False  # whether the field is (low, high)


_FLOAT32 = "a float32 (0, or 1.2e-38 to 3.4e38)"
_ALWAYS = (  # rules of every field
    Rule(math.isfinite, "a finite number", float),
    Rule(lambda x: x == 0 or _SMALLEST <= abs(x) < _LARGEST, _FLOAT32, float),
    Rule(lambda x: abs(x) < INT32, "a whole number below 2^31", int),
)


def at_least(low, *, run=False):
    """Numbers of at least `low`; `run`: a run setting, which may change at any restart."""
    return _declared(Rule(lambda x: x >= low, f"at least {low}"), run)


def above(low, most=math.inf):
    """Numbers greater than `low`, up to `most`."""
    end = "" if most == math.inf else f", at most {most:g}"
    return _declared(Rule(lambda x: low < x <= most, f"a number above {low}{end}"))


def within(low, high):
    """Numbers from `low` to `high`, both included."""
    return _declared(Rule(lambda x: low <= x <= high, f"{low} to {high}"))


def below_one():
    """Numbers from 0 (included) to 1 (excluded)."""
    return _declared(Rule(lambda x: 0 <= x < 1, "at least 0 and below 1"))


def ascending(low, high):
    """An ascending pair of numbers from `low` to `high`; an equal pair is a constant."""
    expected = f"numbers from {low:g} to {high:g}"
    return _declared(Rule(lambda x: low <= x <= high, expected, pair=True))


def one_of(*names):
    """One of the texts `names`."""
    return _declared(Rule(lambda x: x in names, f"one of {', '.join(names)}", str, names))


def local_path():
    """A path on this machine, or an empty text."""
    return _declared(Rule(lambda x: not filesystem.is_url(x), "a local path", str))


def setting():
    """A run setting of any value, which may change at any restart."""
    return _declared(None, run=True)


def _declared(rule, run=False):
    return dataclasses.field(metadata={"rule": rule, "run": run})


def require(holds: bool, key: str, expected: str, found):
    """Raises a ConfigError unless `holds`; called by the `check` methods of groups."""
    if not holds:
        raise ConfigError(f"{key}: expected {expected}, found {found}")


def require_once(names, key: str, expected: str):
    """Raises a ConfigError if a name occurs twice."""
    twice = sorted({name for name in names if names.count(name) > 1})
    require(not twice, key, expected, ", ".join(twice))


def check(value, where: str, rule: Rule | None = None):
    """Checks a config against the rules of its fields and the `check` methods of its groups.

    Args:
        value: a dataclass of a config, or a value in it.
        where: its key.
        rule: the rule of the field that contains `value`.

    Raises:
        ConfigError: a number is not finite or exceeds float32, int32 or its bounds, a name is not a
            valid choice, or fields contradict each other. The message starts with the full key.
    """
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            key = f"{where}.{field.name}"
            check(getattr(value, field.name), key, field.metadata.get("rule"))
        if hasattr(value, "check"):
            try:
                value.check()
            except ConfigError as error:
                raise ConfigError(f"{where}.{error}") from error
    elif isinstance(value, Mapping):
        for key, one in value.items():
            check(one, f"{where}.{key}", rule)
    elif isinstance(value, tuple):
        for number, one in enumerate(value):
            check(one, f"{where}[{number}]", rule)
        ascend = not (rule and rule.pair) or value[0] <= value[1]
        require(ascend, where, "(low, high), ascending", value)
    else:
        for one in (*_ALWAYS, rule) if rule else _ALWAYS:
            if isinstance(value, one.types) and not one.holds(value):
                near = nearest(value, one.names)
                found = f"{value!r}{'.' if near else ''}{near}"
                raise ConfigError(f"{where}: expected {one.expected}, found {found}")
