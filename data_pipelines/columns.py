"""Columns of a source: compact arrays over all rows, so that the rows need not be in memory.

| column | bytes | content for each row |
|---|---|---|
| begin | 8 | offset of its line in bytes; one more entry: the size of the file |
| check | 4 | CRC-32 of its line |
| line | 4 | number of its line |
| seconds | 8 | stated duration; 0: not stated |
| speaker | 8 | hash of its speaker; 0: not stated |
| language, split | 4 each | index of the value in `values` |
| kind, fault | 2 each | same; the kind of its own context, 0: none |
| flags | 1 | see below |

Each name in a row takes 8 more bytes (`named`: the row; `name`: index of the name in order of first
occurrence), and each context that is a text takes 12 (`given`: the row; `text`: a hash).

Dims: N rows.
"""

import array
from collections.abc import Sequence
import hashlib
import json

import numpy as np

from seedasr_jax.data_pipelines.array_store import Arrays, ArrayWriter
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.text import prompts

BYTES_PER_ROW = 45
HOTWORDS = "hotwords"  # kind of a context that is a list of names
TEXT, SILENT, AUDIO, KEYWORDS, DEV = (1 << bit for bit in range(5))  # flags

_TYPES = dict(begin="Q", check="I", line="I", seconds="d", speaker="Q", language="I", split="I")
_TYPES |= dict(kind="H", fault="H", flags="B", named="I", name="I", given="I", text="Q")
_CHUNK = 1 << 16  # rows
_DEV_INTERVAL = 20  # one utterance in so many is in the dev fold


class ColumnWriter:
    """Writes the columns of rows that are added one by one."""

    def __init__(self, writer: ArrayWriter):
        self._writer, self._rows, self._chunk = writer, 0, {}
        self._values = {name: {} for name in ("language", "split", "kind", "fault")}
        self._values["kind"][None] = self._values["fault"][""] = 0  # no context; no fault
        self._names: dict[tuple[str, str], int] = {}  # (language, name) -> index by occurrence
        self._clear()

    def add(self, row: Row, begin: int = 0, check: int = 0):
        """Adds a row; `begin` and `check` are the columns of its line."""
        flags = (TEXT * bool(row.text)) | (SILENT * row.silent) | (AUDIO * bool(row.audio))
        flags |= (KEYWORDS * bool(row.keywords)) | (DEV * is_dev(row.id))
        kind = row.context_kind if row.context else None
        cells = dict(begin=begin, check=check, line=row.line, seconds=row.seconds, flags=flags)
        cells["speaker"] = hashed(row.speaker)
        texts = dict(language=row.language, split=row.split, kind=kind, fault=row.fault)
        for name, value in texts.items():
            cells[name] = self._values[name].setdefault(value, len(self._values[name]))
        for name, cell in cells.items():
            self._chunk[name].append(cell)
        if row.keywords or kind == HOTWORDS:
            for name in {*row.keywords, *listed(row)}:
                self._chunk["named"].append(self._rows)
                self._chunk["name"].append(
                    self._names.setdefault((row.language, name), len(self._names))
                )
        if kind not in (None, HOTWORDS):
            self._chunk["given"].append(self._rows)
            self._chunk["text"].append(hashed(row.context))
        self._rows += 1
        if self._rows % _CHUNK == 0:
            self._flush()

    def finish(self, size: int = 0):
        """Writes the remaining rows and the names; `size`: of the file in bytes."""
        self._chunk["begin"].append(size)
        self._flush()
        order = sorted(self._names)
        ends = np.cumsum([len(name.encode(*_UTF8)) for _, name in order], dtype=np.uint64)
        blob = "".join(name for _, name in order).encode(*_UTF8)
        numbers = [self._names[name] for name in order]  # rank -> index by occurrence
        ranks = np.empty(len(order), np.uint32)
        ranks[numbers] = np.arange(len(order), dtype=np.uint32)
        languages = [self._values["language"][language] for language, _ in order]
        self._writer.append("rank", ranks)
        self._writer.append("name_ends", ends)
        self._writer.append("name_bytes", np.array(bytearray(blob)))
        self._writer.append("name_language", np.array(languages, np.uint32))
        values = json.dumps({name: list(found) for name, found in self._values.items()})
        self._writer.append("values", np.array(bytearray(values.encode())))

    def _clear(self):
        self._chunk = {name: array.array(code) for name, code in _TYPES.items()}

    def _flush(self):
        for name, cells in self._chunk.items():
            self._writer.append(name, np.array(cells))
        self._clear()


_UTF8 = ("utf-8", "surrogatepass")  # user-defined sources may contain unpaired surrogates


def values(arrays: Arrays) -> dict[str, list]:
    """{column: its values by index} of the columns that contain indices."""
    return json.loads(arrays["values"].tobytes())


class Names(Sequence):
    """Some names of a source, sorted; each is decoded on access."""

    def __init__(self, arrays: Arrays, numbers: np.ndarray):
        self._ends, self._bytes = arrays["name_ends"], arrays["name_bytes"]
        self._numbers = numbers

    def __len__(self):
        return len(self._numbers)

    def __getitem__(self, place):
        number = int(self._numbers[place])
        begin = int(self._ends[number - 1]) if number else 0
        return self._bytes[begin : int(self._ends[number])].tobytes().decode(*_UTF8)


def hashed(text: str) -> int:
    """64-bit hash of a text, unique in practice among 10^8 texts; 0 for an empty text."""
    if not text:
        return 0
    return int.from_bytes(hashlib.blake2b(text.encode(*_UTF8), digest_size=8).digest(), "little")


def is_dev(utterance_id: str) -> bool:
    """Whether an utterance is in the dev fold (`part=dev`): one in 20, by a hash of its id."""
    return int(hashlib.sha256(utterance_id.encode()).hexdigest(), 16) % _DEV_INTERVAL == 0


def listed(row: Row) -> list[str]:
    """The names in a row's own context if that is a list, else none."""
    return prompts.split(row.context) if row.context_kind == HOTWORDS else []
