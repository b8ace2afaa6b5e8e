"""File system: checks before work starts, errors as lines with a cure, locks."""

from collections.abc import Callable
import contextlib
import errno
import fcntl
import os
import pathlib
import re
import sys
import tempfile

from seedasr_jax.errors import ConfigError, UserError

_LOCK = ".lock"
_FREE = UserError, "free some space there, then start it again: what is saved stays"
_ALLOW = ConfigError, "allow it to this user, or name another folder"
_NAMED = ConfigError, "check the name and the folders above it"
_CURES = {  # by errno; a ConfigError is not retried
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _FREE),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _ALLOW),
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP), _NAMED),
    **dict.fromkeys((errno.EEXIST, errno.ENOTEMPTY), _NAMED),
    errno.EIO: (UserError, "look at the disk, then start it again"),
    errno.ESTALE: (UserError, "mount it again, then start it again"),
    errno.EMFILE: (UserError, "raise `ulimit -n`"),
    errno.ENAMETOOLONG: (ConfigError, "choose a shorter one"),
}
_OTHER = UserError, "look at the file system there, then start it again"


@contextlib.contextmanager
def naming(path):
    """Context in which an OSError, such as of a full disk, gets `path` as its filename."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def is_url(path) -> bool:
    """Whether a path is a URL: gs://bucket/run, or gs:/bucket/run as pathlib writes it."""
    return re.match(r"[A-Za-z][\w+.-]*:/", str(path)) is not None


def check_local(path, flag: str) -> None:
    """Raises a ConfigError unless a path is local (no gs://) and, as Orbax requires, in UTF-8."""
    if re.search(r"[\ud800-\udfff]", str(path)):  # surrogates stand for undecodable bytes
        cure = "choose another, or set LC_ALL=C.UTF-8 where Python does not read UTF-8"
        raise ConfigError(f"{flag}: expected a name in UTF-8, found {str(path)!r}: {cure}")
    if is_url(path):
        raise ConfigError(f"{flag}: expected a local path, found {path}: copy from or to there")


def access_error(path) -> UserError | None:
    """The error, such as of a denied parent folder, that hides whether a path exists, or None.

    os.path.exists and most of pathlib report such a path as missing.
    """
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, ValueError):  # NUL in it
            os.stat(path)
    except OSError as error:
        return as_user_error(error)
    return None


def is_missing(path) -> bool:
    """Whether a path certainly does not exist."""
    return not os.path.exists(path) and access_error(path) is None


def check_writable(folder, flag: str) -> None:
    """Checks before the work that files can be written to a folder, and leaves none there.

    Raises:
        UserError: they cannot; a ConfigError unless the cause may pass, as a full disk does.
    """
    check_local(folder, flag)
    folder, made = pathlib.Path(folder), []
    try:
        for path in (*reversed(folder.parents), folder):
            if not path.exists():
                path.mkdir()
                made.append(path)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        kind, cure = _CURES.get(error.errno, _OTHER)
        cure = "" if kind is ConfigError else f"{cure}; or "
        wrong = f"{flag}: nothing can be written to {folder}: {_why(error)}"
        raise kind(f"{wrong}; {cure}name another folder with {flag}") from error
    finally:
        for path in reversed(made):
            with contextlib.suppress(OSError):  # another process writes there
                path.rmdir()


def check_files(folder, *names: str) -> None:
    """Raises a ConfigError if the path of an output file is a folder."""
    for path in (os.path.join(folder, name) for name in names):
        if os.path.isdir(path):
            raise ConfigError(f"{path}: expected a file, found a folder: move it away")


def as_user_error(error: OSError) -> UserError | None:
    """A file system error as a line with path and cure; None for an error of another kind."""
    if error.errno is None or isinstance(error, ConnectionError):
        return None
    kind, cure = _CURES.get(error.errno, _OTHER)
    path = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    return kind(f"{path}{_why(error)}; {cure}")


def make_once(target, make: Callable[[pathlib.Path], None]) -> None:
    """Creates a folder atomically, unless it exists; one process does while others wait.

    `make` fills the folder that it is given, which may have files of an interrupted call.
    """
    target = pathlib.Path(target)
    if target.is_dir():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with hold(target.parent, wait=True):
        if not target.is_dir():
            partial = target.with_name(f".{target.name}.partial")
            partial.mkdir(exist_ok=True)
            try:
                make(partial)
                partial.rename(target)
            finally:
                with contextlib.suppress(OSError):  # not empty, or already renamed
                    partial.rmdir()


@contextlib.contextmanager
def hold(folder, *, wait=False):
    """Context with a folder's lock, which the kernel releases if the process ends.

    Raises:
        ConfigError: another process has it and `wait` is False; names the process id.
    """
    with open(pathlib.Path(folder, _LOCK), "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = f"{folder} is being written by process {file.read().strip() or 'unknown'}"
            if not wait:
                raise ConfigError(f"{holder}; wait for it, or stop it first") from None
            print(f"{holder}; waiting for it", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        with naming(file.name):
            file.truncate(0)
            os.write(file.fileno(), str(os.getpid()).encode())
        yield


def _why(error):
    text = os.strerror(error.errno)
    return text[:1].lower() + text[1:]
