"""The index of a source: lengths in seconds and tokens, joining, and each utterance's bucket.

Lengths are known before buckets, so any draw is found without reading what stands before it.
Dims: N utterances, K buckets.
"""

import collections
from collections.abc import Sequence
import dataclasses
import functools

import numpy as np

from seedasr_jax import config
from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import draws, manifest, sources, table
from seedasr_jax.data_pipelines.columns import AUDIO, SILENT, TEXT
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.data_pipelines.table import Table
from seedasr_jax.errors import DataError
from seedasr_jax.text import prompts
from seedasr_jax.text.counted import Counted

PAUSE_SECONDS = (0.02, 0.12)  # between joined recordings
STRINGS = 500  # at least, of a joined evaluation
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

    Recordings are held in memory where they are joined.

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
        self._add_contexts = getattr(source, "add_contexts", tuple)
        self._counted, self._fixed, self._key = counted, not key, (*key, source.seed)
        rows = table.of(source.rows())
        self.rows = rows.measured(sources.measured) if fit.hears else rows
        self._recordings = tuple(self.rows) if self._join else ()
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
        epoch = self.epoch(number if self._join else 0)
        members = epoch.buckets[bucket]
        if not len(members):  # a pass of joined utterances that has none of this length
            epoch = self.epoch(0)
            members = epoch.buckets[bucket]
        size = len(members)
        drawn = draws.permute(place % size, size, *self._key, 0, bucket, number)
        return epoch.rows, int(members[drawn])

    def _epoch(self, number):
        rows, left_out = self.rows, collections.Counter()
        if self._join:
            own = self._recordings
            if self._fixed:
                joined, left_out = _strings(own, self._join, *self._key)
            else:
                joined, left_out = _join(own, self._join, *self._key, 1, number)
            if not joined:
                reasons = left_out.most_common()
                found = "; ".join(f"{n} recordings: {reason}" for reason, n in reasons)
                raise DataError(f"{self.name}: nothing can be joined: {found}; leave join out")
            rows = table.of(self._add_contexts(joined))
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
    """The utterances of a source as an evaluation has them; joined ones see `_strings`."""
    if not source.join:
        return source.rows()
    rows = tuple(map(sources.measured, source.rows()))
    return source.add_contexts(_strings(rows, source.join, source.seed)[0])


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


def _join(rows, join, *key):
    """Joins recordings of one speaker: each at most once, groups and pauses drawn by the key.

    A speaker's last few recordings are left out where they would not fill a group.
    """
    left_out = collections.Counter()
    by_speaker = collections.defaultdict(list)
    for row in rows:
        by_speaker[row.speaker].append(row)
    left_out["joining needs speakers, none is named"] = len(by_speaker.pop("", ()))
    made = []
    for number, speaker in enumerate(sorted(by_speaker)):
        own = by_speaker[speaker]
        order = draws.shuffled(len(own), *key, 0, number).tolist()
        wanted = draws.words(len(own), *key, 1, number).tolist()
        pauses = _pauses(len(own), *key, 2, number)
        start = 0
        for size in _groups(len(own), join, wanted):
            stop = start + size
            parts = tuple(own[place] for place in order[start:stop])
            made.append(_join_rows(parts, pauses[start : stop - 1]) if size > 1 else parts[0])
            start = stop
        left_out[f"too few of its speaker left to join {join[0]}"] += len(own) - start
    return tuple(made), +left_out


def _strings(rows, join, *key):
    """Joined utterances of an evaluation: pass after pass until there are STRINGS of them.

    Few recordings make many strings, which differ in their neighbours and pauses, and few strings a
    wide interval.
    """
    made, left_out = _join(rows, join, *key, 1, 0)
    number = 1
    while made and len(made) < STRINGS:
        made += _join(rows, join, *key, 1, number)[0]
        number += 1
    return made, left_out


def _groups(count, join, wanted):
    """Sizes within `join` that use up `count` recordings, or as many as they can."""
    fewest, most = join
    for draw in wanted:
        allowed = [
            size
            for size in range(fewest, min(most, count) + 1)
            if count == size or count - size >= fewest
        ] or [min(most, count)]
        if allowed[0] < fewest:
            return
        size = allowed[draw % len(allowed)]
        yield size
        count -= size


def _pauses(count, *key):
    low, high = (round(seconds * files.RATE) for seconds in PAUSE_SECONDS)
    return (low + draws.words(count, *key) % np.uint64(high - low + 1)).astype(int).tolist()


def _join_rows(parts, pauses) -> Row:
    same = {}
    for field in ("language", "dialect", "domain", "speaker", "split", "context_kind"):
        values = {getattr(part, field) for part in parts}
        same[field] = values.pop() if len(values) == 1 else ""
    return Row(
        id="+".join(part.id for part in parts),
        seconds=(sum(map(sources.samples, parts)) + sum(pauses)) / files.RATE,
        text=" ".join(part.text for part in parts),
        parts=parts,
        pauses=tuple(pauses),
        context=prompts.SEPARATOR.join(part.context for part in parts if part.context),
        keywords=tuple(name for part in parts for name in part.keywords),
        siblings=tuple(name for part in parts for name in part.siblings),
        **same,
    )
