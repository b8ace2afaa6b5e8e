"""Joining: utterances of several recordings of one speaker, made on access.

The recordings of a joined utterance are its segments. Dims: N recordings, M recordings that are
joined, J utterances.
"""

import collections
from collections.abc import Iterator
import functools

import numpy as np

from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import draws, table, waves
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.data_pipelines.table import Table
from seedasr_jax.text import prompts

PAUSE_SECONDS = (0.02, 0.12)  # between joined recordings
STRINGS = 500  # least number of utterances in a joined evaluation
_CACHED_ROWS = 1 << 14


class Joiner:
    """Joins recordings pass by pass; keeps their places by speaker, 4 bytes each."""

    def __init__(self, rows: Table, join: tuple[int, int]):
        """`rows`: recordings with seconds; `join`: fewest and most segments."""
        self._join, self._speakers, self._unnamed = join, *_by_speaker(rows)
        self._row = functools.lru_cache(maxsize=_CACHED_ROWS)(lambda place: rows[place])

    def draw(self, *key: int) -> tuple[Table, collections.Counter]:
        """(utterances of a pass, drawn by the key, reason -> recordings left out).

        Each recording is in at most one. Of a speaker, those that are too few to join are left out.
        """
        joined, left_out = self._pass(*key)
        return self._table([joined]), left_out

    def strings(self, *key: int) -> tuple[Table, collections.Counter]:
        """The utterances of an evaluation, of as many passes as give at least STRINGS.

        A small number of utterances would give a wide confidence interval.
        """
        joined, left_out = self._pass(*key, 1, 0)
        passes = [joined]
        while len(joined[0]) and sum(len(ends) for ends, *_ in passes) < STRINGS:
            passes.append(self._pass(*key, 1, len(passes))[0])
        return self._table(passes), left_out

    def _pass(self, *key):
        """(([J] end of each utterance, [M] segments, [M] pauses in samples), reasons left out)."""
        left_out = collections.Counter({"joining needs speakers, none is stated": self._unnamed})
        ends, segments, pauses, begin = [], [], [], 0
        for number, places in enumerate(self._speakers):
            count = len(places)
            wanted = draws.words(count, *key, 1, number).tolist()
            sizes = list(groups(count, self._join, wanted))
            used = sum(sizes)
            segments.append(places[draws.shuffled(count, *key, 0, number)[:used]])
            pauses.append(_pauses(count, *key, 2, number)[:used])
            ends.append(begin + np.cumsum(sizes, dtype=np.int64))
            begin += used
            left_out[f"too few of its speaker left to join {self._join[0]}"] += count - used
        none = np.zeros(0, np.int64)
        joined = (np.concatenate(found or [none]) for found in (ends, segments, pauses))
        return tuple(joined), +left_out

    def _table(self, passes) -> Table:
        counts = [len(segments) for _, segments, _ in passes]
        shifts = np.cumsum([0, *counts[:-1]])
        ends = np.concatenate([found + shift for (found, *_), shift in zip(passes, shifts)])
        segments, pauses = (np.concatenate([found[n] for found in passes]) for n in (1, 2))

        def rows(numbers: np.ndarray) -> Iterator[Row]:
            for number in numbers.tolist():
                begin, end = int(ends[number - 1]) if number else 0, int(ends[number])
                found = tuple(map(self._row, segments[begin:end].tolist()))
                silent = pauses[begin : end - 1].tolist()
                yield _joined(found, silent) if len(found) > 1 else found[0]

        return table.generated(rows, len(ends))


def _by_speaker(rows: Table) -> tuple[list[np.ndarray], int]:
    """([ascending places of a speaker's rows] sorted by speaker, number of rows without one)."""
    speakers = rows.column("speaker")
    order = np.argsort(speakers, kind="stable").astype(np.uint32)
    found, begins = np.unique(speakers[order], return_index=True)
    members = np.split(order, begins[1:]) if len(found) else []
    unnamed = len(members.pop(0)) if len(found) and found[0] == 0 else 0
    return sorted(members, key=lambda places: rows[int(places[0])].speaker), unnamed


def groups(count: int, join: tuple[int, int], wanted) -> Iterator[int]:
    """Yields group sizes within `join`, by random words, that add up to `count`, or nearly so."""
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


def _pauses(count, *key) -> np.ndarray:
    low, high = (round(seconds * files.RATE) for seconds in PAUSE_SECONDS)
    return (low + draws.words(count, *key) % np.uint64(high - low + 1)).astype(np.int32)


def _joined(segments, pauses) -> Row:
    same = {}
    for field in ("language", "dialect", "domain", "speaker", "split", "context_kind"):
        values = {getattr(one, field) for one in segments}
        same[field] = values.pop() if len(values) == 1 else ""
    return Row(
        id="+".join(one.id for one in segments),
        seconds=(sum(map(waves.samples, segments)) + sum(pauses)) / files.RATE,
        text=" ".join(one.text for one in segments),
        segments=segments,
        pauses=tuple(pauses),
        context=prompts.SEPARATOR.join(one.context for one in segments if one.context),
        keywords=tuple(name for one in segments for name in one.keywords),
        siblings=tuple(name for one in segments for name in one.siblings),
        **same,
    )
