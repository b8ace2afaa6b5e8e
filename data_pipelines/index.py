"""The index of a source: lengths in seconds and tokens, joining, and each utterance's bucket.

Lengths are known before buckets, so any draw is found without reading what stands before it.
Dims: N utterances, K buckets.
"""

import collections
from collections.abc import Sequence
import dataclasses
import functools
import hashlib

import numpy as np

from seedasr_jax import config
from seedasr_jax.data_pipelines import draws, joining, manifest, sources, table
from seedasr_jax.data_pipelines.columns import AUDIO, SILENT, TEXT
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.data_pipelines.table import Table
from seedasr_jax.errors import DataError
from seedasr_jax.text.counted import Counted

_EPOCHS_KEPT = 4
_AT_ONCE = 1 << 20  # rows, to need room for no more
_NONE = np.zeros(0, np.uint32)


@dataclasses.dataclass(frozen=True)
class Fit:
    """What decides where an utterance fits.

    A bucket is (seconds, tokens, utterances), ascending. Seconds are 0 where no audio is heard,
    tokens 0 where no text is read.
    """

    buckets: tuple[tuple[float, int, int], ...]
    stretch: float = 1.0  # an utterance must fit with its seconds times this
    min_seconds: float = 0.0
    silence: bool = False  # whether recordings in which nothing is said are utterances
    key: str = "data.buckets"  # what to change where an utterance does not fit

    def __post_init__(self):
        config.check_buckets(self.buckets)

    @property
    def hears(self) -> bool:
        """True where audio is read."""
        return self.buckets[-1][0] > 0

    @property
    def reads(self) -> bool:
        """True where text is read."""
        return self.buckets[-1][1] > 0

    def fault(self, row: Row) -> str:
        """Why an utterance is bad by its row alone, or ""."""
        parts = row.parts or (row,)
        for part in parts:
            if part.fault:
                return part.fault
        if self.reads and not all(part.text or (self.silence and part.silent) for part in parts):
            return "no text"
        if self.hears and not all(part.audio for part in parts):
            return "no audio"
        return ""

    def faulty(self, rows: Table) -> np.ndarray:
        """[N] bool: where `fault` finds one, in recordings."""
        found = rows.column("fault") > 0
        if self.reads:
            found |= ~(rows.has(TEXT) | rows.has(SILENT) if self.silence else rows.has(TEXT))
        return found | ~rows.has(AUDIO) if self.hears else found


@dataclasses.dataclass(frozen=True)
class Epoch:
    """The utterances of one pass over a source."""

    rows: Table
    tokens: np.ndarray  # [N] of their texts
    unknown: np.ndarray  # [N] those of them that the tokenizer does not know
    buckets: tuple[np.ndarray, ...]  # K times [N_k] uint32, the rows in each bucket
    left_out: collections.Counter  # reason -> utterances


