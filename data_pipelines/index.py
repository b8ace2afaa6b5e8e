"""The index of a source: lengths in seconds and tokens, joining, and each utterance's bucket.

All lengths are known in advance, so any draw is found without reading the ones before it.
Dims: N utterances, K buckets.
"""

import collections
from collections.abc import Sequence
import dataclasses
import functools
import hashlib

import numpy as np

from seedasr_jax import config
from seedasr_jax.data_pipelines import draws, fields, joining, table, waves
from seedasr_jax.data_pipelines.columns import AUDIO, SILENT, TEXT
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.data_pipelines.table import Table
from seedasr_jax.errors import DataError
from seedasr_jax.text.counted import Counted

_CACHED_EPOCHS = 4
_CHUNK = 1 << 20  # rows, to limit the memory of temporaries
_NONE = np.zeros(0, np.uint32)


@dataclasses.dataclass(frozen=True)
class Fit:
    """The buckets, and what decides which bucket an utterance fits."""

    # Ascending (seconds, tokens, utterances); seconds 0: no audio, tokens 0: no text.
    buckets: tuple[tuple[float, int, int], ...]
    stretch: float = 1.0  # bucket by seconds * stretch, leaving headroom for tempo augmentation
    min_seconds: float = 0.0
    silence: bool = False  # whether recordings without speech (empty text) are utterances
    key: str = "data.buckets"  # config key that errors name as the cure

    def __post_init__(self):
        config.check_buckets(self.buckets)

    @property
    def has_audio(self) -> bool:
        """Whether batches have audio."""
        return self.buckets[-1][0] > 0

    @property
    def has_text(self) -> bool:
        """Whether batches have text."""
        return self.buckets[-1][1] > 0

    def fault(self, row: Row) -> str:
        """Why an utterance is bad, as far as its row tells, or ""."""
        segments = row.segments or (row,)
        for one in segments:
            if one.fault:
                return one.fault
        if self.has_text and not all(s.text or (self.silence and s.silent) for s in segments):
            return "no text"
        if self.has_audio and not all(one.audio for one in segments):
            return "no audio"
        return ""

    def faulty(self, rows: Table) -> np.ndarray:
        """[N] bool: whether `fault` finds a fault in each recording."""
        found = rows.column("fault") > 0
        if self.has_text:
            found |= ~(rows.has(TEXT) | rows.has(SILENT) if self.silence else rows.has(TEXT))
        return found | ~rows.has(AUDIO) if self.has_audio else found


@dataclasses.dataclass(frozen=True)
class Epoch:
    """The utterances of one pass over a source."""

    rows: Table
    tokens: np.ndarray  # [N] tokens of each text
    unknown: np.ndarray  # [N] tokens of each text that are unknown to the tokenizer
    buckets: tuple[np.ndarray, ...]  # K times [N_k] uint32, the rows in each bucket
    left_out: collections.Counter  # reason -> utterances


