"""The files of a workdir: their names, and how they are read and written.

    WORKDIR/config.json           the stage graph of the run
    WORKDIR/vocab/ cache/ logs/   tokenizer; generated audio, tables, programs; process logs
    WORKDIR/frozen/               copies of parts that another workdir will remove
    WORKDIR/STAGE/                stage.json, metrics.jsonl, skipped.jsonl
    WORKDIR/STAGE/checkpoints/    a folder per step
    WORKDIR/STAGE/eval/HASH/      results.jsonl, transcripts.jsonl
    BUNDLE/                       config.json, parity.json, CARD.md, the tokenizer, tensors, source/

Files are replaced atomically: after a crash a file is the new or the old one. JSON Lines files are
appended to, and a crash loses at most the last line.
"""

from collections.abc import Iterable
import contextlib
import functools
import json
import os
import pathlib
import re
import secrets
import socket
import sys
import time

from seedasr_jax import filesystem
from seedasr_jax.errors import ConfigError, UserError

CONFIG = "config.json"  # of a workdir or a bundle
VOCAB, CACHE, LOGS, FROZEN = "vocab", "cache", "logs", "frozen"
STAGE, METRICS, SKIPPED = "stage.json", "metrics.jsonl", "skipped.jsonl"
CHECKPOINTS, EVAL = "checkpoints", "eval"
RESULTS, TRANSCRIPTS = "results.jsonl", "transcripts.jsonl"
PARITY, CARD = "parity.json", "CARD.md"
SOURCE = "source"  # in an imported bundle: the source's config, tokenizer and generation files
INVENTORY = "inventory.json"  # of a step or a bundle
SOURCES = "sources.json"  # of FROZEN
TABLES, PROGRAMS = "tables", "programs-{}"  # in CACHE; programs by kind of processor
SUMMARY, SPENT, SAMPLES = "summary.json", "spent.json", "samples.jsonl"  # of the quickstart
REPORT, BUNDLE, SOUNDS = "report.html", "bundle", "samples"
FORMAT_VERSION = 4  # of config.json and stage.json; incremented when either format changes
READ_BY = {1: "c03a92d", 2: "8810b2b", 3: "2a9eb38"}  # version -> the last commit that reads it
NEW_CONFIG = "; in a workdir, `seedasr train --config=NAME --workdir=DIR` writes it anew"
NEW_STAGE = "; remove it, and `seedasr train` writes it anew from the newest checkpoint"
_PARTIAL = re.compile(r"-\d+-[0-9a-f]{4}\.partial(\.\w+)?$")
_STALE = 24 * 3600.0  # seconds after which a partial file has no writer
_UTF8 = dict(encoding="utf-8", errors="backslashreplace")  # lone surrogates are escaped


@contextlib.contextmanager
def replacing(path):
    """Yields a temporary path; its file replaces `path` atomically and durably at the end.

    An OSError names `path`.
    """
    path = pathlib.Path(path)
    # Two writers of one target write two files; containers may share host name and process number.
    writer = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
    partial = path.with_name(f".{path.stem}.{writer}.partial{path.suffix}")
    with filesystem.naming(path):
        _sweep(path.parent)
        try:
            yield partial
            with open(partial, "rb") as file:
                os.fsync(file.fileno())
            partial.replace(path)
            _force(path.parent)
        finally:
            with contextlib.suppress(OSError):  # missing, or the folder fails
                partial.unlink()


@functools.cache
def _sweep(folder):
    """Removes the partial files of killed processes from a folder, once per process."""
    for stale in folder.glob(".*-*-*.partial*"):
        if not _PARTIAL.search(stale.name):
            continue
        with contextlib.suppress(OSError):  # removed by another process, or a folder
            if time.time() - stale.stat().st_mtime > _STALE:
                stale.unlink()


def log(workdir, process: int) -> pathlib.Path:
    """Path of the log of one process of `launch local`."""
    return pathlib.Path(workdir, LOGS, f"process-{process}.log")


def write_text(path, text: str) -> None:
    """Replaces a UTF-8 text file."""
    with replacing(path) as partial:
        partial.write_text(text, **_UTF8)


def write_json(path, tree) -> None:
    """Replaces a JSON file."""
    write_text(path, json.dumps(tree, indent=1, ensure_ascii=False) + "\n")


def read_json(path, cure: str = "") -> dict:
    """Reads a JSON object from a file; a UserError that ends with `cure` if it has none."""
    try:
        tree = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:  # including invalid UTF-8
        raise UserError(f"{path}: expected a JSON object, found {error}{cure}") from error
    if not isinstance(tree, dict):
        raise UserError(f"{path}: expected a JSON object, found a {type(tree).__name__}{cure}")
    return tree


def check_format(tree: dict, path) -> None:
    """Raises a ConfigError with the commit to use if a file has another format version."""
    version = tree.get("format_version")
    if not isinstance(version, int) or version == FORMAT_VERSION:
        return  # a value of another type is refused later
    cure = "install a newer one"
    if version < FORMAT_VERSION:
        last = READ_BY.get(version, min(READ_BY.values()))
        cure = f"the last commit that reads it is {last}: use that one, or train in a new --workdir"
    found = f"format_version {version}, this seedasr_jax reads {FORMAT_VERSION}"
    raise ConfigError(f"{path}: {found}; {cure}")


def read_config(folder) -> dict:
    """Reads config.json of a workdir or a bundle and checks its version; see `check_format`."""
    tree = read_json(folder / CONFIG, NEW_CONFIG)
    check_config_format(tree, folder / CONFIG)
    return tree


def check_config_format(tree: dict, path) -> None:
    """`check_format` of a config.json, which in workdirs states no version before 3."""
    check_format({"format_version": 2} | tree, path)


def read_stage(folder) -> dict:
    """Reads stage.json of a stage directory."""
    return read_json(folder / STAGE, NEW_STAGE)


def write_rows(path, rows: Iterable[dict]) -> None:
    """Replaces a JSONL file."""
    write_text(path, "".join(map(_line, rows)))


def append(path, rows: Iterable[dict]) -> None:
    """Appends rows to a JSONL file; they are durable when this returns."""
    path = pathlib.Path(path)
    new = not path.exists()
    with filesystem.naming(path), open(path, "a", **_UTF8) as file:
        file.write("".join(map(_line, rows)))
        file.flush()
        os.fsync(file.fileno())
        if new:
            _force(path.parent)


def read_rows(path, *keys: str) -> list[dict]:
    """Reads the rows of a JSONL file; none if there is no file.

    A line that is not a JSON object with these `keys`, or whose `step` is not an integer, is left
    out and named on stderr; an incomplete last line silently.
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
        named = isinstance(row, dict) and all(key in row for key in keys)
        if named and type(row.get("step", 0)) is int:
            rows.append(row)
        elif number <= len(lines):
            wanted = " with ".join(["a JSON object", *keys])
            print(f"{path}:{number}: expected {wanted}; this line is left out", file=sys.stderr)
    return rows


def rewind(path, step: int) -> list[dict]:
    """Drops the rows of a JSONL file from `step` on; returns those that stay."""
    rows = [row for row in read_rows(path, "step") if row["step"] < step]
    if pathlib.Path(path).exists():
        write_rows(path, rows)
    return rows


def _line(row):
    return json.dumps(row, ensure_ascii=False) + "\n"


def _force(folder):
    """Flushes a folder's entries to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
