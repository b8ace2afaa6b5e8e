"""Stateless draws: every random choice on the host is a hash of integers, such as (seed, step).

Only integer arithmetic is used (SplitMix64), so a draw is the same in every version, on every
machine, and in any order. Dims: N numbers drawn.
"""

import numpy as np

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_ROUNDS = 4


def _mix(z: int) -> int:
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _MASK
    return z ^ (z >> 31)


def _mix_all(z: np.ndarray) -> np.ndarray:
    """`_mix` of [N] uint64."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def word(*key: int) -> int:
    """64 random bits determined by a key of non-negative integers."""
    state = 0
    for number in key:
        state = _mix((state + _GOLDEN ^ number) & _MASK)
    return state


def words(size: int, *key: int) -> np.ndarray:
    """[N = size] uint64: random bits determined by a key."""
    z = np.arange(1, size + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    return _mix_all(np.uint64(word(*key)) + z)


def shuffled(size: int, *key: int) -> np.ndarray:
    """[N = size] int64: a permutation of 0 to size - 1."""
    return np.argsort(words(size, *key), kind="stable")


def permute(index: int, size: int, *key: int) -> int:
    """One entry of a permutation of 0 to size - 1, in constant time and memory.

    Feistel network over the next even power of two; out-of-range values are permuted again.
    """
    half = ((size - 1).bit_length() + 1) // 2
    mask, base = (1 << half) - 1, word(*key)
    while True:
        left, right = index >> half, index & mask
        for turn in range(_ROUNDS):
            left, right = right, left ^ (_mix(base + (turn << half) + right + 1 & _MASK) & mask)
        index = left << half | right
        if index < size:
            return index


def permute_all(indices: np.ndarray, size: int, *key: int) -> np.ndarray:
    """`permute` of [N] indices, vectorised: [N] int64."""
    half = ((size - 1).bit_length() + 1) // 2
    shift, mask, base = np.uint64(half), np.uint64((1 << half) - 1), word(*key)
    found, outside = indices.astype(np.uint64), np.arange(len(indices))
    while len(outside):
        left, right = found[outside] >> shift, found[outside] & mask
        for turn in range(_ROUNDS):
            offset = np.uint64(base + (turn << half) + 1 & _MASK)
            left, right = right, left ^ (_mix_all(right + offset) & mask)
        found[outside] = left << shift | right
        outside = outside[found[outside] >= size]
    return found.astype(np.int64)
