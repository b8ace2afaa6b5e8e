"""The table of a source: rows on demand, and columns of them all.

What a stage must know of every row is in columns (columns.py); a row is read when it is asked for.
Dims: N rows.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import functools
import hashlib

import numpy as np

from seedasr_jax.data_pipelines import columns, counting
from seedasr_jax.data_pipelines.kept import Arrays, Growing, Kept
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.text.counted import Counted

_AT_ONCE = 4096  # rows, read in one piece where they stand one after another


@dataclasses.dataclass(frozen=True, eq=False)
class Base:
    """All rows of a source."""

    rows: Callable[[np.ndarray], Iterator[Row]]  # numbers -> rows
    arrays: Arrays
    kept: Kept = dataclasses.field(default_factory=Kept)  # for what follows from them
    again: Callable | None = None  # opens the table of all rows in another process

    @functools.cached_property
    def values(self) -> Mapping[str, list]:
        """Column -> what its numbers stand for."""
        return columns.values(self.arrays)


class Table(Sequence):
    """Some rows of a source, in an order; a slice is a table."""

    def __init__(self, base: Base, numbers: np.ndarray | None = None):
        """Args: `numbers` [N] of the rows in their source; None: all."""
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
        for first in range(0, len(self), _AT_ONCE):
            places = np.arange(first, min(first + _AT_ONCE, len(self)), dtype=np.uint32)
            yield from self._base.rows(self._of(places))

    def take(self, places: np.ndarray) -> "Table":
        """The rows at these places."""
        return Table(self._base, self._of(places))

    def where(self, mask: np.ndarray) -> "Table":
        """The rows where [N] `mask` is true."""
        return self if mask.all() else self.take(np.flatnonzero(mask).astype(np.uint32))

    def column(self, name: str) -> np.ndarray:
        """[N] of columns.py."""
        return self._seen(self._base.arrays[name])

    def cell(self, name: str, place):
        """Of one row, or of several [N]: a column of some rows is a copy of all of them."""
        return self._base.arrays[name][place if self._numbers is None else self._numbers[place]]

    def has(self, flags: int) -> np.ndarray:
        """[N] bool: where all of these flags are set."""
        return self.column("flags") & flags == flags

    def values(self, name: str) -> list:
        """What the numbers of a column stand for."""
        return self._base.values[name]

    def counts(self, name: str) -> dict:
        """Value of a column -> its rows."""
        found = np.bincount(self.column(name), minlength=len(self.values(name)))
        return {value: n for value, n in zip(self.values(name), found.tolist()) if n}

    def firsts(self, name: str) -> np.ndarray:
        """Places of the first row of each value of a column, ascending."""
        return np.sort(np.unique(self.column(name), return_index=True)[1])

    def tokens(self, counted: Counted) -> tuple[np.ndarray, np.ndarray]:
        """[N] tokens of each text, and [N] those of them that are unknown."""

        def make(growing):
            for both in counting.blocks(Table(self._base), self._base.again, counted):
                growing.append("tokens", both[:, 0].copy())
                growing.append("unknown", both[:, 1].astype(np.uint16))

        found = self._base.kept.get(f"tokens-{counted.key}", make)
        return self._seen(found["tokens"]), self._seen(found["unknown"])

    def measured(self, measure: Callable[[Row], Row]) -> "Table":
        """The same rows with the seconds of their files where they state none.

        `measure` is asked again where it found none before: the file may be there by now.
        """
        whole, stated = Table(self._base), self._base.arrays["seconds"]
        unstated = whole.has(columns.AUDIO) & (stated == 0)
        if not unstated.any():
            return self

        def of(places):
            return np.array([measure(whole[place]).seconds for place in places.tolist()])

        def make(growing):
            for first in range(0, len(whole), _AT_ONCE):
                seconds = stated[first : first + _AT_ONCE].copy()
                own = np.flatnonzero(unstated[first : first + _AT_ONCE])
                seconds[own] = of(first + own)
                growing.append("seconds", seconds)

        seconds = self._base.kept.lasting("measured", make)["seconds"]
        missing = np.flatnonzero(unstated & (seconds == 0))
        if self._base.kept.lasts and (found := of(missing)).any():
            seconds = seconds.copy()
            seconds[missing] = found

        def rows(numbers):
            for row, own in zip(self._base.rows(numbers), seconds[numbers].tolist()):
                yield row if row.seconds == own else dataclasses.replace(row, seconds=own)

        arrays = {**self._base.arrays, "seconds": seconds}
        return Table(dataclasses.replace(self._base, rows=rows, arrays=arrays), self._numbers)

    def mapped(self, change: Callable[[Row], Row]) -> "Table":
        """The rows as `change` makes them, each when it is asked for."""
        return made(lambda numbers: map(change, self._base.rows(self._of(numbers))), len(self))

    def drawn(self, name: str, make: Callable[[], np.ndarray]) -> "Table":
        """The rows at places that `make` chooses; `name` says how, and of which rows."""

        def grow(growing):
            growing.append("places", make().astype(np.uint32))

        name = hashlib.sha256(name.encode()).hexdigest()[:16]
        return self.take(self._base.kept.lasting(f"drawn-{name}", grow)["places"])

    def names(self) -> dict[str, columns.Names]:
        """Language -> the names that the rows hold, sorted."""
        arrays = self._base.arrays
        here = arrays["name"][self._mask()[arrays["named"]]]
        numbers = np.unique(arrays["sorted"][here])
        owners = arrays["name_language"][numbers]
        return {
            self.values("language")[owner]: columns.Names(arrays, numbers[owners == owner])
            for owner in np.unique(owners)
        }

    def texts(self) -> dict[tuple[str, str], "Table"]:
        """(language, kind) -> rows with the contexts that are texts, each text once."""
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
        """Of all rows of the source: which are here."""
        mask = np.zeros(len(self._base.arrays["flags"]), bool)
        mask[slice(None) if self._numbers is None else self._numbers] = True
        return mask

    def _of(self, places):
        return places if self._numbers is None else self._numbers[places]

    def _seen(self, array):
        return array if self._numbers is None else array[self._numbers]


def of(rows) -> Table:
    """The table of rows that are held in memory; a table is its own."""
    if isinstance(rows, Table):
        return rows
    rows = tuple(rows)
    return made(lambda numbers: (rows[n] for n in numbers.tolist()), len(rows))


def made(rows: Callable[[np.ndarray], Iterator[Row]], count: int) -> Table:
    """A table of `count` rows that are made when they are asked for, by their numbers: of all of
    them only columns are held.
    """
    growing = Growing()
    grown = columns.Columns(growing)
    for first in range(0, count, _AT_ONCE):
        for row in rows(np.arange(first, min(first + _AT_ONCE, count), dtype=np.uint32)):
            grown.add(row)
    grown.done()
    return Table(Base(rows, growing.done()))
