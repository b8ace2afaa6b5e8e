"""Hashes of content that are the same on any mesh: each process reads its own shards.

A parameter is cut into blocks of a grid that its shape and type alone decide. A block's digest is
SHA-256 over its number in the grid and its bytes; that of the parameter is their sum modulo
2^256, which takes them in any order and from any process (the incremental hash of Bellare and
Micciancio, EUROCRYPT 1997). Between processes travel these sums, and the bytes of a block that
two of them share.
"""

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

    The same on any mesh and in any number of processes, each of which must call it.
    """
    hasher = Hasher()
    for name, leaf in trees.flat(tree).items():
        hasher.add(name, leaf)
    return hasher.hexdigest()


class Hasher:
    """`parameters_hash` of parameters that come one at a time."""

    def __init__(self):
        self._heads: dict[str, str] = {}
        self._sums: dict[str, int] = {}  # over whole blocks
        self._cut: list = []  # (name, block, its sides, pieces) of those that processes share

    def add(self, name: str, leaf) -> None:
        """Takes the next one: a jax.Array anywhere, or NumPy."""
        self._heads[name] = f"{name} {leaf.dtype} {tuple(leaf.shape)}"
        self._sums[name], cut = _digests(leaf)
        self._cut += [(name, *block) for block in cut]

    def hexdigest(self) -> str:
        """Of what came; every process of a job calls it."""
        cut = [(*block, list(map(_to_row, pieces))) for *block, pieces in self._cut]
        sums = {name: hex(total) for name, total in self._sums.items()}
        totals, blocks = dict.fromkeys(self._sums, 0), {}
        for theirs, rows in processes.gathered([(sums, cut)]):
            for name, value in theirs.items():
                totals[name] += int(value, 16)
            for name, number, sides, pieces in rows:
                blocks.setdefault((name, number, tuple(sides)), []).extend(map(_of_row, pieces))
        for (name, number, sides), pieces in blocks.items():
            totals[name] += _digest(number, _joined(sides, pieces))
        lines = [f"{head} {totals[n] % 2**_BITS:064x}\n" for n, head in sorted(self._heads.items())]
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def _digests(leaf):
    """The sum over the whole blocks that are here, and [(block, its sides, pieces)] of the rest.

    Sides and places count bytes along the last axis. What several processes have, one reads.
    """
    sides = _sides(leaf.shape, leaf.dtype.itemsize)
    *outer, last = leaf.shape or (1,)
    grid = [n // side for n, side in zip((*outer, last * leaf.dtype.itemsize), sides)]
    total, pieces = 0, {}
    for begin, data in _shards(leaf):
        corners = [
            range(at // side * side, at + n, side) for at, n, side in zip(begin, data.shape, sides)
        ]
        for corner in itertools.product(*corners):
            inside = tuple(
                slice(max(c - at, 0), c - at + side) for c, at, side in zip(corner, begin, sides)
            )
            piece, number = data[inside], 0
            for c, side, count in zip(corner, sides, grid):
                number = number * count + c // side
            if piece.shape == sides:
                total += _digest(number, piece)
                continue
            place = tuple(max(at - c, 0) for c, at in zip(corner, begin))
            found = pieces.setdefault(number, [])
            found.append((place, piece.copy()))
            if sum(piece.size for _, piece in found) == math.prod(sides):
                total += _digest(number, _joined(sides, pieces.pop(number)))
    return total, [(number, sides, found) for number, found in pieces.items()]


def _sides(shape, itemsize) -> tuple[int, ...]:
    """Sides of a block: they divide the axes, and an even part of a parameter is whole blocks.

    Stacked layers and experts come apart first, then the longer side of a matrix is halved.
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
    """Yields (where it begins, uint8 array) of what this process reads of a parameter."""
    if isinstance(leaf, jax.Array):
        for shard in leaf.addressable_shards:
            if shard.replica_id == 0:
                begin = [one.start or 0 for one in shard.index] or [0]
                yield _bytes(begin, np.asarray(shard.data))
    elif processes.is_first():  # NumPy, which each process has whole
        yield _bytes([0] * max(leaf.ndim, 1), leaf)


def _bytes(begin, data):
    data = np.ascontiguousarray(data)
    begin[-1] *= data.dtype.itemsize
    return begin, data.reshape(data.shape or (1,)).view(np.uint8)


def _joined(sides, pieces):
    """A block of its pieces [(where it begins, bytes)]."""
    block = np.empty(sides, np.uint8)
    for begin, piece in pieces:
        block[tuple(slice(at, at + n) for at, n in zip(begin, piece.shape))] = piece
    return block


def _to_row(piece):
    begin, data = piece
    return begin, data.shape, data.tobytes().hex()


def _of_row(row):
    begin, shape, content = row
    return begin, np.frombuffer(bytes.fromhex(content), np.uint8).reshape(shape)


def _digest(number: int, block) -> int:
    content = number.to_bytes(8, "little") + block.tobytes()
    return int.from_bytes(hashlib.sha256(content).digest(), "little")
