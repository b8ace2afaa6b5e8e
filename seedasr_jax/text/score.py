"""Word, character and mixed error rates with bootstrap confidence intervals.

Error rate = (substitutions + deletions + insertions) / reference units, in percent, over a whole
set (never the mean over utterances). All texts are expected to be normalised.

An interval describes the variation over other sets of the same kind. Utterances of a speaker or a
recording are not independent: whole clusters are resampled.

Dims: N utterances, G clusters, R resamples.
"""

import bisect
from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import itertools
import re

import numpy as np
from rapidfuzz.distance import Levenshtein

from seedasr_jax import errors
from seedasr_jax.text.normalize import CJK

_MIXED = re.compile(f"[{CJK}]|[^\\s{CJK}]+")
_SPLITTERS = {
    "word": str.split,
    "char": re.compile(r"(?<=\d)\s+(?=\d)|\S").findall,
    "mixed": _MIXED.findall,
}
UNITS = tuple(_SPLITTERS)
FEWEST = 10  # minimum number of clusters for an interval: with fewer, resampling is uninformative
_KINDS = ("replace", "delete", "insert")  # as RapidFuzz names them
_DRAWS_AT_ONCE = 1 << 22  # indices per bootstrap block, 32 MiB for a set of any size


@dataclasses.dataclass(frozen=True)
class Score:
    """Errors of a set of utterances; rates in percent."""

    utterances: int
    ref_len: int
    substitutions: int
    deletions: int
    insertions: int
    error_rate: float
    clusters: int
    ci_low: float | None  # of the 95 % interval; None with fewer than FEWEST clusters
    ci_high: float | None


def units(text: str, unit: str) -> list[str]:
    """Splits a normalised text into the units that an error rate counts.

    "word" splits at white space. "char" gives code points without white space, so that spacing
    conventions cause no errors, except between digits, where 3 4 is not 34. "mixed" gives Chinese
    and Japanese characters one by one, and words of everything else. Else ConfigError is raised.
    """
    if unit not in _SPLITTERS:
        raise errors.unknown("unit", unit, UNITS)
    return _SPLITTERS[unit](text)


def split(texts: Iterable[str], unit: str | Sequence[str]) -> list[list[str]]:
    """`units` of N texts; `unit` is one for all, or one for each."""
    if isinstance(unit, str):
        return [units(text, unit) for text in texts]
    return [units(text, each) for text, each in zip(texts, unit, strict=True)]


def _edits(reference, hypothesis, segments):
    """(cluster, [substitutions, deletions, insertions]) of each segment, aligned as in jiwer.

    An insertion between two segments counts for the first.
    """
    ends = list(itertools.accumulate(length for _, length in segments))
    found = [(name, [0, 0, 0]) for name, _ in segments]
    for edit in Levenshtein.editops(reference, hypothesis):
        side = bisect.bisect_left if edit.tag == "insert" else bisect.bisect_right
        found[side(ends, edit.src_pos)][1][_KINDS.index(edit.tag)] += 1
    return found


def _tally(references, hypotheses, clusters):
    """[G 3] edits and [G] reference units by cluster, in the order of the clusters' names."""
    if clusters is None:
        clusters = [[(n, len(reference))] for n, reference in enumerate(references)]
    names = sorted({name for segments in clusters for name, _ in segments})
    number = {name: g for g, name in enumerate(names)}
    edits, lengths = np.zeros((len(names), 3), np.int64), np.zeros(len(names), np.int64)
    for reference, hypothesis, segments in zip(references, hypotheses, clusters, strict=True):
        if sum(length for _, length in segments) != len(reference):
            raise ValueError(f"clusters: expected {len(reference)} units in all, found {segments}")
        for name, length in segments:
            lengths[number[name]] += length
        for name, found in _edits(reference, hypothesis, segments):
            edits[number[name]] += found
    return edits, lengths


def score(references, hypotheses, *, unit="word", clusters=None, resamples=1000, seed=0) -> Score:
    """Scores N hypotheses against N references, normalised texts.

    A set whose references are all empty is treated as one unit long, so that its rate, 100 percent
    per inserted unit, is finite.

    Args:
        unit: see `units`; one for all, or N.
        clusters: N lists of segments (speaker or recording, number of reference units), in order.
            None: each utterance is a cluster.
        resamples: R, bootstrap draws of G clusters with replacement.
        seed: of the draws; equal seeds give equal intervals on every machine.

    Raises:
        errors.DataError: no utterances. ValueError: lists of different length, or no resamples.
    """
    references, hypotheses = list(references), list(hypotheses)
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references but {len(hypotheses)} hypotheses")
    if not references:
        raise errors.DataError("nothing to score: expected at least one utterance, found none")
    edits, lengths = _tally(split(references, unit), split(hypotheses, unit), clusters)
    wrong = edits.sum(1)
    low, high = _bootstrap(wrong, lengths, resamples, seed)
    substitutions, deletions, insertions = edits.sum(0).tolist()
    return Score(
        utterances=len(references),
        ref_len=int(lengths.sum()),
        substitutions=substitutions,
        deletions=deletions,
        insertions=insertions,
        error_rate=float(_rate(wrong.sum(), lengths.sum())),
        clusters=len(lengths),
        ci_low=low,
        ci_high=high,
    )


@dataclasses.dataclass(frozen=True)
class Difference:
    """Change of an error rate on the same utterances, in points; interval as in Score."""

    difference: float  # negative: fewer errors after
    ci_low: float | None
    ci_high: float | None


def difference(
    references, before, after, *, unit="word", clusters=None, resamples=1000, seed=0
) -> Difference:
    """Difference of error rates, `after` - `before`, by a paired bootstrap; all else as `score`."""
    references = split(references, unit)
    if not references:
        raise errors.DataError("nothing to compare: expected at least one utterance, found none")
    edits_before, lengths = _tally(references, split(before, unit), clusters)
    edits_after, _ = _tally(references, split(after, unit), clusters)
    more = (edits_after - edits_before).sum(1)
    low, high = _bootstrap(more, lengths, resamples, seed)
    return Difference(float(_rate(more.sum(), lengths.sum())), low, high)


def interval(row: Mapping, digits: int = 2) -> str:
    """The interval of a row of results as text."""
    if row["ci_low"] is None:
        return "none"
    return f"{row['ci_low']:.{digits}f} to {row['ci_high']:.{digits}f}"


def _rate(wrong, length):
    return 100.0 * wrong / np.maximum(length, 1)


def _bootstrap(wrong, lengths, resamples, seed) -> tuple[float | None, float | None]:
    """[G] errors, [G] lengths -> the 2.5th and 97.5th percentile of the rate over R resamples."""
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, found {resamples}")
    size, rates, left = len(wrong), [], resamples
    if size < FEWEST:
        return None, None
    rng = np.random.Generator(np.random.Philox(seed))
    while left:
        block = min(left, max(1, _DRAWS_AT_ONCE // size))
        drawn = rng.integers(size, size=(block, size))  # [R G]; draws do not depend on the blocks
        rates.append(_rate(wrong[drawn].sum(1), lengths[drawn].sum(1)))
        left -= block
    low, high = np.percentile(np.concatenate(rates), (2.5, 97.5))
    return float(low), float(high)
