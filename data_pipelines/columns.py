"""Rows -> columns: what is known of all rows of a source while none of them is held.

| column | bytes | of a row |
|---|---|---|
| begin | 8 | where its line begins; one more: the size of the file |
| check | 4 | CRC-32 of its line |
| line | 4 | number of its line |
| seconds | 8 | as it states them; 0: it does not |
| speaker | 8 | hash of its speaker; 0: none is named |
| language, split | 4 each | number of the value in `values` |
| kind, fault | 2 each | the same; kind of its own context, 0: it has none |
| flags | 1 | see below |

Each name that a row holds takes 8 bytes more (`named`: the row; `name`: its number among the sorted
names), and each context that is a text 12 (`given`: the row; `text`: a hash).

Dims: N rows.
"""

import array
from collections.abc import Sequence
import hashlib
import json

import numpy as np

from seedasr_jax.data_pipelines.kept import Arrays, Growing
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.text import prompts

BYTES_PER_ROW = 45
HOTWORDS = "hotwords"  # the kind of a context that is a list
TEXT, SILENT, AUDIO, KEYWORDS, DEV = (1 << bit for bit in range(5))  # flags

_TYPES = dict(begin="Q", check="I", line="I", seconds="d", speaker="Q", language="I", split="I")
_TYPES |= dict(kind="H", fault="H", flags="B", named="I", name="I", given="I", text="Q")
_CHUNK = 1 << 16  # rows
_DEV_SHARE = 20  # part=dev: one utterance in so many


class Columns:
    """Takes rows one by one and writes their columns."""

    def __init__(self, growing: Growing):
        """Args: `growing`, where they go."""
        self._growing, self._rows, self._chunk = growing, 0, {}
        self._values = {name: {} for name in ("language", "split", "kind", "fault")}
        self._values["kind"][None] = self._values["fault"][""] = 0  # no context; no fault
        self._names: dict[tuple[str, str], int] = {}  # (language, name) -> its number as it came
        self._empty()

    def add(self, row: Row, begin: int = 0, check: int = 0):
        """Adds a row; `begin` and `check` are those of its line."""
        flags = (TEXT * bool(row.text)) | (SILENT * row.silent) | (AUDIO * bool(row.audio))
        flags |= (KEYWORDS * bool(row.keywords)) | (DEV * is_dev(row.id))
        kind = row.context_kind if row.context else None
        cells = dict(begin=begin, check=check, line=row.line, seconds=row.seconds, flags=flags)
        cells["speaker"] = hashed(row.speaker)
        for name, value in (("language", row.language), ("split", row.split), ("kind", kind)):
            cells[name] = self._number(name, value)
        cells["fault"] = self._number("fault", row.fault)
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

    def done(self, size: int = 0):
        """Writes what is left: of N rows, of a file of `size` bytes."""
        self._chunk["begin"].append(size)
        self._flush()
        order = sorted(self._names)
        ends = np.cumsum([len(name.encode(*_UTF8)) for _, name in order], dtype=np.uint64)
        blob = "".join(name for _, name in order).encode(*_UTF8)
        numbers = [self._names[name] for name in order]  # sorted -> as they came
        sorted_as = np.empty(len(order), np.uint32)
        sorted_as[numbers] = np.arange(len(order), dtype=np.uint32)
        owners = [self._values["language"][language] for language, _ in order]
        self._growing.append("sorted", sorted_as)
        self._growing.append("name_ends", ends)
        self._growing.append("name_bytes", np.array(bytearray(blob)))
        self._growing.append("name_language", np.array(owners, np.uint32))
        values = json.dumps({name: list(found) for name, found in self._values.items()})
        self._growing.append("values", np.array(bytearray(values.encode())))

    def _number(self, name, value):
        known = self._values[name]
        return known.setdefault(value, len(known))

    def _empty(self):
        self._chunk = {name: array.array(code) for name, code in _TYPES.items()}

    def _flush(self):
        for name, cells in self._chunk.items():
            self._growing.append(name, np.array(cells))
        self._empty()


_UTF8 = ("utf-8", "surrogatepass")  # a source of one's own may have anything


def values(arrays: Arrays) -> dict[str, list]:
    """What the numbers of some columns stand for."""
    return json.loads(arrays["values"].tobytes())


class Names(Sequence):
    """Some of the names of a source, sorted; each is read when it is asked for."""

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
    """64 bits of a text, as good as the text among 10^8; 0 of an empty one."""
    if not text:
        return 0
    return int.from_bytes(hashlib.blake2b(text.encode(*_UTF8), digest_size=8).digest(), "little")


def is_dev(utterance_id: str) -> bool:
    """True for the twentieth of all utterances that is held out by `part=dev`."""
    return int(hashlib.sha256(utterance_id.encode()).hexdigest(), 16) % _DEV_SHARE == 0


def listed(row: Row) -> list[str]:
    """The names of a row's own context, where that is a list."""
    return prompts.split(row.context) if row.context_kind == HOTWORDS else []
