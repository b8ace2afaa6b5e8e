"""The index of a source: lengths in seconds and tokens, joining, and each utterance's bucket.

Lengths are known before buckets, so any draw is found without reading what stands before it.
Dims: N utterances, K buckets.
"""

import collections
import dataclasses
import functools

import numpy as np

from seedasr_jax import config
from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import draws, manifest, sources
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.errors import DataError
from seedasr_jax.text import prompts

PAUSE_SECONDS = (0.02, 0.12)  # between joined recordings
STRINGS = 500  # at least, of a joined evaluation
_EPOCHS_KEPT = 4


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


@dataclasses.dataclass(frozen=True)
class Epoch:
    """The utterances of one pass over a source."""

    rows: tuple[Row, ...]
    buckets: tuple[np.ndarray, ...]  # K times [N_k], the rows in each bucket
    left_out: collections.Counter  # reason -> utterances


class Index:
    """The utterances of one source by bucket.

    Attributes:
        recordings: number of rows of the source.
        sizes: [K] utterances of the first pass in each bucket. A later pass over joined utterances
            has other ones, of about that number; draws run over them in step with the first.
        faults: (row, reason) of rows that are bad before any audio is read.
    """

    def __init__(self, source, fit: Fit, tokens, *key: int):
        """Measures and places the utterances.

        Args:
            source: a `sources.Source`, or anything with `name`, `rows()`, `join` and `seed`.
            fit: buckets and limits.
            tokens: text -> number of tokens; each distinct text is counted once.
            key: of the draws, the seed first; none gives the fixed pass of an evaluation.

        Raises:
            DataError: no utterance fits a bucket; says by what they fail.
        """
        self.name, self.fit, self._join = source.name, fit, source.join
        self._tell = getattr(source, "tell", tuple)
        self._tokens, self._fixed, self._key = tokens, not key, (*key, source.seed)
        rows = source.rows()
        self._rows = tuple(map(sources.measured, rows)) if fit.hears else tuple(rows)
        self.recordings = len(rows)
        self.epoch = functools.lru_cache(maxsize=_EPOCHS_KEPT)(self._epoch)
        self.sizes = [len(members) for members in self.epoch(0).buckets]
        faults = ((row, fit.fault(row)) for row in self._rows)
        self.faults = [(row, fault) for row, fault in faults if fault]
        if not any(self.sizes):
            lower = " or lower data.min_seconds" if fit.min_seconds else ""
            raise DataError(
                f"{self.name}: none of its utterances can be used: {self.misfits()}; enlarge"
                f" {fit.key}{lower}"
            )

    def draw(self, bucket: int, number: int) -> Row:
        """The utterance of one draw: each of a bucket's once, in another order in every pass."""
        number, place = divmod(number, self.sizes[bucket])
        epoch = self.epoch(number if self._join else 0)
        members = epoch.buckets[bucket]
        if not len(members):  # a pass of joined utterances that has none of this length
            epoch = self.epoch(0)
            members = epoch.buckets[bucket]
        size = len(members)
        return epoch.rows[members[draws.permute(place % size, size, *self._key, 0, bucket, number)]]

    def _epoch(self, number):
        rows = self._rows
        left_out = collections.Counter()
        if self._join:
            if self._fixed:
                rows, left_out = _strings(rows, self._join, *self._key)
            else:
                rows, left_out = _join(rows, self._join, *self._key, 1, number)
            rows = self._tell(rows)
        seconds = np.array([row.seconds for row in rows]) if self.fit.hears else np.zeros(len(rows))
        counts = {}
        if self.fit.reads:
            counts = {text: self._tokens(text) for text in {row.text for row in rows}}
        tokens = np.array([counts.get(row.text, 0) for row in rows], np.int64)
        placed, failed = _place(seconds, tokens, self.fit)
        members = tuple(np.flatnonzero(placed == k) for k in range(len(self.fit.buckets)))
        return Epoch(rows, members, left_out + failed)

    @property
    def placed(self) -> list[Row]:
        """The utterances of the first pass that fit a bucket."""
        epoch = self.epoch(0)
        return [epoch.rows[n] for members in epoch.buckets for n in members]

    def misfits(self) -> str:
        """What the first pass leaves out and why, and how long the longest utterances are."""
        rows, (seconds, tokens, _) = self.epoch(0).rows, self.fit.buckets[-1]
        found = [f"{n} {reason}" for reason, n in self.epoch(0).left_out.most_common()]
        if rows and self.fit.hears:
            longest = max(rows, key=lambda row: row.seconds)
            found.append(f"the longest lasts {longest.seconds:.2f} s ({longest.id})")
        if rows and self.fit.reads:
            count, name = max((self._tokens(row.text), row.id) for row in rows)
            if count:  # none are counted for an evaluation
                found.append(f"the longest text has {count} tokens ({name})")
        largest = f"the largest of {self.fit.key} takes {seconds:g} s, {tokens} tokens"
        return f"{'; '.join(found)}; {largest}"


def check_faults(index: Index, allowed: float, cure: str, silent: str):
    """Raises where rows alone, before any audio is read, are worse than the allowed fraction.

    `cure`: what to do about it; `silent`: what more, where a row has no text.
    """
    if len(index.faults) > allowed * index.recordings:
        row, reason = index.faults[0]
        lacking = reason.removeprefix("no ")
        named = lacking not in manifest.ALIASES or row.silent
        hint = "" if named else f", {manifest.hint(row, lacking)}"
        raise DataError(
            f"{index.name}: line {row.line} ({row.id}): {reason}{hint}; {len(index.faults)} of"
            f" {index.recordings} rows have such a fault{cure}{silent if lacking == 'text' else ''}"
        )


def fixed(source) -> tuple[Row, ...]:
    """The utterances of a source as an evaluation has them; joined ones see `_strings`."""
    if not source.join:
        return tuple(source.rows())
    rows = tuple(map(sources.measured, source.rows()))
    return source.tell(_strings(rows, source.join, source.seed)[0])


def _place(seconds, tokens, fit):
    """[N] seconds, [N] tokens -> [N] the first bucket that fits, or -1; and why not, counted.

    Without a length (0 s: no file, or none that opens) a row waits in the first bucket for its turn
    to be counted as bad.
    """
    placed = np.full(len(seconds), -1)
    for k in reversed(range(len(fit.buckets))):
        limit, most, _ = fit.buckets[k]
        placed[(seconds * fit.stretch <= limit) & (tokens <= most)] = k
    short = (seconds < fit.min_seconds) & (seconds > 0)
    placed[short] = -1
    limit, most, _ = fit.buckets[-1]
    long, wordy = seconds * fit.stretch > limit, tokens > most
    out = placed < 0
    failed = {
        f"shorter than {fit.min_seconds:g} s": short,
        f"longer than {limit / fit.stretch:g} s": out & long,
        f"more than {most} tokens": out & wordy & ~long,
        "no bucket for both its seconds and its tokens": out & ~long & ~wordy & ~short,
    }
    counts = {reason: int(np.count_nonzero(rows)) for reason, rows in failed.items()}
    return placed, collections.Counter({reason: n for reason, n in counts.items() if n})


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
