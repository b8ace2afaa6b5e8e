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


class Leave(SystemExit):
    """The end of the process that a signal asks for, in whatever code it arrives; `code`: why."""


def unknown(what: str, name, known) -> ConfigError:
    """The error for a name that is none of `known`; suggests the nearest."""
    expected = f"expected one of {', '.join(known)}"
    return ConfigError(f"{what}: {expected}, found {name!r}.{nearest(name, known)}")


def unregistered(what: str, name, known) -> ConfigError:
    """As `unknown`, for names that modules of `config.imports` may add."""
    others = "Modules of config.imports register others, such as 'seedasr_jax.small'"
    return ConfigError(f"{unknown(what, name, known)} {others}")


def lacks(key: str, options, method: str, example: str) -> ConfigError:
    """The error for a class, the target of tagged `options` at a key, without a method."""
    return ConfigError(
        f"{key}.kind = {options.kind!r}: expected a method {method}, found none: give"
        f" {options.target} one, as {example} has it"
    )


def renewed(error: UserError, text: str) -> UserError:
    """An error of the same class with another text; of its base here if it is a subclass of one."""
    return kind_of(error)(text)


def kind_of(error: UserError) -> type[UserError]:
    """The nearest class of this module that an error is of; subclasses may take other arguments."""
    return next(each for each in type(error).__mro__ if each.__module__ == __name__)


def nearest(name: str, names, likeness: float = 0.5) -> str:
    """Returns ' Did you mean a, b?' with the names nearest to `name`, or '' where none is near."""
    found = difflib.get_close_matches(str(name), [str(n) for n in names], n=3, cutoff=likeness)
    return f" Did you mean {', '.join(found)}?" if found else ""
