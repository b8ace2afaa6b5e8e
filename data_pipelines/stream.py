"""The stream: batches with what the host must know beside them, made ahead of time in a thread.

Dims: B utterances.
"""

import collections
from collections.abc import Callable, Generator, Mapping
import concurrent.futures
import dataclasses
import math

from seedasr_jax.batch import Batch
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.errors import DataError

_AHEAD = 4  # batches
_ENOUGH_ROWS = 100  # before a fraction of bad ones is judged
_SIGMAS = 4  # standard deviations beyond the expected number

# A reason of `skipped` that makes no row bad: counted by step, in `utterances`.
CONTEXT_CUT = "context cut from the left"
# A reason that ends the job: a preprocessor or the like failed, as `detail` says.
FAILED = "failed"

_END = object()  # of an iterator


@dataclasses.dataclass(frozen=True)
class Info:
    """What stands beside a batch on the host."""

    step: int
    bucket: int  # its number in data.buckets
    rows: tuple[Row, ...]  # of this process, in order; bad ones too
    utterances: int  # of all processes


@dataclasses.dataclass(frozen=True)
class Known:
    """What is known of all utterances of a stream's first pass before any is read."""

    left_out: Mapping[str, Mapping[str, int]]  # task -> reason -> those that no batch will hold
    languages: Mapping[str, Mapping[str, int]]  # task -> language -> those that batches hold
    unknown: str  # what to say of the tokens that are unknown; "" where they are few
    unknown_share: float  # of the tokens
    longest: float  # seconds; 0: not known
    fingerprints: Callable[[], Mapping[str, str]]  # task -> `Index.fingerprint`
    pause: Callable[[], float]  # seconds of the longest that is usual (`pauses.usual`): reads some


class Stream:
    """Iterates over (Batch, Info); the rows of the batch are this process's share.

    Attributes, all up to the batch that was given out last:
        skipped: dicts step, position, id, recording, reason, detail: this process's bad rows; and
            step, position, reason CONTEXT_CUT, utterances.
        heard: task -> samples at 16 kHz in the global batches, by the manifests.
        known: of all utterances; see Known.
    """

    def __init__(self, batches, names, known: Known, bad_rows: "BadRows", whole: bool):
        """`whole`: this process has all rows of a batch, so that bad ones are judged at once."""
        self.skipped, self.known = [], known
        self.heard = dict.fromkeys(names, 0)
        self._bad_rows, self._whole = bad_rows, whole
        self._batches = Prefetch(batches, _AHEAD)

    def __iter__(self):
        return self

    def __next__(self) -> tuple[Batch, Info]:
        """The next step's batch.

        Raises:
            DataError: see `judge`.
        """
        batch, info, skipped, heard = next(self._batches)
        self.skipped += skipped
        for name, more in heard.items():
            self.heard[name] += more
        self._bad_rows.drawn += info.utterances
        if self._whole:
            self.judge(skipped)
        return batch, info

    def judge(self, skipped):
        """Takes rows that any process skipped, each as often as may be.

        Raises:
            DataError: more rows were bad than data.max_bad_fraction allows, or one is FAILED.
        """
        rows = [row for row in skipped if row["reason"] != CONTEXT_CUT]
        for row in rows:
            if row["reason"] == FAILED:
                raise DataError(row["detail"])
        self._bad_rows.add(rows)
        self._bad_rows.check()

    def close(self):
        """Ends the thread behind the stream."""
        self._batches.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


def is_skipped(row: dict) -> bool:
    """Whether a row of a file has all that `Stream.skipped` says of one."""
    kinds = dict(step=int, reason=str, utterances=int)
    if row.get("reason") != CONTEXT_CUT:
        kinds = dict(step=int, position=int, id=str, reason=str, detail=str, recording=str)
    return all(type(row.get(key)) is kind for key, kind in kinds.items())


def merged(skipped) -> list[dict]:
    """What all processes skipped, in order: bad rows once each, cut contexts by step."""
    # Processes that share a row (its width lies over them) all skip it.
    once = {(row["step"], row["position"], row["reason"]): row for row in skipped}
    cut, rows = collections.Counter(), []
    for _, row in sorted(once.items()):
        if row["reason"] == CONTEXT_CUT:
            cut[row["step"]] += row["utterances"]
        else:
            rows.append(row)
    rows += [{"step": n, "reason": CONTEXT_CUT, "utterances": cut[n]} for n in cut]
    return sorted(rows, key=lambda row: row["step"])


class BadRows:
    """Decides when bad rows are too many.

    That is when more than the allowed fraction of all recordings has turned out bad, or of the rows
    drawn so far by more than chance explains.

    Attributes:
        drawn: rows of all batches from the first step on, of all processes.
    """

    def __init__(self, allowed: float, recordings: int, drawn: int = 0):
        """Takes the fraction that is allowed, and how many recordings the sources hold."""
        self._allowed, self._recordings, self.drawn = allowed, recordings, drawn
        self._rows, self._bad = {}, set()

    def add(self, rows):
        """Adds bad rows; one that is known counts once."""
        for row in rows:
            self._rows[row["step"], row["position"]] = row
            self._bad |= {row["recording"]} - {""}

    def check(self):
        """Raises a DataError where they are too many, which says what most had."""
        expected = self._allowed * self.drawn
        by_chance = expected + _SIGMAS * math.sqrt(expected)
        early = self.drawn < min(_ENOUGH_ROWS, self._recordings) and self._allowed > 0
        if len(self._bad) > self._allowed * self._recordings or (
            len(self._rows) > by_chance and not early
        ):
            raise DataError(self._say())

    def _say(self):
        rows = [self._rows[place] for place in sorted(self._rows)]
        counts = collections.Counter(row["reason"] for row in rows)
        reason, _ = counts.most_common(1)[0]
        first = next(row for row in rows if row["reason"] == reason)
        found = ", ".join(f"{count} x {reason}" for reason, count in counts.most_common())
        return (
            f"{len(rows)} of {self.drawn} utterances drawn so far are bad ({len(self._bad)} of"
            f" {self._recordings} recordings), more than data.max_bad_fraction ="
            f" {self._allowed:g} allows: {found}; the first with"
            f" {reason!r}: {first['recording'] or first['id']}: {first['detail']}; mend the rows or"
            " raise data.max_bad_fraction"
        )


class Prefetch:
    """Iterates over an iterator that runs in a thread of its own, at most `depth` items ahead.

    What the thread raises, `next` raises. `close` ends the thread; so does the end of the program.
    """

    def __init__(self, iterator, depth: int):
        self._iterator = iterator
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "batches")
        self._ahead = collections.deque()
        for _ in range(depth):
            self._work()

    def __iter__(self):
        return self

    def __next__(self):
        if not self._ahead:
            raise StopIteration
        item = self._ahead.popleft().result()
        if item is _END:
            self.close()
            raise StopIteration
        self._work()
        return item

    def close(self):
        """Drops what was made ahead, waits for the thread, and closes an iterator that can be."""
        self._ahead.clear()
        self._thread.shutdown(cancel_futures=True)
        if isinstance(self._iterator, Generator):
            self._iterator.close()

    def _work(self):
        self._ahead.append(self._thread.submit(next, self._iterator, _END))
