"""Flags: the parser that all commands share. Has no heavy imports."""

import argparse
import math
import re

from seedasr_jax.errors import nearest

_CHOICE = re.compile(r"invalid choice: '([^']*)' \(choose from (.*)\)")


class Parser(argparse.ArgumentParser):
    """Accepts each flag once, unabbreviated; suggests the nearest flag for an unknown one."""

    def __init__(self, **options):
        super().__init__(**options, allow_abbrev=False)
        self.register("action", None, _Once)

    def parse_known_args(self, args=None, namespace=None):
        """Refuses unknown arguments, also in a command's own parser."""
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            self.error(self._unknown(rest))
        return found, rest

    def error(self, message):
        """Adds the nearest valid choice to the message."""
        if wrong := _CHOICE.search(message):
            message += "." + nearest(wrong[1], re.findall(r"[\w.-]+", wrong[2]))
        super().error(message)

    def _unknown(self, rest):
        key = rest[0].partition("=")[0]
        if key.startswith("--config."):
            return f"{key}: expected --config.KEY=VALUE in one word, found {' '.join(rest)!r}"
        shown = (action for action in self._actions if action.help != argparse.SUPPRESS)
        known = [flag for action in shown for flag in action.option_strings]
        near = nearest(key, known) if key.startswith("-") else ""
        return f"unrecognized arguments: {' '.join(rest)}.{near}"


_NAMES = ("config", "stage", "again", "out", "copy")  # empty only by an unset shell variable


class _Once(argparse.Action):
    """Stores a value; refuses a repeated flag, and an empty value where one is needed."""

    def __call__(self, parser, namespace, values, option_string=None):
        given = namespace.__dict__.setdefault("given", set())
        if option_string and self.dest in given:
            raise argparse.ArgumentError(self, f"given twice, the second time as {values!r}")
        named = option_string and self.dest in _NAMES
        if values == "" and (self.required or self.default or named):
            raise argparse.ArgumentError(self, "expected a value, found an empty one")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


def amount(text: str) -> float:
    """Type of a flag: a finite number of at least 0."""
    found = float(text)
    if not 0 <= found < math.inf:
        raise argparse.ArgumentTypeError(f"expected a finite number >= 0, found {text}")
    return found
