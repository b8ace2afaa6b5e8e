"""Opens a manifest as a table: a line is parsed when its row is accessed.

A manifest of up to LARGE bytes is kept in memory. The columns of a larger one are computed once,
stored in DATA_FOLDER/tables by content and location, and mapped: the rows are in no process, and a
restart does not read them again. A JSON file beside them caches the content hash by size and time.
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

from seedasr_jax import filesystem
from seedasr_jax import workdir as disk
from seedasr_jax.data_pipelines import (
    array_store,
    cells,
    columns,
    fields,
    json_line,
    lhotse,
    manifest,
)
from seedasr_jax.data_pipelines.table import Base, Table
from seedasr_jax.errors import DataError, UserError
from seedasr_jax.text import normalize, prompts, vocab

_MADE_BY = columns, cells, fields, manifest, lhotse, json_line, normalize, prompts, vocab
LARGE = 16 << 20  # bytes
_SETTLED_SECONDS = 2.0  # a later change within the clock's resolution would leave the time equal


def table(path, data_folder) -> tuple[Table, str]:
    """(table of a manifest, SHA-256 (hex) of its content); raises as `manifest.read`."""
    path, data_folder = pathlib.Path(path), pathlib.Path(data_folder)
    manifest.check_file(path)
    if path.stat().st_size <= LARGE:
        content = path.read_bytes()
        return _small(path, content), hashlib.sha256(content).hexdigest()
    writable = data_folder.is_dir() and os.access(data_folder, os.W_OK)
    folder = data_folder / disk.TABLES if writable else None
    digest = _digest(path, folder)
    return _large(path, digest, folder), digest


@functools.lru_cache(maxsize=32)
def _small(path, content):
    store = array_store.ArrayStore()
    return _from_lines(path, lambda begin, end: content[begin:end], store, content)


@functools.lru_cache(maxsize=32)
def _large(path, digest, parent):
    folder = parent
    if folder is not None:
        # Columns depend on the code that parses a line and on the folder of the audio, too.
        code = b"".join(pathlib.Path(module.__file__).read_bytes() for module in _MADE_BY)
        where = hashlib.sha256(manifest.folder(path).encode() + code).hexdigest()
        folder = folder / f"{digest[:16]}-{where[:16]}"
        if not folder.exists():
            why = f"are of {path} too, made by other code or for another folder"
            _report_unused(parent, digest, why)
            print(f"{path}: its rows are indexed, once, in {folder}", file=sys.stderr)
    reopen = functools.partial(_large, path, digest, parent) if folder else None
    return _from_lines(path, _File(path), array_store.ArrayStore(folder), reopen=reopen)


def _from_lines(path, read, store, content=None, reopen=None):
    def write(writer):
        written = columns.ColumnWriter(writer)
        for row, begin, line in manifest.scan(path, content):
            written.add(row, begin, zlib.crc32(line))
            size = begin + len(line)
        written.finish(size)

    arrays = store.get("rows", write)
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
                    f"{path}:{lines[n]}: expected the line as of when the manifest was opened,"
                    " found another: do not change a manifest during a job, and start again"
                )
            yield manifest.parse(line, root, path, int(lines[n]))

    return Table(Base(rows, arrays, store, reopen))


class _File:
    """Reads byte ranges of a file, from any thread, even if its path is replaced meanwhile."""

    def __init__(self, path):
        self._handle = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._handle)

    def __call__(self, begin, end):
        blocks = []
        while begin < end and (block := os.pread(self._handle, end - begin, begin)):
            blocks.append(block)
            begin += len(block)
        return b"".join(blocks)


def _digest(path, folder):
    """SHA-256 (hex) of a manifest; cached in `folder` by the file's size and modification time."""
    if folder is None:
        return manifest.content_hash(path)
    place = os.path.abspath(path)
    note = folder / f"{hashlib.sha256(place.encode()).hexdigest()[:16]}.json"
    state, known = _state(path), {}
    if note.exists():
        with contextlib.suppress(UserError):  # damaged: it is written again
            known = disk.read_json(note)
    if all(known.get(key) == value for key, value in state.items()):
        return known["sha256"]
    digest = manifest.content_hash(path)
    if (before := str(known.get("sha256", digest))) != digest:
        _report_unused(folder, before, f"are of {path} before it changed")
    if _state(path) == state and time.time() - state["mtime_ns"] / 1e9 > _SETTLED_SECONDS:
        folder.mkdir(exist_ok=True)
        with filesystem.hold(folder, wait=True):
            disk.write_json(note, {"path": place} | state | {"sha256": digest})
    return digest


def _report_unused(folder, digest, why):
    """Prints the tables of a content that this job does not use; another job may, so they stay."""
    if unused := sorted(found.name for found in folder.glob(f"{digest[:16]}-*")):
        print(f"{folder}: {', '.join(unused)} {why}: remove what no job reads", file=sys.stderr)


def _state(path):
    found = path.stat()
    return {"size": found.st_size, "mtime_ns": found.st_mtime_ns}
