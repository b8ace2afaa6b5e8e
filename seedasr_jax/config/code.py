"""User code: a recipe's file and the modules that a config imports."""

from collections.abc import Iterable
import contextlib
import dataclasses
import importlib
import os
import re
import sys
import sysconfig
import traceback

from seedasr_jax import errors
from seedasr_jax.errors import ConfigError, UserError

_NOT_OWN = rf"site-packages|^<|^{re.escape(sysconfig.get_path('stdlib'))}"  # of a traceback's files


@contextlib.contextmanager
def of_user(what: str):
    """Turns an exception of user code into a ConfigError that names `what`, the error and its line.

    A UserError keeps its class (the nearest in errors.py) and its text, after `what`.
    """
    try:
        yield
    except UserError as error:
        raise errors.renewed(error, f"{what}: {error}") from error
    except errors.Leave:  # a signal arrived while it ran
        raise
    except (Exception, SystemExit) as error:  # user code may raise anything
        raise ConfigError(f"{what}: {type(error).__name__}: {_line(error)}") from error


def import_all(modules: Iterable[str]) -> None:
    """Imports the modules of `config.imports`; a ConfigError if one does not exist or raises."""
    for module in modules:
        with of_user(f"config.imports: {module!r}"):
            load(module)


def is_of_user(found) -> bool:
    """Whether a class or function is of a module outside this package."""
    module = getattr(found, "__module__", None) or __name__
    return module.partition(".")[0] != __name__.partition(".")[0]


@dataclasses.dataclass(frozen=True)
class Origin:
    """The module that registers an entry."""

    module: str
    file: str

    @property
    def own(self) -> bool:
        """Whether it is of this package."""
        return self.module.partition(".")[0] == __name__.partition(".")[0]


_origins: dict[str, Origin] = {}  # entry of a registry -> what registered it


def replaces(what: str, calls: int = 1) -> bool:
    """Whether what the caller registers takes the place of an entry of that name, if there is one.

    What is built in never replaces a user's, as its module may be imported later. `what`: the entry
    for messages, unique among all registries; `calls`: how many calls above this one the module
    that registers it is.

    Raises:
        ConfigError: modules of two users register it.
    """
    module = sys._getframe(calls + 1).f_globals
    new = Origin(module["__name__"], os.path.realpath(module.get("__file__") or module["__name__"]))
    old = _origins.get(what)
    # A recipe's file and a module of the same file are one.
    if old and not new.own and not old.own and new.file != old.file:
        raise ConfigError(
            f"{what} is registered by two modules, {old.module} and {new.module}: rename one, or"
            " leave one of the modules out"
        )
    if old and new.own and not old.own:
        return False
    _origins[what] = new
    return True


def load(module: str):
    """Imports a module; a ConfigError with a cure if it does not exist."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        own = error.name and f"{module}.".startswith(f"{error.name}.")
        cure = "is it on PYTHONPATH?" if own else f"{module} needs it: install it on every host"
        raise ConfigError(f"{error}; {cure}") from error


def _line(error) -> str:
    """The error in one line, with its innermost location outside installed packages, if any."""
    text = " ".join(str(error).split())
    if isinstance(error, SyntaxError):  # its text names the location
        return text
    frames = traceback.extract_tb(error.__traceback__)
    own = [at for at in frames if not re.search(_NOT_OWN, at.filename)]
    last = (own or frames)[-1]
    return f"{text} ({last.filename}:{last.lineno})"
