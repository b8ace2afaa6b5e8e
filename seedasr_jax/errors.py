"""Errors that a user can mend: one line with what was expected, what was found, and the cure."""

import difflib

# Exit codes of a command; launch/exits.py has what each means.
DONE, FAILED, USAGE, CHECK_FAILED = 0, 1, 2, 3
PREEMPTED, HUNG, INTERRUPTED = 75, 76, 130


class UserError(Exception):
    """Something that the user can mend; the command prints the line and leaves with `exit_code`."""

    exit_code = FAILED


class ConfigError(UserError):
    """A wrong flag, config or stale recipe: never worth a retry."""

    exit_code = USAGE


class DataError(UserError):
    """Data that cannot be used: a manifest, a row, a recording."""


def unknown(what: str, name, known) -> ConfigError:
    """The error for a name that is none of `known`; suggests the nearest."""
    expected = f"expected one of {', '.join(known)}"
    return ConfigError(f"{what}: {expected}, found {name!r}.{nearest(name, known)}")


def nearest(name: str, names, likeness: float = 0.5) -> str:
    """Returns ' Did you mean a, b?' with the names nearest to `name`, or '' where none is near."""
    found = difflib.get_close_matches(str(name), [str(n) for n in names], n=3, cutoff=likeness)
    return f" Did you mean {', '.join(found)}?" if found else ""
