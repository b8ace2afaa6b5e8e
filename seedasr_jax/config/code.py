"""Python of the user: a recipe's file, and the modules that a config imports."""

from collections.abc import Iterable
import contextlib
import importlib
import re
import traceback

from seedasr_jax.errors import ConfigError, UserError


@contextlib.contextmanager
def of_user(what: str):
    """What a user's code raises becomes one line.

    Raises:
        ConfigError: names `what`, the error, and the line of the code that it came from.
    """
    try:
        yield
    except UserError as error:
        raise type(error)(f"{what}: {error}") from error
    except (Exception, SystemExit) as error:  # of code that is not ours: any
        raise ConfigError(f"{what}: {type(error).__name__}: {_line(error)}") from error


def import_all(modules: Iterable[str]) -> None:
    """Imports what a config names under `imports`: its own encoders, stage kinds and tasks.

    Raises:
        ConfigError: a module is not there, or fails.
    """
    for module in modules:
        with of_user(f"config.imports: {module!r}"):
            try:
                importlib.import_module(module)
            except ModuleNotFoundError as error:
                raise ConfigError(f"{error}; is it on PYTHONPATH?") from error


def _line(error) -> str:
    """The error in one line, with its last place outside of installed packages, if any."""
    text = " ".join(str(error).split())
    if isinstance(error, SyntaxError):  # which says where itself
        return text
    frames = traceback.extract_tb(error.__traceback__)
    own = [at for at in frames if not re.search(r"site-packages|^<", at.filename)]
    last = (own or frames)[-1]
    return f"{text} ({last.filename}:{last.lineno})"
