"""The files of a workdir: their names, and how they are read and written.

    WORKDIR/config.json           the graph that it was started with
    WORKDIR/vocab/ cache/ logs/   tokenizer; audio and programs that were made; of `launch local`
    WORKDIR/frozen/               copies of parts that another workdir will remove
    WORKDIR/STAGE/                stage.json, metrics.jsonl, skipped.jsonl
    WORKDIR/STAGE/checkpoints/    a folder per step
    WORKDIR/STAGE/eval/HASH/      results.jsonl, transcripts.jsonl
    BUNDLE/                       config.json, parity.json, CARD.md, the tokenizer, tensors

A file is replaced at once: after a crash it is whole or as it was. JSON Lines only grow, and a
crash costs at most the last line.
"""

from collections.abc import Callable, Iterable
import contextlib
import errno
import fcntl
import json
import os
import pathlib
import re
import sys
import tempfile

from seedasr_jax.errors import ConfigError, UserError

CONFIG = "config.json"  # of a workdir or a bundle
VOCAB, CACHE, LOGS, FROZEN = "vocab", "cache", "logs", "frozen"
STAGE, METRICS, SKIPPED = "stage.json", "metrics.jsonl", "skipped.jsonl"
CHECKPOINTS, EVAL = "checkpoints", "eval"
RESULTS, TRANSCRIPTS = "results.jsonl", "transcripts.jsonl"
PARITY, CARD = "parity.json", "CARD.md"
SUMMARY, SPENT, SAMPLES = "summary.json", "spent.json", "samples.jsonl"  # of the quickstart
FORMAT_VERSION = 3  # of config.json and stage.json; a change of either form raises it
READ_BY = {1: "c03a92d", 2: "8810b2b"}  # version -> the last commit that reads it
NEW_CONFIG = "; in a workdir, `seedasr train --config=NAME --workdir=DIR` writes it anew"
NEW_STAGE = "; remove it, and `seedasr train` writes it anew from the newest checkpoint"
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
_UTF8 = dict(encoding="utf-8", errors="backslashreplace")  # a lone surrogate as JSON escapes it


@contextlib.contextmanager
def naming(path):
    """An OSError from inside, such as of a full disk, names the file."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


@contextlib.contextmanager
def replacing(path):
    """Yields a path beside `path` to write to; its file takes the place of `path` at the end.

    File and folder are forced to disk. An OSError names `path`.
    """
    path = pathlib.Path(path)
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    with naming(path):
        try:
            yield partial
            with open(partial, "rb") as file:
                os.fsync(file.fileno())
            partial.replace(path)
            _force(path.parent)
        finally:
            with contextlib.suppress(OSError):  # not there; or the folder is the trouble
                partial.unlink()


def write_text(path, text: str) -> None:
    """Replaces a text file, in UTF-8."""
    with replacing(path) as partial:
        partial.write_text(text, **_UTF8)


def write_json(path, tree) -> None:
    """Replaces a JSON file."""
    write_text(path, json.dumps(tree, indent=1, ensure_ascii=False) + "\n")


def read_json(path, cure: str = "") -> dict:
    """The JSON object in a file.

    Raises:
        UserError: the file holds none; the line ends with `cure`.
    """
    try:
        tree = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:  # broken UTF-8 too
        raise UserError(f"{path}: expected a JSON object, found {error}{cure}") from error
    if not isinstance(tree, dict):
        raise UserError(f"{path}: expected a JSON object, found a {type(tree).__name__}{cure}")
    return tree


def check_format(tree: dict, path) -> None:
    """Refuses a config.json or stage.json of another format version.

    Raises:
        UserError: names the file, its version, and the commit to use.
    """
    version = tree.get("format_version")
    if not isinstance(version, int) or version == FORMAT_VERSION:
        return  # what is no number is refused by its type
    if version > FORMAT_VERSION:
        raise UserError(
            f"{path}: format_version {version}, this seedasr_jax reads {FORMAT_VERSION}; install a"
            " newer one"
        )
    last = READ_BY.get(version, min(READ_BY.values()))
    raise UserError(
        f"{path}: format_version {version}, this seedasr_jax reads {FORMAT_VERSION}; the last"
        f" commit that reads it is {last}: use that one, or train in a new --workdir"
    )


def read_config(folder) -> dict:
    """config.json of a workdir or a bundle, of this format version; see `check_format`."""
    tree = read_json(folder / CONFIG, NEW_CONFIG)
    check_config_format(tree, folder / CONFIG)
    return tree


def check_config_format(tree: dict, path) -> None:
    """`check_format` of a config.json: workdirs stated no version before 3."""
    check_format({"format_version": 2} | tree, path)


def read_stage(folder) -> dict:
    """stage.json of a stage directory."""
    return read_json(folder / STAGE, NEW_STAGE)


def write_rows(path, rows: Iterable[dict]) -> None:
    """Replaces a JSONL file."""
    write_text(path, "".join(map(_line, rows)))


def append(path, rows: Iterable[dict]) -> None:
    """Adds rows to a JSONL file; they are on disk when this returns."""
    path = pathlib.Path(path)
    new = not path.exists()
    with naming(path), open(path, "a", **_UTF8) as file:
        file.write("".join(map(_line, rows)))
        file.flush()
        os.fsync(file.fileno())
        if new:
            _force(path.parent)


def read_rows(path, *keys: str) -> list[dict]:
    """The rows of a JSONL file; none where there is no file.

    A line that is no JSON object with these `keys`, or whose `step` is no integer, is left out and
    named on stderr. A last line that a kill cut off is left out.
    """
    path = pathlib.Path(path)
    if not path.exists():
        return []
    *lines, last = path.read_bytes().split(b"\n")  # str.splitlines would split inside a string
    rows = []
    for number, line in enumerate([*lines, last], 1):
        try:
            row = json.loads(line.decode())
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict) and all(key in row for key in keys) and _is_step(row):
            rows.append(row)
        elif number <= len(lines):
            wanted = " with ".join(["a JSON object", *keys])
            print(f"{path}:{number}: expected {wanted}; this line is left out", file=sys.stderr)
    return rows


def rewind(path, step: int) -> list[dict]:
    """Drops the rows of a JSONL file whose `step` is `step` or later; returns those that stay."""
    rows = [row for row in read_rows(path, "step") if row["step"] < step]
    if pathlib.Path(path).exists():
        write_rows(path, rows)
    return rows


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


def _why(error):
    return os.strerror(error.errno)[:1].lower() + os.strerror(error.errno)[1:]


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


def _is_step(row):
    return type(row.get("step", 0)) is int


def _line(row):
    return json.dumps(row, ensure_ascii=False) + "\n"


def _force(folder):
    """Forces a folder's entries to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