class Index:
    """The utterances of one source by bucket; 4 bytes for each, beside its table.

    Where recordings are joined, 4 bytes more for each of them, and the tables of some passes.

    Attributes:
        rows: the recordings, a `table.Table`.
        sizes: [K] utterances of the first pass in each bucket. A later pass over joined utterances
            has other ones, of about that number; draws run over them in step with the first.
        faults: [F] places of the recordings that are bad before any audio is read.
    """

    def __init__(self, source, fit: Fit, counted: Counted | None, *key: int):
        """Measures and places the utterances.

        Args:
            source: a `sources.Source`, or anything with `name`, `rows()`, `join` and `seed`.
            fit: buckets and limits.
            counted: counts the tokens of texts, each once; None: none are.
            key: of the draws, the seed first; none gives the fixed pass of an evaluation.

        Raises:
            DataError: no utterance fits a bucket; says by what they fail.
        """
        self.name, self.fit, self._join = source.name, fit, source.join
        self._add_contexts = getattr(source, "add_contexts", table.of)
        self._counted, self._fixed, self._key = counted, not key, (*key, source.seed)
        rows = table.of(source.rows())
        self.rows = rows.measured(sources.measured) if fit.hears else rows
        self._joiner = joining.Joiner(self.rows, self._join) if self._join else None
        self.epoch = functools.lru_cache(maxsize=_EPOCHS_KEPT)(self._epoch)
        self.sizes = [len(members) for members in self.epoch(0).buckets]
        self.faults = np.flatnonzero(fit.faulty(self.rows))
        if not any(self.sizes):
            lower = " or lower data.min_seconds" if fit.min_seconds else ""
            raise DataError(
                f"{self.name}: none of its utterances can be used: {self.misfits()}; enlarge"
                f" {fit.key}{lower}"
            )

    def draw(self, bucket: int, number: int) -> Row:
        """The utterance of one draw: each of a bucket's once, in another order in every pass."""
        rows, place = self.find(bucket, number)
        return rows[place]

    def find(self, bucket: int, number: int) -> tuple[Table, int]:
        """The utterances of the pass that a draw is of, and the place of its own among them."""
        number, place = divmod(number, self.sizes[bucket])
        rows, members = self._members(bucket, number)
        size = len(members)
        drawn = draws.permute(place % size, size, *self._key, 0, bucket, number)
        return rows, int(members[drawn])

    def seconds(self, bucket: int, numbers: np.ndarray) -> np.ndarray:
        """[N] seconds of the utterances of [N] draws; no row is read."""
        passes, places = np.divmod(numbers, self.sizes[bucket])
        found = np.empty(len(numbers))
        for number in np.unique(passes).tolist():
            own, (rows, members) = passes == number, self._members(bucket, number)
            size, key = len(members), (*self._key, 0, bucket, number)
            drawn = draws.permute_all(places[own] % size, size, *key)
            found[own] = rows.cell("seconds", members[drawn])
        return found

    def fingerprint(self) -> str:
        """SHA-256 (hex) of what decides the draws: processes that share a batch have the same."""
        found, rows = hashlib.sha256(repr((self.name, self._key)).encode()), self.epoch(0).rows
        recordings = (self.rows.column("speaker"), self.rows.column("seconds"))
        joined = recordings if self._join else ()
        for array in (*self.epoch(0).buckets, rows.column("seconds"), *joined):
            found.update(np.ascontiguousarray(array))
        return found.hexdigest()

    def _members(self, bucket, number):
        """The utterances of a pass, and the places of those in a bucket."""
        epoch = self.epoch(number if self._join else 0)
        if not len(epoch.buckets[bucket]):  # a pass of joined utterances that has none so long
            epoch = self.epoch(0)
        return epoch.rows, epoch.buckets[bucket]

    def _epoch(self, number):
        rows, left_out = self.rows, collections.Counter()
        if self._joiner:
            join = self._joiner.strings if self._fixed else self._joiner.draw
            rows, left_out = join(*self._key, *(() if self._fixed else (1, number)))
            if not len(rows):
                reasons = left_out.most_common()
                found = "; ".join(f"{n} recordings: {reason}" for reason, n in reasons)
                raise DataError(f"{self.name}: nothing can be joined: {found}; leave join out")
            rows = table.of(self._add_contexts(rows))
        tokens = unknown = np.broadcast_to(np.int32(0), len(rows))
        if self.fit.reads and self._counted:
            tokens, unknown = rows.tokens(self._counted)
        seconds = rows.column("seconds") if self.fit.hears else np.broadcast_to(0.0, len(rows))
        members, failed = _place(seconds, tokens, self.fit)
        return Epoch(rows, tokens, unknown, members, left_out + failed)

    @property
    def placed(self) -> Table:
        """The utterances of the first pass that fit a bucket."""
        epoch = self.epoch(0)
        return epoch.rows.take(np.concatenate(epoch.buckets))

    def misfits(self) -> str:
        """What the first pass leaves out and why, and how long the longest utterances are."""
        epoch, (seconds, tokens, _) = self.epoch(0), self.fit.buckets[-1]
        found = [f"{n} {reason}" for reason, n in epoch.left_out.most_common()]
        if len(epoch.rows) and self.fit.hears:
            longest = epoch.rows[int(np.argmax(epoch.rows.column("seconds")))]
            found.append(f"the longest lasts {longest.seconds:.2f} s ({longest.id})")
        if epoch.tokens.any():  # none are counted for an evaluation
            longest = int(np.argmax(epoch.tokens))
            name = epoch.rows[longest].id
            found.append(f"the longest text has {epoch.tokens[longest]} tokens ({name})")
        largest = f"the largest of {self.fit.key} takes {seconds:g} s, {tokens} tokens"
        return f"{'; '.join(found)}; {largest}"


def check_faults(index: Index, allowed: float, cure: str, silent: str):
    """Raises where rows alone, before any audio is read, are worse than the allowed fraction.

    `cure`: what to do about it; `silent`: what more, where a row has no text.
    """
    if len(index.faults) > allowed * len(index.rows):
        row = index.rows[int(index.faults[0])]
        reason = index.fit.fault(row)
        lacking = reason.removeprefix("no ")
        named = lacking not in manifest.ALIASES or row.silent
        hint = "" if named else f", {manifest.hint(row, lacking)}"
        raise DataError(
            f"{index.name}: line {row.line} ({row.id}): {reason}{hint}; {len(index.faults)} of"
            f" {len(index.rows)} rows have such a fault{cure}{silent if lacking == 'text' else ''}"
        )


def fixed(source) -> Sequence[Row]:
    """The utterances of a source as an evaluation has them; joined ones: `Joiner.strings`."""
    if not source.join:
        return source.rows()
    rows = table.of(source.rows()).measured(sources.measured)
    return source.add_contexts(joining.Joiner(rows, source.join).strings(source.seed)[0])


def _place(seconds, tokens, fit):
    """[N] seconds, [N] tokens -> the rows that each bucket is the first to fit; why not, counted.

    Without a length (0 s: no file, or none that opens) a row waits in the first bucket for its turn
    to be counted as bad.
    """
    members, counts = [[] for _ in fit.buckets], collections.Counter()
    limit, most, _ = fit.buckets[-1]
    for first in range(0, len(seconds), _AT_ONCE):
        own = slice(first, first + _AT_ONCE)
        lasts, counted = seconds[own] * fit.stretch, tokens[own]
        placed = np.full(len(lasts), -1)
        for k in reversed(range(len(fit.buckets))):
            placed[(lasts <= fit.buckets[k][0]) & (counted <= fit.buckets[k][1])] = k
        short = (seconds[own] < fit.min_seconds) & (seconds[own] > 0)
        placed[short] = -1
        long, wordy, out = lasts > limit, counted > most, placed < 0
        failed = {
            f"shorter than {fit.min_seconds:g} s": short,
            f"longer than {limit / fit.stretch:g} s": out & long,
            f"more than {most} tokens": out & wordy & ~long,
            "no bucket for both its seconds and its tokens": out & ~long & ~wordy & ~short,
        }
        for reason, rows in failed.items():
            counts[reason] += int(np.count_nonzero(rows))
        for k, found in enumerate(members):
            found.append((first + np.flatnonzero(placed == k)).astype(np.uint32))
    return tuple(np.concatenate(found or [_NONE]) for found in members), +counts
