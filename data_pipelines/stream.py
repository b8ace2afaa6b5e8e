"""The stream: batches with the host's information about them, prefetched in a thread.

Dims: B utterances.
"""

import collections
from collections.abc import Callable, Generator, Mapping
import concurrent.futures
import dataclasses
import math

from seedasr_jax import skipped as skipping
from seedasr_jax.batch import Batch
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.errors import DataError
from seedasr_jax.skipped import CONTEXT_CUT

_AHEAD = 4  # batches
_ENOUGH_ROWS = 100  # before the fraction of bad rows is tested
_SIGMAS = 4  # standard deviations above the expected number

_END = object()  # of an iterator


@dataclasses.dataclass(frozen=True)
class Info:
    """The host's information about a batch."""

    step: int
    bucket: int  # its index in data.buckets
    rows: tuple[Row, ...]  # of this process, in order, including bad ones
    utterances: int  # of all processes


@dataclasses.dataclass(frozen=True)
class Known:
    """Statistics of the utterances of a stream's first pass, known before any audio is read."""

    left_out: Mapping[str, Mapping[str, int]]  # task -> reason -> utterances in no batch
    languages: Mapping[str, Mapping[str, int]]  # task -> language -> utterances in batches
    unknown: str  # warning about unknown tokens; "" if they are few
    unknown_share: float  # fraction of the tokens
    longest: float  # seconds; 0: not known
    fingerprints: Callable[[], Mapping[str, str]]  # task -> `Index.fingerprint`
    pause: Callable[[], float]  # longest usual pause in seconds (`pauses.usual`); reads audio


class Stream:
    """Iterates over (Batch, Info); a batch has this process's share of the rows.

    Attributes, up to the batch that was returned last:
        skipped: what this process left out, as of seedasr_jax/skipped.py; with its position.
        samples: task -> samples at 16 kHz in the global batches, by the manifests.
        known: statistics of all utterances; see Known.
    """

    def __init__(self, batches, names, known: Known, bad_rows: "BadRows", whole: bool):
        """`whole`: whether this process has all rows of a batch and so judges bad ones."""
        self.skipped, self.known = [], known
        self.samples = dict.fromkeys(names, 0)
        self._bad_rows, self._whole = bad_rows, whole
        self._batches = Prefetch(batches, _AHEAD)

    def __iter__(self):
        return self

    def __next__(self) -> tuple[Batch, Info]:
        """The next step's batch; errors of `judge`."""
        batch, info, skipped, samples = next(self._batches)
        self.skipped += skipped
        for name, count in samples.items():
            self.samples[name] += count
        self._bad_rows.drawn += info.utterances
        if self._whole:
            self.judge(skipped)
        return batch, info

    def judge(self, skipped):
        """Counts skipped rows of any process, once each.

        Raises a DataError if there are too many, or the error of a row that ends the job.
        """
        rows = [row for row in skipped if row["reason"] != CONTEXT_CUT]
        for row in rows:
            skipping.check_failed(row)
        self._bad_rows.add(rows)
        self._bad_rows.check()

    def close(self):
        """Ends the stream's thread."""
        self._batches.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


class BadRows:
    """Decides when there are too many bad rows.

    The limits: the allowed fraction of all recordings; and the allowed fraction of the rows drawn
    so far, plus what chance explains.
    """

    def __init__(self, allowed: float, recordings: int, drawn: int = 0):
        """`allowed`: fraction; `drawn`: rows in all batches since step 0, of all processes."""
        self._allowed, self._recordings, self.drawn = allowed, recordings, drawn
        self._rows, self._bad = {}, set()

    def add(self, rows):
        """Adds bad rows; a row that was added before is not counted again."""
        for row in rows:
            self._rows[row["step"], row["position"]] = row
            self._bad |= {row["recording"]} - {""}

    def check(self):
        """Raises a DataError if there are too many; it states the most frequent reason."""
        expected = self._allowed * self.drawn
        by_chance = expected + _SIGMAS * math.sqrt(expected)
        early = self.drawn < min(_ENOUGH_ROWS, self._recordings) and self._allowed > 0
        if len(self._bad) > self._allowed * self._recordings or (
            len(self._rows) > by_chance and not early
        ):
            raise DataError(self._message())

    def _message(self):
        rows = [self._rows[place] for place in sorted(self._rows)]
        counts = collections.Counter(row["reason"] for row in rows)
        reason, _ = counts.most_common(1)[0]
        first = next(row for row in rows if row["reason"] == reason)
        found = ", ".join(f"{count} x {reason}" for reason, count in counts.most_common())
        return (
            f"{len(rows)} of {self.drawn} utterances drawn so far are bad ({len(self._bad)} of"
            f" {self._recordings} recordings), more than data.max_bad_fraction ="
            f" {self._allowed:g} allows: {found}; the first with"
            f" {reason!r}: {first['recording'] or first['id']}: {first['detail']}; correct the rows"
            " or raise data.max_bad_fraction"
        )


class Prefetch:
    """Runs an iterator in a thread, at most `depth` items ahead.

    Errors of the iterator are raised by `next`. The thread ends with `close` or the program.
    """

    def __init__(self, iterator, depth: int):
        self._iterator = iterator
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "batches")
        self._ahead = collections.deque()
        for _ in range(depth):
            self._request()

    def __iter__(self):
        return self

    def __next__(self):
        if not self._ahead:
            raise StopIteration
        item = self._ahead.popleft().result()
        if item is _END:
            self.close()
            raise StopIteration
        self._request()
        return item

    def close(self):
        """Drops prefetched items, waits for the thread, and closes a generator."""
        self._ahead.clear()
        self._thread.shutdown(cancel_futures=True)
        if isinstance(self._iterator, Generator):
            self._iterator.close()

    def _request(self):
        self._ahead.append(self._thread.submit(next, self._iterator, _END))
