"""Word, character and mixed error rates with a bootstrap interval.

Error rate = (substitutions + deletions + insertions) / reference units, in percent, over a whole
set (never the mean of utterances). Texts come in normalised.

An interval holds what would vary in another set of the same kind. Utterances that share a speaker
or a recording are no independent draws: what is resampled are clusters, and a cluster's errors are
drawn together, wherever they stand.

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
FEWEST = 10  # clusters that an interval needs: of fewer, resamples say little
_KINDS = ("replace", "delete", "insert")
_DRAWS_AT_ONCE = 1 << 22  # indices of one bootstrap block: 32 MiB however large the set


@dataclasses.dataclass(frozen=True)
class Score:
    """Errors of a set of utterances; rates in percent.

    The interval holds 95 %; None: of fewer than FEWEST clusters there is none.
    """

    utterances: int
    ref_len: int
    substitutions: int
    deletions: int
    insertions: int
    error_rate: float
    clusters: int
    ci_low: float | None
    ci_high: float | None


def units(text: str, unit: str) -> list[str]:
    """Splits a text into what an error rate counts.

    Args:
        text: normalised text.
        unit: "word" splits at white space; "char" gives code points, white space left out, so that
            spacing conventions cost nothing, but between digits, where 3 4 is not 34; "mixed" gives
            Chinese and Japanese characters one by one and everything else by words.

    Raises:
        errors.ConfigError: no such unit.
    """
    if unit not in _SPLITTERS:
        raise errors.ConfigError(
            f"unknown unit {unit!r}: expected one of {', '.join(UNITS)}."
            f"{errors.nearest(unit, UNITS)}"
        )
    return _SPLITTERS[unit](text)


def split(texts: Iterable[str], unit: str | Sequence[str]) -> list[list[str]]:
    """`units` of N texts, of one unit or of one for each."""
    if isinstance(unit, str):
        return [units(text, unit) for text in texts]
    return [units(text, own) for text, own in zip(texts, unit, strict=True)]


def _edits(said, heard, stretches):
    """(cluster, [substitutions, deletions, insertions]) of each stretch of a reference.

    Several alignments can be shortest ("a b" against "b a"): the one taken is RapidFuzz's, which
    jiwer reports too.
    An insertion between two stretches counts for the first.
    """
    ends = list(itertools.accumulate(length for _, length in stretches))
    found = [(name, [0, 0, 0]) for name, _ in stretches]
    for edit in Levenshtein.editops(said, heard):
        side = bisect.bisect_left if edit.tag == "insert" else bisect.bisect_right
        found[side(ends, edit.src_pos)][1][_KINDS.index(edit.tag)] += 1
    return found


def _tally(references, hypotheses, clusters):
    """[G 3] edits and [G] reference units by cluster, in the order of their names."""
    if clusters is None:
        clusters = [[(n, len(said))] for n, said in enumerate(references)]
    names = sorted({name for stretches in clusters for name, _ in stretches})
    place = {name: g for g, name in enumerate(names)}
    edits, lengths = np.zeros((len(names), 3), np.int64), np.zeros(len(names), np.int64)
    for said, heard, stretches in zip(references, hypotheses, clusters, strict=True):
        if sum(length for _, length in stretches) != len(said):
            raise ValueError(f"clusters {stretches} do not cover {len(said)} units")
        for name, length in stretches:
            lengths[place[name]] += length
        for name, found in _edits(said, heard, stretches):
            edits[place[name]] += found
    return edits, lengths


def score(references, hypotheses, *, unit="word", clusters=None, resamples=1000, seed=0) -> Score:
    """Scores hypotheses against references, utterance by utterance.

    A set whose references are all empty counts as one unit long: no errors give 0, each inserted
    unit 100 percent; the rate stays finite, so it can be written as JSON and averaged.

    Args:
        references: N normalised texts.
        hypotheses: N normalised texts in the same order.
        unit: see `units`; one, or N.
        clusters: N lists of (name, reference units): what each utterance consists of, in order, by
            the speaker or the recording that it belongs to. None: each utterance by itself.
        resamples: R, bootstrap draws of G clusters with replacement.
        seed: of the draws; equal seeds give equal intervals on every machine.

    Raises:
        errors.DataError: there is no utterance.
        ValueError: the lists differ in number, or `resamples` is below 1.
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
    """How an error rate changed on the same utterances, in points; interval as in Score."""

    difference: float  # below 0: fewer errors after
    ci_low: float | None
    ci_high: float | None


def difference(
    references, before, after, *, unit="word", clusters=None, resamples=1000, seed=0
) -> Difference:
    """Error rate of `after` less that of `before`: paired bootstrap over clusters.

    Args:
        references, before, after: N normalised texts each, in the same order.
        unit, clusters, resamples, seed: see `score`.

    Raises:
        errors.DataError: there is no utterance.
        ValueError: they differ in number.
    """
    references = split(references, unit)
    if not references:
        raise errors.DataError("nothing to compare: expected at least one utterance, found none")
    then, lengths = _tally(references, split(before, unit), clusters)
    now, _ = _tally(references, split(after, unit), clusters)
    more = (now - then).sum(1)
    low, high = _bootstrap(more, lengths, resamples, seed)
    return Difference(float(_rate(more.sum(), lengths.sum())), low, high)


def interval(row: Mapping, digits: int = 2) -> str:
    """The interval of a row of results for a person."""
    if row["ci_low"] is None:
        return "none"
    return f"{row['ci_low']:.{digits}f} to {row['ci_high']:.{digits}f}"


def _rate(wrong, length):
    return 100.0 * wrong / np.maximum(length, 1)


def _bootstrap(wrong, lengths, resamples, seed) -> tuple[float | None, float | None]:
    """[G] errors, [G] lengths -> the 2.5 and 97.5 percentiles of the rate over R resamples."""
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, found {resamples}")
    size, rates, left = len(wrong), [], resamples
    if size < FEWEST:
        return None, None
    rng = np.random.Generator(np.random.Philox(seed))
    while left:
        block = min(left, max(1, _DRAWS_AT_ONCE // size))
        drawn = rng.integers(size, size=(block, size))  # [R G]; blocks do not change the draws
        rates.append(_rate(wrong[drawn].sum(1), lengths[drawn].sum(1)))
        left -= block
    low, high = np.percentile(np.concatenate(rates), (2.5, 97.5))
    return float(low), float(high)
