"""Content hashes of parameters that are the same on any mesh: each process reads its own shards.

A parameter is divided into blocks of a grid that depends only on its shape and type. The digest of
a block is SHA-256 over its number in the grid and its bytes; the digest of a parameter is the sum
of its blocks' digests modulo 2^256, in any order and from any process (the incremental hash of
Bellare and Micciancio, EUROCRYPT 1997). Processes exchange these sums, and the fragments of blocks
that are split between them.
"""

import collections
from collections.abc import Iterable
import hashlib
import itertools
import math

import jax
import numpy as np

from seedasr_jax.checkpoint import trees
from seedasr_jax.parallel import processes

BLOCK = 16 << 10  # bytes: 64 x 64 numbers of a float32 matrix
_BITS = 256


def parameters_hash(tree) -> str:
    """SHA-256 (hex) over name, type, shape and digest of each parameter, sorted by name.

    Every process must call it.
    """
    hasher = Hasher()
    for name, leaf in trees.flat(tree).items():
        hasher.add(name, leaf)
    return hasher.hexdigest()


class Hasher:
    """`parameters_hash`, one parameter at a time."""

    def __init__(self):
        self._heads: dict[str, str] = {}
        self._sums: dict[str, int] = {}  # over complete blocks
        self._split: list = []  # (name, number, block shape, fragments) of the other blocks

    def add(self, name: str, leaf) -> None:
        """Adds a parameter: a jax.Array on any mesh, or NumPy."""
        self._add(name, leaf, _shards(leaf))

    def add_slices(self, name: str, like, slices: Iterable[tuple[tuple[int, ...], np.ndarray]]):
        """Adds a parameter like `like`, slice by slice: indices of its first axes, and the rest.

        In a job of several processes one of them adds slices.
        """
        rest = [0] * len(like.shape)
        self._add(
            name, like, (_bytes([*i, *rest[len(i) :]], x[(None,) * len(i)]) for i, x in slices)
        )

    def _add(self, name, like, shards):
        self._heads[name] = f"{name} {like.dtype} {tuple(like.shape)}"
        self._sums[name], split = _digests(like, shards)
        self._split += [(name, *block) for block in split]

    def hexdigest(self) -> str:
        """The hash of all parameters added so far. Every process of a job must call it."""
        split = [(*block, list(map(_to_row, fragments))) for *block, fragments in self._split]
        sums = {name: hex(total) for name, total in self._sums.items()}
        totals, blocks = dict.fromkeys(self._sums, 0), collections.defaultdict(list)
        for found, rows in processes.gathered([(sums, split)]):
            for name, value in found.items():
                totals[name] += int(value, 16)
            for name, number, sides, fragments in rows:
                blocks[name, number, tuple(sides)] += map(_from_row, fragments)
        for (name, number, sides), fragments in blocks.items():
            totals[name] += _digest(number, _joined(sides, fragments))
        lines = [f"{head} {totals[n] % 2**_BITS:064x}\n" for n, head in sorted(self._heads.items())]
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def _digests(leaf, shards):
    """Sum of digests of the blocks of a parameter that are complete in `shards`, and the others.

    These are [(number, block shape, fragments)]. Along the last axis sizes are in bytes. Replicated
    data are read by one process only.
    """
    sides = _sides(leaf.shape, leaf.dtype.itemsize)
    *outer, last = leaf.shape or (1,)
    grid = [n // side for n, side in zip((*outer, last * leaf.dtype.itemsize), sides)]
    total, fragments = 0, {}
    for begin, data in shards:
        corners = [
            range(at // side * side, at + n, side) for at, n, side in zip(begin, data.shape, sides)
        ]
        for corner in itertools.product(*corners):
            inside = tuple(
                slice(max(c - at, 0), c - at + side) for c, at, side in zip(corner, begin, sides)
            )
            fragment, number = data[inside], 0
            for c, side, count in zip(corner, sides, grid):
                number = number * count + c // side
            if fragment.shape == sides:
                total += _digest(number, fragment)
                continue
            offset = tuple(max(at - c, 0) for c, at in zip(corner, begin))
            found = fragments.setdefault(number, [])
            found.append((offset, fragment.copy()))
            if sum(fragment.size for _, fragment in found) == math.prod(sides):
                total += _digest(number, _joined(sides, fragments.pop(number)))
    return total, [(number, sides, found) for number, found in fragments.items()]


def _sides(shape, itemsize) -> tuple[int, ...]:
    """Shape of a block: it divides every axis, so that an even shard consists of complete blocks.

    Axes of stacked layers and experts are split first, then the longer side of a matrix is halved.
    """
    sides = list(shape or (1,))
    for axis in range(len(sides) - 2):
        if math.prod(sides) * itemsize > BLOCK:
            sides[axis] = 1
    while math.prod(sides) * itemsize > BLOCK:
        even = [axis for axis in range(len(sides)) if sides[axis] % 2 == 0]
        if not even:
            break
        sides[max(even, key=sides.__getitem__)] //= 2
    return (*sides[:-1], sides[-1] * itemsize)


def _shards(leaf):
    """Yields (offset, uint8 array) for each shard of a parameter that this process must read."""
    if isinstance(leaf, jax.Array):
        for shard in leaf.addressable_shards:
            if shard.replica_id == 0:
                begin = [axis.start or 0 for axis in shard.index] or [0]
                yield _bytes(begin, np.asarray(shard.data))
    elif processes.is_first():  # NumPy, of which every process has a full copy
        yield _bytes([0] * max(leaf.ndim, 1), leaf)


def _bytes(begin, data):
    data = np.ascontiguousarray(data)
    begin[-1] *= data.dtype.itemsize
    return begin, data.reshape(data.shape or (1,)).view(np.uint8)


def _joined(sides, fragments):
    """A block of the given shape from its fragments [(offset, uint8 array)]."""
    block = np.empty(sides, np.uint8)
    for begin, fragment in fragments:
        block[tuple(slice(at, at + n) for at, n in zip(begin, fragment.shape))] = fragment
    return block


def _to_row(fragment):
    begin, data = fragment
    return begin, data.shape, data.tobytes().hex()


def _from_row(row):
    begin, shape, content = row
    return begin, np.frombuffer(bytes.fromhex(content), np.uint8).reshape(shape)


def _digest(number: int, block) -> int:
    content = number.to_bytes(8, "little") + block.tobytes()
    return int.from_bytes(hashlib.sha256(content).digest(), "little")
