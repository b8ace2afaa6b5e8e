"""The table of names and layouts between our parameters and another project's tensors.

A model's table is a tuple of `Entry`; import and export both read it. Leading axes of our stacked
parameters, such as layers and experts, are indices in another project's names.

Dims: L layers, I inputs, O outputs, V rows of a vocabulary, E width.
"""

from collections.abc import Iterable, Iterator, Mapping
import dataclasses
import itertools
import re

import numpy as np

from seedasr_jax.errors import UserError, nearest

_INDEX = re.compile(r"\{(layer|expert)\}")


class Form:
    """How one tensor of another project is laid out in ours: here, equally."""

    def shape(self, ours: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of their tensor, of the shape of ours."""
        return ours

    def part(self, x: np.ndarray) -> np.ndarray:
        """The view of their tensor that ours consists of."""
        return x

    def into(self, x: np.ndarray, ours: tuple[int, ...]) -> np.ndarray:
        """The part of their tensor as ours, of shape `ours`."""
        del ours
        return x

    def out_of(self, x: np.ndarray) -> np.ndarray:
        """The inverse of `into`."""
        return x


class Transposed(Form):
    """torch.nn.Linear: their [O I] is our [I O]."""

    def shape(self, ours):
        """See Form."""
        return ours[::-1]

    def into(self, x, ours):
        """See Form."""
        return x.T

    def out_of(self, x):
        """See Form."""
        return x.T


@dataclasses.dataclass(frozen=True)
class Fused(Form):
    """Matrices of all experts, [X O I] of theirs to [X I O]: one of `count`, stacked along O."""

    number: int = 0
    count: int = 1

    def shape(self, ours):
        """See Form."""
        return ours[0], self.count * ours[2], ours[1]

    def part(self, x):
        """See Form."""
        size = x.shape[1] // self.count
        return x[:, self.number * size : (self.number + 1) * size]

    def into(self, x, ours):
        """See Form."""
        return x.swapaxes(1, 2)

    def out_of(self, x):
        """See Form."""
        return x.swapaxes(1, 2)


@dataclasses.dataclass(frozen=True)
class Rows(Form):
    """An embedding: their [V E] without the rows of zeros that pad ours."""

    rows: int  # V

    def shape(self, ours):
        """See Form."""
        return self.rows, ours[1]

    def into(self, x, ours):
        """See Form."""
        return _padded(x, ours)

    def out_of(self, x):
        """See Form."""
        return x[: self.rows]


@dataclasses.dataclass(frozen=True)
class Head(Form):
    """An output head: their [V E] is our [E V], without the columns of zeros that pad ours."""

    rows: int  # V

    def shape(self, ours):
        """See Form."""
        return self.rows, ours[0]

    def into(self, x, ours):
        """See Form."""
        return _padded(x.T, ours)

    def out_of(self, x):
        """See Form."""
        return x[:, : self.rows].T


def _padded(x, shape):
    return x if x.shape == shape else np.pad(x, [(0, n - m) for n, m in zip(shape, x.shape)])


SAME, TRANSPOSED = Form(), Transposed()


@dataclasses.dataclass(frozen=True)
class Entry:
    """One parameter of ours and their tensors, whose name may have {layer} and {expert}."""

    ours: str  # the path of the parameter
    theirs: str
    form: Form = SAME

    @property
    def stacked(self) -> int:
        """Number of leading axes of ours that are indices in their name."""
        return len(_INDEX.findall(self.theirs))

    def names(self, shape: tuple[int, ...]) -> list[tuple[tuple[int, ...], str]]:
        """(index, their name) of all tensors of a parameter of this shape, in memory order."""
        keys = _INDEX.findall(self.theirs)
        indices = itertools.product(*map(range, shape[: self.stacked]))
        return [(index, self.theirs.format(**dict(zip(keys, index)))) for index in indices]


class Table:
    """A table for parameters of known shapes; checks that each has one entry.

    Attributes:
        entries: {path of a parameter: Entry}.
    """

    def __init__(self, entries: Iterable[Entry], shapes: Mapping[str, tuple[int, ...]]):
        self.entries = {entry.ours: entry for entry in entries}
        self.shapes = dict(shapes)
        assert self.entries.keys() == self.shapes.keys(), self.entries.keys() ^ self.shapes.keys()

    def theirs(self) -> dict[str, tuple[int, ...]]:
        """{their name: its shape} of all tensors."""
        return {
            name: entry.form.shape(self.shapes[path][entry.stacked :])
            for path, entry in self.entries.items()
            for _, name in entry.names(self.shapes[path])
        }

    def check(self, found: Mapping[str, tuple[int, ...]], where: str, ignored=()) -> None:
        """Checks another project's names and shapes; `ignored`: patterns of names without effect.

        Raises:
            UserError: a tensor is missing, has another shape, or has no entry.
        """
        expected = self.theirs()
        for name, shape in expected.items():
            if name not in found:
                near = nearest(name, found)
                raise UserError(f"{where}: tensor {name} {list(shape)} is missing.{near}")
            if tuple(found[name]) != shape:
                raise UserError(
                    f"{where}: tensor {name}: expected shape {list(shape)} by its config, found"
                    f" {list(found[name])}"
                )
        for name in found:
            if name not in expected and not any(re.fullmatch(one, name) for one in ignored):
                near = nearest(name, expected)
                raise UserError(f"{where}: tensor {name} {list(found[name])} is not known.{near}")

    def pieces(self, path: str, read) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
        """Yields (index, slice) of our parameter in memory order; `read`: their name -> array."""
        entry, shape = self.entries[path], self.shapes[path]
        for index, name in entry.names(shape):
            yield index, entry.form.into(entry.form.part(read(name)), shape[entry.stacked :])
