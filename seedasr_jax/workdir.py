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

from collections.abc import Iterable
import contextlib
import json
import os
import pathlib
import sys

from seedasr_jax import filesystem
from seedasr_jax.errors import UserError

CONFIG = "config.json"  # of a workdir or a bundle
VOCAB, CACHE, LOGS, FROZEN = "vocab", "cache", "logs", "frozen"
STAGE, METRICS, SKIPPED = "stage.json", "metrics.jsonl", "skipped.jsonl"
CHECKPOINTS, EVAL = "checkpoints", "eval"
RESULTS, TRANSCRIPTS = "results.jsonl", "transcripts.jsonl"
PARITY, CARD = "parity.json", "CARD.md"
INVENTORY = "inventory.json"  # of a step or a bundle
SOURCES = "sources.json"  # of FROZEN
TABLES, PROGRAMS = "tables", "programs-{}"  # of CACHE; the second by kind of processor
SUMMARY, SPENT, SAMPLES = "summary.json", "spent.json", "samples.jsonl"  # of the quickstart
REPORT, BUNDLE, SOUNDS = "report.html", "bundle", "samples"
FORMAT_VERSION = 3  # of config.json and stage.json; a change of either form raises it
READ_BY = {1: "c03a92d", 2: "8810b2b"}  # version -> the last commit that reads it
NEW_CONFIG = "; in a workdir, `seedasr train --config=NAME --workdir=DIR` writes it anew"
NEW_STAGE = "; remove it, and `seedasr train` writes it anew from the newest checkpoint"
_UTF8 = dict(encoding="utf-8", errors="backslashreplace")  # a lone surrogate as JSON escapes it


@contextlib.contextmanager
def replacing(path):
    """Yields a path beside `path` to write to; its file takes the place of `path` at the end.

    File and folder are forced to disk. An OSError names `path`.
    """
    path = pathlib.Path(path)
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    with filesystem.naming(path):
        try:
            yield partial
            with open(partial, "rb") as file:
                os.fsync(file.fileno())
            partial.replace(path)
            _force(path.parent)
        finally:
            with contextlib.suppress(OSError):  # not there; or the folder is the trouble
                partial.unlink()


def log(workdir, process: int) -> pathlib.Path:
    """The log of a process of `launch local`."""
    return pathlib.Path(workdir, LOGS, f"process-{process}.log")


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
    with filesystem.naming(path), open(path, "a", **_UTF8) as file:
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
