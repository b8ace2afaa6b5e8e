"""What a field of a config may hold: declared beside its type, checked in one place.

    steps: int = at_least(1)
    tempo: tuple[float, float] = ascending(above=0)
    decay: str = one_of("cosine", "linear", "constant")

A bound holds for every number of a field, so also for each of a tuple or a mapping. A group whose
fields depend on each other has a method `check`, which calls `require`.
"""

from collections.abc import Callable, Mapping
import dataclasses
import math
from typing import Any

from seedasr_jax import filesystem
from seedasr_jax.errors import ConfigError, nearest

INT32 = 2**31  # steps, sizes and seeds are int32 on the devices
_SMALLEST, _LARGEST = 2.0**-126, 2.0**128  # of float32, in which floats are computed with


@dataclasses.dataclass(frozen=True)
class Rule:
    """What each number, or each text, of a field must satisfy."""

    holds: Callable[[Any], bool]
    expected: str  # in words
    concerns: type | tuple[type, ...] = (int, float)
    names: tuple[str, ...] = ()  # of a choice
    pair: bool = False  # (low, high)

    def check(self, value, where: str):
        """Raises a ConfigError that names the key, the bounds and what was found."""
        if isinstance(value, Mapping):
            for key, one in value.items():
                self.check(one, f"{where}.{key}")
        elif isinstance(value, tuple):
            for number, one in enumerate(value):
                self.check(one, f"{where}[{number}]")
            if self.pair and value[0] > value[1]:
                raise ConfigError(f"{where}: expected (low, high), ascending, found {value}")
        elif isinstance(value, self.concerns) and not self.holds(value):
            near = nearest(value, self.names)
            raise ConfigError(
                f"{where}: expected {self.expected}, found {value!r}{'.' if near else ''}{near}"
            )


def at_least(low, *, run=False):
    """Numbers from `low` on; `run`: a setting that may change at any restart."""
    return _declared(Rule(lambda x: x >= low, f"at least {low}"), run)


def above(low, most=math.inf):
    """Numbers greater than `low`, up to `most`."""
    end = "" if most == math.inf else f", at most {most:g}"
    return _declared(Rule(lambda x: low < x <= most, f"a number above {low}{end}"))


def within(low, high):
    """Numbers from `low` to `high`, both included."""
    return _declared(Rule(lambda x: low <= x <= high, f"{low} to {high}"))


def below_one():
    """A share that cannot be the whole: 0 included, 1 not."""
    return _declared(Rule(lambda x: 0 <= x < 1, "at least 0 and below 1"))


def ascending(low, high):
    """A pair of numbers from `low` to `high`; equal ones are a constant."""
    expected = f"numbers from {low:g} to {high:g}"
    return _declared(Rule(lambda x: low <= x <= high, expected, pair=True))


def one_of(*names):
    """One of these texts."""
    return _declared(Rule(lambda x: x in names, f"one of {', '.join(names)}", str, names))


def local_path():
    """A path of this machine, or nothing."""
    return _declared(Rule(lambda x: not filesystem.is_url(x), "a local path", str))


def setting():
    """Any value; it may change at any restart."""
    return dataclasses.field(metadata={"run": True})


def require(holds: bool, key: str, expected: str, found):
    """Of a group's `check`: raises a ConfigError where fields contradict each other."""
    if not holds:
        raise ConfigError(f"{key}: expected {expected}, found {found}")


def _declared(rule, run=False):
    return dataclasses.field(metadata={"rule": rule, "run": run})


def check(value, where: str):
    """Checks a config against what its fields declare, and its groups by their own `check`.

    Args:
        value: a dataclass of schema.py, or the options of an objective.
        where: its key.

    Raises:
        ConfigError: a number that is not finite, not float32 or not int32, or outside of its
            bounds, a name that is no choice, or fields that contradict each other; starts with the
            whole key.
    """
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            key, held = f"{where}.{field.name}", getattr(value, field.name)
            check(held, key)
            if "rule" in field.metadata:
                field.metadata["rule"].check(held, key)
        if hasattr(value, "check"):
            try:
                value.check()
            except ConfigError as error:
                raise ConfigError(f"{where}.{error}") from error
    elif isinstance(value, Mapping):
        for key, held in value.items():
            check(held, f"{where}.{key}")
    elif isinstance(value, tuple):
        for number, held in enumerate(value):
            check(held, f"{where}[{number}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where}: expected a finite number, found {value}")
    elif isinstance(value, float) and value and not _SMALLEST <= abs(value) < _LARGEST:
        raise ConfigError(f"{where}: expected a float32 (0, or 1.2e-38 to 3.4e38), found {value}")
    elif isinstance(value, int) and abs(value) >= INT32:
        raise ConfigError(f"{where}: expected a whole number below 2^31, found {value}")
