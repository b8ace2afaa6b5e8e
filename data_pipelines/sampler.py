"""The sampler: the bucket of a step, and the source and draw of each of its rows.

Both are chosen by quotas: cyclic schedules that give every choice its share, shuffled for each
cycle. Any step is computed in constant time, without the ones before it. Dims: S sources,
K buckets, N draws, B rows.
"""

import functools
import math

import numpy as np

from seedasr_jax.data_pipelines import draws

_MIN_PERIOD, _MAX_PERIOD = 1_000, 20_000  # draws in a quota's cycle
_MIN_COUNT = 4  # of the rarest choice in a cycle, so that shares are nearly exact


class Quota:
    """Choices in proportion to their weights; each cycle has exactly `counts` of them."""

    def __init__(self, weights, *key: int):
        """`weights`: non-negative, not all 0; `key`: of the shuffling."""
        shares = np.asarray(weights, np.float64) / np.sum(weights)
        rarest = shares[shares > 0].min()
        self.period = min(_MAX_PERIOD, max(_MIN_PERIOD, math.ceil(_MIN_COUNT / rarest)))
        exact = shares * self.period
        counts = np.maximum(np.floor(exact), exact > 0).astype(np.int64)
        missing = self.period - counts.sum()
        for choice in np.argsort(counts - exact, kind="stable")[: max(missing, 0)]:
            counts[choice] += 1  # the largest remainders
        counts[np.argmax(counts)] += min(missing, 0)
        self.counts, self._key = counts, key
        self._cycle = functools.lru_cache(maxsize=4)(self._shuffle)

    def at(self, n: int) -> tuple[int, int]:
        """(n-th choice, number of times it was chosen before)."""
        cycle, place = divmod(n, self.period)
        order, before = self._cycle(cycle)
        choice = int(order[place])
        return choice, cycle * int(self.counts[choice]) + int(before[place])

    def run(self, n: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """`at` of `count` consecutive draws from the n-th: ([N], [N])."""
        choices, numbers = [], []
        while count:
            cycle, place = divmod(n, self.period)
            order, before = self._cycle(cycle)
            rest = slice(place, min(place + count, self.period))
            choices.append(order[rest])
            numbers.append(cycle * self.counts[order[rest]] + before[rest])
            n, count = n + len(order[rest]), count - len(order[rest])
        return np.concatenate(choices), np.concatenate(numbers)

    def before(self, n: int) -> np.ndarray:
        """Number of times that each choice is among the first n draws."""
        cycle, place = divmod(n, self.period)
        order, _ = self._cycle(cycle)
        return cycle * self.counts + np.bincount(order[:place], minlength=len(self.counts))

    def _shuffle(self, cycle):
        shuffle = draws.shuffled(self.period, *self._key, cycle)
        order = np.repeat(np.arange(len(self.counts)), self.counts)[shuffle]
        before = np.empty(self.period, np.int64)
        for choice, count in enumerate(self.counts):
            before[order == choice] = np.arange(count)
        return order, before


class Sampler:
    """Maps a step to its bucket and rows: a pure function of (seed, step)."""

    def __init__(self, sizes, rates, utterances, seed: int):
        """Computes weights: sources are drawn by their rates, utterances of a source uniformly.

        Args:
            sizes: [S K] utterances of each source in each bucket.
            rates: [S] relative numbers of utterances; 0 excludes a source.
            utterances: [K] rows of a batch.
            seed: of all draws.
        """
        sizes = np.asarray(sizes, np.float64)
        weights = np.asarray(rates)[:, None] * sizes / np.maximum(sizes.sum(1, keepdims=True), 1)
        self.utterances = tuple(utterances)
        self._buckets = Quota(weights.sum(0) / self.utterances, seed, 0)
        self._rows = [
            Quota(weight, seed, 1, bucket) if weight.any() else None
            for bucket, weight in enumerate(weights.T)
        ]

    def drawn(self, step: int) -> int:
        """Number of rows in all batches before a step."""
        return int(self._buckets.before(step) @ np.array(self.utterances))

    def at(self, step: int) -> tuple[int, np.ndarray, np.ndarray]:
        """(bucket of a step, [B] source of each row, [B] number of its draw in the bucket)."""
        bucket, before = self._buckets.at(step)
        count = self.utterances[bucket]
        return bucket, *self._rows[bucket].run(before * count, count)
