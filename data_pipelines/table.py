"""The table of a source: rows on demand, and columns over all rows.

What a stage needs from every row is in columns (columns.py); the row itself is read on access.
Dims: N rows.
"""

import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import functools
import hashlib
import itertools

import numpy as np

from seedasr_jax.data_pipelines import columns, counting
from seedasr_jax.data_pipelines.array_store import Arrays, ArrayStore, ArrayWriter
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.text.counted import Counted

_CHUNK = 4096  # rows; consecutive ones are read in one block


@dataclasses.dataclass(frozen=True, eq=False)
class Base:
    """All rows of a source."""

    rows: Callable[[np.ndarray], Iterator[Row]]  # numbers -> rows
    arrays: Arrays
    store: ArrayStore = dataclasses.field(default_factory=ArrayStore)  # for derived arrays
    reopen: Callable | None = None  # opens the table of all rows in another process

    @functools.cached_property
    def values(self) -> Mapping[str, list]:
        """{column: its values by index}."""
        return columns.values(self.arrays)


class Table(Sequence):
    """A selection of the rows of a source, ordered; a slice is a Table."""

    def __init__(self, base: Base, numbers: np.ndarray | None = None):
        """`numbers` [N]: of the rows in the source; None: all."""
        self._base, self._numbers = base, numbers

    def __len__(self):
        return len(self._base.arrays["flags"] if self._numbers is None else self._numbers)

    def __getitem__(self, place):
        if isinstance(place, slice):
            return self.take(np.arange(*place.indices(len(self)), dtype=np.uint32))
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        (row,) = self._base.rows(self._of(np.array([place % len(self)], np.uint32)))
        return row

    def __iter__(self):
        for first in range(0, len(self), _CHUNK):
            places = np.arange(first, min(first + _CHUNK, len(self)), dtype=np.uint32)
            yield from self._base.rows(self._of(places))

    def take(self, places: np.ndarray) -> "Table":
        """The rows at some places."""
        return Table(self._base, self._of(places))

    def where(self, mask: np.ndarray) -> "Table":
        """The rows for which `mask` [N] is true."""
        return self if mask.all() else self.take(np.flatnonzero(mask).astype(np.uint32))

    def column(self, name: str) -> np.ndarray:
        """[N] a column; see columns.py."""
        return self._selected(self._base.arrays[name])

    def cell(self, name: str, place):
        """The value of a column at a place, or at places [N], without copying the column."""
        return self._base.arrays[name][place if self._numbers is None else self._numbers[place]]

    def has(self, flags: int) -> np.ndarray:
        """[N] bool: whether all of `flags` are set."""
        return self.column("flags") & flags == flags

    def values(self, name: str) -> list:
        """The values of a column of indices."""
        return self._base.values[name]

    def counts(self, name: str) -> dict:
        """{value of a column: number of rows}."""
        found = np.bincount(self.column(name), minlength=len(self.values(name)))
        return {value: n for value, n in zip(self.values(name), found.tolist()) if n}

    def firsts(self, name: str) -> np.ndarray:
        """Places of the first row with each value of a column, ascending."""
        return np.sort(np.unique(self.column(name), return_index=True)[1])

    def tokens(self, counted: Counted) -> tuple[np.ndarray, np.ndarray]:
        """([N] tokens of each text, [N] unknown tokens of each text)."""

        def write(writer):
            for both in counting.blocks(Table(self._base), self._base.reopen, counted):
                writer.append("tokens", both[:, 0].copy())
                writer.append("unknown", both[:, 1].astype(np.uint16))

        found = self._base.store.get(f"tokens-{counted.key}", write)
        return self._selected(found["tokens"]), self._selected(found["unknown"])

    def measured(self, measure: Callable[[Row], Row]) -> "Table":
        """The same rows, with the seconds of their files if they state none.

        `measure` is called again for rows without a length: their files may exist by now.
        """
        source, stated = Table(self._base), self._base.arrays["seconds"]
        unstated = source.has(columns.AUDIO) & (stated == 0)
        if not unstated.any():
            return self

        def lengths(places):
            return np.array([measure(source[place]).seconds for place in places.tolist()])

        def write(writer):
            for first in range(0, len(source), _CHUNK):
                seconds = stated[first : first + _CHUNK].copy()
                places = np.flatnonzero(unstated[first : first + _CHUNK])
                seconds[places] = lengths(first + places)
                writer.append("seconds", seconds)

        store = self._base.store
        seconds = store.get_uncached("measured", write)["seconds"]
        missing = np.flatnonzero(unstated & (seconds == 0))
        if store.is_persistent and (found := lengths(missing)).any():
            seconds = seconds.copy()
            seconds[missing] = found

        def rows(numbers):
            for row, length in zip(self._base.rows(numbers), seconds[numbers].tolist()):
                yield row if row.seconds == length else dataclasses.replace(row, seconds=length)

        arrays = {**self._base.arrays, "seconds": seconds}
        return Table(dataclasses.replace(self._base, rows=rows, arrays=arrays), self._numbers)

    def mapped(self, change: Callable[[Row], Row]) -> "Table":
        """A table of the rows that `change` returns, which is called on each access."""
        return generated(lambda numbers: map(change, self._base.rows(self._of(numbers))), len(self))

    def drawn(self, name: str, choose: Callable[[], np.ndarray]) -> "Table":
        """The rows at the places that `choose` returns; `name` identifies the choice."""

        def write(writer):
            writer.append("places", choose().astype(np.uint32))

        name = f"drawn-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
        return self.take(self._base.store.get_uncached(name, write)["places"])

    def names(self) -> dict[str, columns.Names]:
        """{language: the sorted names in the rows}."""
        arrays = self._base.arrays
        present = arrays["name"][self._mask()[arrays["named"]]]
        numbers = np.unique(arrays["rank"][present])
        languages = arrays["name_language"][numbers]
        return {
            self.values("language")[one]: columns.Names(arrays, numbers[languages == one])
            for one in np.unique(languages)
        }

    def texts(self) -> dict[tuple[str, str], "Table"]:
        """{(language, kind): rows with contexts that are texts, one row for each text}."""
        arrays = self._base.arrays
        mask = self._mask()[arrays["given"]]
        rows, texts = arrays["given"][mask], arrays["text"][mask]
        found = {}
        groups = arrays["language"][rows].astype(np.uint64) << 16 | arrays["kind"][rows]
        for group in np.unique(groups).tolist():
            _, first = np.unique(texts[groups == group], return_index=True)
            key = self.values("language")[group >> 16], self.values("kind")[group & 0xFFFF]
            found[key] = Table(self._base, rows[groups == group][first])
        return found

    def _mask(self):
        """[rows of the source] bool: whether each is selected."""
        mask = np.zeros(len(self._base.arrays["flags"]), bool)
        mask[slice(None) if self._numbers is None else self._numbers] = True
        return mask

    def _of(self, places):
        return places if self._numbers is None else self._numbers[places]

    def _selected(self, array):
        return array if self._numbers is None else array[self._numbers]


class Chain(Sequence):
    """The concatenated rows of several sources."""

    def __init__(self, sources):
        self._sources, self._ends = sources, list(itertools.accumulate(map(len, sources)))

    def __len__(self):
        return self._ends[-1]

    def __getitem__(self, place):
        number = bisect.bisect_right(self._ends, place)
        return self._sources[number][place - self._ends[number]]

    def __iter__(self):
        return itertools.chain.from_iterable(self._sources)


def of(rows) -> Table:
    """A table of rows in memory; a Table is returned unchanged."""
    if isinstance(rows, Table):
        return rows
    rows = tuple(rows)
    return generated(lambda numbers: (rows[n] for n in numbers.tolist()), len(rows))


def generated(rows: Callable[[np.ndarray], Iterator[Row]], count: int) -> Table:
    """A table of `count` rows, which `rows` generates on access; only columns are in memory."""
    writer = ArrayWriter()
    written = columns.ColumnWriter(writer)
    for first in range(0, count, _CHUNK):
        for row in rows(np.arange(first, min(first + _CHUNK, count), dtype=np.uint32)):
            written.add(row)
    written.finish()
    return Table(Base(rows, writer.finish()))
