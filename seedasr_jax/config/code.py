"""User code: a recipe's file and the modules that a config imports."""

from collections.abc import Iterable
import contextlib
import importlib
import re
import traceback

from seedasr_jax import errors
from seedasr_jax.errors import ConfigError, UserError


@contextlib.contextmanager
def of_user(what: str):
    """Turns an exception of user code into a ConfigError that names `what`, the error and its line.

    A UserError keeps its class (the nearest in errors.py) and its text, after `what`.
    """
    try:
        yield
    except UserError as error:
        raise errors.renewed(error, f"{what}: {error}") from error
    except (Exception, SystemExit) as error:  # user code may raise anything
        raise ConfigError(f"{what}: {type(error).__name__}: {_line(error)}") from error


def import_all(modules: Iterable[str]) -> None:
    """Imports the modules of `config.imports`; a ConfigError if one does not exist or raises."""
    for module in modules:
        with of_user(f"config.imports: {module!r}"):
            try:
                importlib.import_module(module)
            except ModuleNotFoundError as error:
                raise ConfigError(f"{error}; is it on PYTHONPATH?") from error


def _line(error) -> str:
    """The error in one line, with its innermost location outside installed packages, if any."""
    text = " ".join(str(error).split())
    if isinstance(error, SyntaxError):  # its text names the location
        return text
    frames = traceback.extract_tb(error.__traceback__)
    own = [at for at in frames if not re.search(r"site-packages|^<", at.filename)]
    last = (own or frames)[-1]
    return f"{text} ({last.filename}:{last.lineno})"
