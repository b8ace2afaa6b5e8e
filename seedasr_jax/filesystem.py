"""The file system: places tried before the work, its errors as lines with a cure, locks."""

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
_FREE = "free some space there, then start it again: what is saved stays"
_ALLOW = "allow it to this user, or name another place"
_NAMED = "check the name and the folders above it"
_CURES = {  # by errno; what a ConfigError says is not worth another try
    errno.ENOSPC: (UserError, _FREE),
    errno.EDQUOT: (UserError, _FREE),
    errno.EFBIG: (UserError, _FREE),
    errno.EIO: (UserError, "look at the disk, then start it again"),
    errno.ESTALE: (UserError, "mount it again, then start it again"),
    errno.EMFILE: (UserError, "raise `ulimit -n`"),
    errno.EACCES: (ConfigError, _ALLOW),
    errno.EPERM: (ConfigError, _ALLOW),
    errno.EROFS: (ConfigError, _ALLOW),
    errno.ENOENT: (ConfigError, _NAMED),
    errno.ENOTDIR: (ConfigError, _NAMED),
    errno.EISDIR: (ConfigError, _NAMED),
    errno.EEXIST: (ConfigError, _NAMED),
    errno.ENOTEMPTY: (ConfigError, _NAMED),
    errno.ELOOP: (ConfigError, _NAMED),
    errno.ENAMETOOLONG: (ConfigError, "choose a shorter one"),
}
_OTHER = UserError, "look at the file system there, then start it again"


@contextlib.contextmanager
def naming(path):
    """Context in which an OSError, such as of a full disk, gets the file's name."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def is_url(path) -> bool:
    """Whether a path is of another machine: gs://bucket/run, or gs:/bucket/run by pathlib."""
    return re.match(r"[A-Za-z][\w+.-]*:/", str(path)) is not None


def check_local(path, flag: str) -> None:
    """Refuses gs://, s3:// and the like, which are neither read nor written yet, and names that are
    not UTF-8, which the libraries that write checkpoints do not take.

    Raises:
        ConfigError: names the flag.
    """
    if re.search(r"[\ud800-\udfff]", str(path)):  # as Python reads bytes that it cannot decode
        raise ConfigError(
            f"{flag}: expected a name in UTF-8, found {str(path)!r}: choose another, or set"
            " LC_ALL=C.UTF-8 where Python does not read UTF-8"
        )
    if is_url(path):
        raise ConfigError(f"{flag}: expected a local path, found {path}: copy from or to there")


def unseen(path) -> UserError | None:
    """Why nothing can be known of a path, such as a folder above it that is closed to this user.

    For os.path.exists and most of pathlib, nothing is there.
    """
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # a NUL in it
        return None
    except OSError as error:
        return as_user_error(error)
    return None


def is_missing(path) -> bool:
    """Whether it is known that nothing is there."""
    return not os.path.exists(path) and unseen(path) is None


def try_place(folder, flag: str) -> None:
    """Makes sure that files can be written to a folder, before the work; leaves nothing behind.

    Raises:
        UserError: they cannot; names the flag that says another place, and why. A ConfigError where
            that place will not do later either; where one is full, a UserError.
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
        raise kind(
            f"{flag}: nothing can be written to {folder}: {_why(error)}; {cure}name another place"
            f" with {flag}"
        ) from error
    finally:
        for path in reversed(made):
            with contextlib.suppress(OSError):  # another process writes there
                path.rmdir()


def try_files(folder, *names: str) -> None:
    """Makes sure, before the work, that no folder stands where files are to be written.

    Raises:
        ConfigError: names it.
    """
    for name in names:
        if os.path.isdir(os.path.join(folder, name)):
            raise ConfigError(
                f"{os.path.join(folder, name)}: expected a file, found a folder: move it away"
            )


def as_user_error(error: OSError) -> UserError | None:
    """An error of the file system as a line with path and cure; None for one of another kind."""
    if error.errno is None or isinstance(error, ConnectionError):
        return None
    kind, cure = _CURES.get(error.errno, _OTHER)
    place = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    return kind(f"{place}{_why(error)}; {cure}")


def make_once(target, make: Callable[[pathlib.Path], None]) -> None:
    """Makes a folder, unless it is there; it appears when it is whole.

    One process makes it and others wait. `make` fills the folder that it is given, and finds there
    what an earlier process made before it was stopped.
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
                with contextlib.suppress(OSError):  # it holds something, or is in its place
                    partial.rmdir()


@contextlib.contextmanager
def hold(folder, *, wait=False):
    """Holds a folder's lock; the kernel drops it with the process, so none is ever stale.

    Raises:
        ConfigError: another process holds it, and there is no `wait`; names its number.
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
    return os.strerror(error.errno)[:1].lower() + os.strerror(error.errno)[1:]