class Index:
    """The utterances of one source by bucket: 4 bytes for each, in addition to its table.

    For joined utterances, 4 more bytes for each recording, and the tables of some passes.

    Attributes:
        rows: the recordings, a `table.Table`.
        sizes: [K] utterances of the first pass in each bucket. A later pass over joined utterances
            has slightly different numbers; its draws are taken modulo its own number.
        faults: [F] places of the recordings that are bad before any audio is read.
    """

    def __init__(self, source, fit: Fit, counted: Counted | None, *key: int):
        """Measures all utterances and assigns them to buckets.

        Args:
            source: a `sources.Source`, or any object with `name`, `rows()`, `join` and `seed`.
            fit: buckets and limits.
            counted: counts the tokens of a text; None: they are not counted.
            *key: of the draws, the seed first; without a key, the fixed pass of an evaluation.

        Raises:
            DataError: no utterance fits a bucket; gives the reasons.
        """
        self.name, self.fit, self._join = source.name, fit, source.join
        self._add_contexts = getattr(source, "add_contexts", table.of)
        self._counted, self._fixed, self._key = counted, not key, (*key, source.seed)
        rows = table.of(source.rows())
        self.rows = rows.measured(waves.measured) if fit.has_audio else rows
        self._joiner = joining.Joiner(self.rows, self._join) if self._join else None
        self.epoch = functools.lru_cache(maxsize=_CACHED_EPOCHS)(self._epoch)
        self.sizes = [len(members) for members in self.epoch(0).buckets]
        self.faults = np.flatnonzero(fit.faulty(self.rows))
        if not any(self.sizes):
            lower = " or lower data.min_seconds" if fit.min_seconds else ""
            raise DataError(
                f"{self.name}: no utterance fits a bucket: {self.misfits()}; enlarge"
                f" {fit.key}{lower}"
            )

    def draw(self, bucket: int, number: int) -> Row:
        """The utterance of a draw. Each pass draws all of a bucket once, in a different order."""
        rows, place = self.find(bucket, number)
        return rows[place]

    def find(self, bucket: int, number: int) -> tuple[Table, int]:
        """The utterances of the pass that a draw belongs to, and the drawn place among them."""
        number, place = divmod(number, self.sizes[bucket])
        rows, members = self._members(bucket, number)
        size = len(members)
        drawn = draws.permute(place % size, size, *self._key, 0, bucket, number)
        return rows, int(members[drawn])

    def seconds(self, bucket: int, numbers: np.ndarray) -> np.ndarray:
        """[N] seconds of the utterances of [N] draws, without reading rows."""
        passes, places = np.divmod(numbers, self.sizes[bucket])
        found = np.empty(len(numbers))
        for number in np.unique(passes).tolist():
            own, (rows, members) = passes == number, self._members(bucket, number)
            size, key = len(members), (*self._key, 0, bucket, number)
            drawn = draws.permute_all(places[own] % size, size, *key)
            found[own] = rows.cell("seconds", members[drawn])
        return found

    def fingerprint(self) -> str:
        """SHA-256 (hex) of what determines the draws; all processes of a job must agree on it."""
        found, rows = hashlib.sha256(repr((self.name, self._key)).encode()), self.epoch(0).rows
        recordings = (self.rows.column("speaker"), self.rows.column("seconds"))
        joined = recordings if self._join else ()
        for array in (*self.epoch(0).buckets, rows.column("seconds"), *joined):
            found.update(np.ascontiguousarray(array))
        return found.hexdigest()

    def _members(self, bucket, number):
        """The utterances of a pass, and the places of those in a bucket."""
        epoch = self.epoch(number if self._join else 0)
        if not len(epoch.buckets[bucket]):  # no joined utterance of this pass is in the bucket
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
                raise DataError(f"{self.name}: nothing can be joined: {found}; omit join")
            rows = table.of(self._add_contexts(rows))
        tokens = unknown = np.broadcast_to(np.int32(0), len(rows))
        if self.fit.has_text and self._counted:
            tokens, unknown = rows.tokens(self._counted)
        has_audio = self.fit.has_audio
        seconds = rows.column("seconds") if has_audio else np.broadcast_to(0.0, len(rows))
        members, failed = _place(seconds, tokens, self.fit)
        return Epoch(rows, tokens, unknown, members, left_out + failed)

    @property
    def placed(self) -> Table:
        """The utterances of the first pass that fit a bucket."""
        epoch = self.epoch(0)
        return epoch.rows.take(np.concatenate(epoch.buckets))

    def misfits(self) -> str:
        """Text: the utterances that the first pass leaves out, by reason, and the longest ones."""
        epoch, (seconds, tokens, _) = self.epoch(0), self.fit.buckets[-1]
        found = [f"{n} {reason}" for reason, n in epoch.left_out.most_common()]
        if len(epoch.rows) and self.fit.has_audio:
            longest = epoch.rows[int(np.argmax(epoch.rows.column("seconds")))]
            found.append(f"the longest lasts {longest.seconds:.2f} s ({longest.id})")
        if epoch.tokens.any():  # not counted for an evaluation
            longest = int(np.argmax(epoch.tokens))
            name = epoch.rows[longest].id
            found.append(f"the longest text has {epoch.tokens[longest]} tokens ({name})")
        largest = f"the largest of {self.fit.key} is {seconds:g} s, {tokens} tokens"
        return f"{'; '.join(found)}; {largest}"


def check_faults(index: Index, allowed: float, cure: str, silent: str):
    """Raises a DataError if more than a fraction of rows is bad, before any audio is read.

    `cure` ends the error; `silent` is added to it if the first bad row has no text.
    """
    if len(index.faults) > allowed * len(index.rows):
        row = index.rows[int(index.faults[0])]
        reason = index.fit.fault(row)
        missing = reason.removeprefix("no ")
        stated = missing not in fields.ALIASES or row.silent
        hint = "" if stated else f", {fields.hint(row.ignored, missing)}"
        raise DataError(
            f"{index.name}: line {row.line} ({row.id}): {reason}{hint}; {len(index.faults)} of"
            f" {len(index.rows)} rows have such a fault{cure}{silent if missing == 'text' else ''}"
        )


def fixed(source) -> Sequence[Row]:
    """The utterances of a source in an evaluation; joined ones are from `Joiner.strings`."""
    if not source.join:
        return source.rows()
    rows = table.of(source.rows()).measured(waves.measured)
    return source.add_contexts(joining.Joiner(rows, source.join).strings(source.seed)[0])


def _place(seconds, tokens, fit):
    """([N_k] rows for which bucket k is the first that fits, for each k; reason -> other rows).

    A row of unknown length (0 s: its file is missing or unreadable) is assigned to the first bucket
    and counted as bad when it is drawn. `seconds` and `tokens` are [N].
    """
    members, counts = [[] for _ in fit.buckets], collections.Counter()
    max_seconds, max_tokens, _ = fit.buckets[-1]
    for first in range(0, len(seconds), _CHUNK):
        chunk = slice(first, first + _CHUNK)
        stretched, counted = seconds[chunk] * fit.stretch, tokens[chunk]
        placed = np.full(len(stretched), -1)
        for k in reversed(range(len(fit.buckets))):
            placed[(stretched <= fit.buckets[k][0]) & (counted <= fit.buckets[k][1])] = k
        short = (seconds[chunk] < fit.min_seconds) & (seconds[chunk] > 0)
        placed[short] = -1
        long, wordy, out = stretched > max_seconds, counted > max_tokens, placed < 0
        failed = {
            f"shorter than {fit.min_seconds:g} s": short,
            f"longer than {max_seconds / fit.stretch:g} s": out & long,
            f"more than {max_tokens} tokens": out & wordy & ~long,
            "no bucket for both its seconds and its tokens": out & ~long & ~wordy & ~short,
        }
        for reason, rows in failed.items():
            counts[reason] += int(np.count_nonzero(rows))
        for k, found in enumerate(members):
            found.append((first + np.flatnonzero(placed == k)).astype(np.uint32))
    return tuple(np.concatenate(found or [_NONE]) for found in members), +counts
