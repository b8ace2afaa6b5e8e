"""A manifest -> its table: a line is parsed when its row is asked for.

The content of a manifest up to LARGE is held in memory. The columns of a larger one are made once,
kept below DATA_FOLDER/tables by its content and its place, and mapped: no process holds its rows,
and a restart reads none again. A note beside them knows the content of a file by its size and time.
"""

import contextlib
import functools
import hashlib
import os
import pathlib
import sys
import time
import weakref
import zlib

import numpy as np

from seedasr_jax import workdir as disk
from seedasr_jax.data_pipelines import cells, columns, json_line, kept, lhotse, manifest
from seedasr_jax.data_pipelines.table import Base, Table
from seedasr_jax.errors import DataError, UserError
from seedasr_jax.text import normalize, prompts, vocab

_MADE_BY = columns, cells, manifest, lhotse, json_line, normalize, prompts, vocab
FOLDER = "tables"  # of a data folder
LARGE = 16 << 20  # bytes
_SETTLED = 2.0  # seconds: a later change in the same tick would leave the time as it is


def table(path, data_folder) -> tuple[Table, str]:
    """The table of a manifest, and the SHA-256 (hex) of its content.

    Raises:
        DataError: as `manifest.read`.
    """
    path, data_folder = pathlib.Path(path), pathlib.Path(data_folder)
    manifest.check_file(path)
    if path.stat().st_size <= LARGE:
        content = path.read_bytes()
        return _small(path, content), hashlib.sha256(content).hexdigest()
    keeps = data_folder.is_dir() and os.access(data_folder, os.W_OK)
    folder = data_folder / FOLDER if keeps else None
    digest = _digest(path, folder)
    return _large(path, digest, folder), digest


@functools.lru_cache(maxsize=32)
def _small(path, content):
    return _of_lines(path, lambda begin, end: content[begin:end], kept.Kept(), content)


@functools.lru_cache(maxsize=32)
def _large(path, digest, kept_below):
    folder = kept_below
    if folder is not None:
        # What the code made of a line, and where its audio was, are part of what is kept.
        code = b"".join(pathlib.Path(made.__file__).read_bytes() for made in _MADE_BY)
        where = hashlib.sha256(manifest.folder(path).encode() + code).hexdigest()
        folder = folder / f"{digest[:16]}-{where[:16]}"
        if not folder.exists():
            _name_left(kept_below, digest, f"are of {path} too, by other code or in another folder")
            print(f"{path}: its rows are indexed, once, in {folder}", file=sys.stderr)
    again = functools.partial(_large, path, digest, kept_below)
    return _of_lines(path, _File(path), kept.Kept(folder), again=again if folder else None)


def _of_lines(path, read, keeper, content=None, again=None):
    def make(growing):
        made = columns.Columns(growing)
        for row, begin, line in manifest.scan(path, content):
            made.add(row, begin, zlib.crc32(line))
            size = begin + len(line)
        made.done(size)

    arrays = keeper.get("rows", make)
    begins, checks, lines = arrays["begin"], arrays["check"], arrays["line"]
    root = manifest.folder(path)

    def rows(numbers):
        run = len(numbers) > 1 and (np.diff(numbers) == 1).all()
        base = int(begins[numbers[0]]) if run else 0
        block = read(base, int(begins[numbers[-1] + 1])) if run else b""
        for n in numbers.tolist():
            begin, end = int(begins[n]) - base, int(begins[n + 1]) - base
            found = block[begin:end] if run else read(begin, end)
            line = found[: found.find(b"\n") + 1] or found  # blank lines may follow
            if zlib.crc32(line) != checks[n]:
                raise DataError(
                    f"{path}:{lines[n]}: expected the line that stood there when the manifest was"
                    " opened, found another: leave it as it is while it is read, and start again"
                )
            yield manifest.parse(line, root, path, int(lines[n]))

    return Table(Base(rows, arrays, keeper, again))


class _File:
    """Reads stretches of a file, from any thread, as it was when it was opened."""

    def __init__(self, path):
        self._handle = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._handle)

    def __call__(self, begin, end):
        pieces = []
        while begin < end and (piece := os.pread(self._handle, end - begin, begin)):
            pieces.append(piece)
            begin += len(piece)
        return b"".join(pieces)


def _digest(path, folder):
    """SHA-256 of a manifest; a note beside the tables has that of a file of this size and time."""
    if folder is None:
        return manifest.content_hash(path)
    place = os.path.abspath(path)
    note = folder / f"{hashlib.sha256(place.encode()).hexdigest()[:16]}.json"
    state = _state(path)
    known = {}
    if note.exists():
        with contextlib.suppress(UserError):  # damaged: it is written anew
            known = disk.read_json(note)
    if all(known.get(key) == value for key, value in state.items()):
        return known["sha256"]
    digest = manifest.content_hash(path)
    if (before := str(known.get("sha256", digest))) != digest:
        _name_left(folder, before, f"are of {path} before it changed")
    if _state(path) == state and time.time() - state["mtime_ns"] / 1e9 > _SETTLED:
        folder.mkdir(exist_ok=True)
        with disk.hold(folder, wait=True):
            disk.write_json(note, {"path": place} | state | {"sha256": digest})
    return digest


def _name_left(folder, digest, why):
    """Names the tables of a content that this job does not read; another job may, so they stay."""
    if left := sorted(found.name for found in folder.glob(f"{digest[:16]}-*")):
        print(f"{folder}: {', '.join(left)} {why}: remove what no job reads", file=sys.stderr)


def _state(path):
    found = path.stat()
    return {"size": found.st_size, "mtime_ns": found.st_mtime_ns}
