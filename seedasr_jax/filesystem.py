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
_FREE = "free some space there, then start it again: what is saved stays"
_ALLOW = "allow it to this user, or name another place"
_NAMED = "check the name and the folders above it"
_CURES = {  # by errno; a ConfigError is not retried
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
    """Checks that a path is local (gs://, s3:// and the like are not supported yet) and in UTF-8,
    which checkpoint libraries require.

    Raises:
        ConfigError: it is not; names the flag.
    """
    if re.search(r"[\ud800-\udfff]", str(path)):  # surrogates stand for undecodable bytes
        raise ConfigError(
            f"{flag}: expected a name in UTF-8, found {str(path)!r}: choose another, or set"
            " LC_ALL=C.UTF-8 where Python does not read UTF-8"
        )
    if is_url(path):
        raise ConfigError(f"{flag}: expected a local path, found {path}: copy from or to there")


def unseen(path) -> UserError | None:
    """The error that hides whether a path exists, such as a denied parent folder; None: no error.

    os.path.exists and most of pathlib report such a path as missing.
    """
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in it
        return None
    except OSError as error:
        return as_user_error(error)
    return None


def is_missing(path) -> bool:
    """Whether a path certainly does not exist."""
    return not os.path.exists(path) and unseen(path) is None


def try_place(folder, flag: str) -> None:
    """Checks before the work that files can be written to a folder; leaves nothing behind.

    Raises:
        UserError: they cannot; names the reason and the flag that sets another folder. It is a
            ConfigError unless the cause may pass, as a full disk does.
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
    """Checks before the work that no output file's path is a folder.

    Raises:
        ConfigError: one is; names it.
    """
    for name in names:
        if os.path.isdir(os.path.join(folder, name)):
            raise ConfigError(
                f"{os.path.join(folder, name)}: expected a file, found a folder: move it away"
            )


def as_user_error(error: OSError) -> UserError | None:
    """A file system error as a line with path and cure; None for an error of another kind."""
    if error.errno is None or isinstance(error, ConnectionError):
        return None
    kind, cure = _CURES.get(error.errno, _OTHER)
    place = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    return kind(f"{place}{_why(error)}; {cure}")


def make_once(target, make: Callable[[pathlib.Path], None]) -> None:
    """Creates a folder atomically, unless it exists.

    One process creates it while others wait. `make` fills the folder that it is given, which may
    contain files of an earlier, interrupted call.
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
    """Holds a folder's lock; the kernel releases it with the process, so none is ever stale.

    Raises:
        ConfigError: another process holds it and `wait` is False; names the process id.
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
