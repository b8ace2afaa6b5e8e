"""Joining: utterances of several recordings of one speaker, made when they are asked for.

Dims: N recordings, M of them that are joined, J utterances.
"""

import collections
from collections.abc import Iterator
import functools

import numpy as np

from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import draws, sources, table
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.data_pipelines.table import Table
from seedasr_jax.text import prompts

PAUSE_SECONDS = (0.02, 0.12)  # between joined recordings
STRINGS = 500  # at least, of a joined evaluation
_HELD = 1 << 14  # recordings whose rows are not read again


class Joiner:
    """Joins recordings pass by pass; holds their places by speaker, 4 bytes each."""

    def __init__(self, rows: Table, join: tuple[int, int]):
        """Args: `rows`, recordings with their seconds; `join`, fewest and most of an utterance."""
        self._join, self._speakers, self._unnamed = join, *_by_speaker(rows)
        self._row = functools.lru_cache(maxsize=_HELD)(lambda place: rows[place])

    def draw(self, *key: int) -> tuple[Table, collections.Counter]:
        """The utterances of a pass, and why recordings are left out.

        Each recording is in one at most; groups and pauses are drawn by the key. A speaker's last
        few are left out where they would not fill a group.
        """
        joined, left_out = self._pass(*key)
        return self._table([joined]), left_out

    def strings(self, *key: int) -> tuple[Table, collections.Counter]:
        """The utterances of an evaluation: pass after pass until there are STRINGS of them.

        Few recordings make many strings, which differ in their neighbours and pauses, and few
        strings a wide interval.
        """
        joined, left_out = self._pass(*key, 1, 0)
        passes = [joined]
        while len(joined[0]) and sum(len(ends) for ends, *_ in passes) < STRINGS:
            passes.append(self._pass(*key, 1, len(passes))[0])
        return self._table(passes), left_out

    def _pass(self, *key):
        """([J] ends of utterances in what follows, [M] recordings, [M] samples of silence behind
        each), and why recordings are left out.
        """
        left_out = collections.Counter({"joining needs speakers, none is named": self._unnamed})
        ends, parts, pauses, begin = [], [], [], 0
        for number, own in enumerate(self._speakers):
            wanted = draws.words(len(own), *key, 1, number).tolist()
            sizes = list(groups(len(own), self._join, wanted))
            used = sum(sizes)
            parts.append(own[draws.shuffled(len(own), *key, 0, number)[:used]])
            pauses.append(_pauses(len(own), *key, 2, number)[:used])
            ends.append(begin + np.cumsum(sizes, dtype=np.int64))
            begin += used
            left_out[f"too few of its speaker left to join {self._join[0]}"] += len(own) - used
        none = np.zeros(0, np.int64)
        joined = (np.concatenate(found or [none]) for found in (ends, parts, pauses))
        return tuple(joined), +left_out

    def _table(self, passes) -> Table:
        counts = [len(parts) for _, parts, _ in passes]
        shifts = np.cumsum([0, *counts[:-1]])
        ends = np.concatenate([found + shift for (found, *_), shift in zip(passes, shifts)])
        parts, pauses = (np.concatenate([found[n] for found in passes]) for n in (1, 2))

        def rows(numbers: np.ndarray) -> Iterator[Row]:
            for number in numbers.tolist():
                begin, end = int(ends[number - 1]) if number else 0, int(ends[number])
                found = tuple(map(self._row, parts[begin:end].tolist()))
                silent = pauses[begin : end - 1].tolist()
                yield _joined(found, silent) if len(found) > 1 else found[0]

        return table.made(rows, len(ends))


def _by_speaker(rows: Table) -> tuple[list[np.ndarray], int]:
    """Places of each speaker's rows, ascending, speakers by name; and how many rows name none."""
    speakers = rows.column("speaker")
    order = np.argsort(speakers, kind="stable").astype(np.uint32)
    found, begins = np.unique(speakers[order], return_index=True)
    own = np.split(order, begins[1:]) if len(found) else []
    unnamed = len(own.pop(0)) if len(found) and found[0] == 0 else 0
    return sorted(own, key=lambda places: rows[int(places[0])].speaker), unnamed


def groups(count: int, join: tuple[int, int], wanted) -> Iterator[int]:
    """Sizes within `join` that use up `count` recordings, or as many as they can, by random words
    `wanted`.
    """
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


def _joined(parts, pauses) -> Row:
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
