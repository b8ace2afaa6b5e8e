"""Word, character and mixed error rates with a bootstrap interval.

Error rate = (substitutions + deletions + insertions) / reference units, in percent, over a whole
set (never the mean of utterances). Texts come in normalised.

Dims: N utterances, R resamples.
"""

import dataclasses
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
_DRAWS_AT_ONCE = 1 << 22  # indices of one bootstrap block: 32 MiB however large the set


@dataclasses.dataclass(frozen=True)
class Score:
    """Errors of a set of utterances; rates in percent, the interval holds 95 %."""

    utterances: int
    ref_len: int
    substitutions: int
    deletions: int
    insertions: int
    error_rate: float
    ci_low: float
    ci_high: float


def units(text: str, unit: str) -> list[str]:
    """Splits a text into what an error rate counts.

    Args:
        text: normalised text.
        unit: "word" splits at white space; "char" gives code points, white space left out, so that
            spacing conventions cost nothing; "mixed" gives Chinese and Japanese characters one by
            one and everything else by words.

    Raises:
        errors.ConfigError: no such unit.
    """
    if unit not in _SPLITTERS:
        raise errors.ConfigError(
            f"unknown unit {unit!r}: expected one of {', '.join(UNITS)}."
            f"{errors.nearest(unit, UNITS)}"
        )
    return _SPLITTERS[unit](text)


def counts(reference_units, hypothesis_units) -> tuple[int, int, int]:
    """Returns (substitutions, deletions, insertions) of one shortest alignment.

    Their sum is the edit distance. Several alignments can be shortest ("a b" against "b a"): the
    one taken is RapidFuzz's, which jiwer reports too.
    """
    tags = [edit.tag for edit in Levenshtein.editops(reference_units, hypothesis_units)]
    return tags.count("replace"), tags.count("delete"), tags.count("insert")


def score(references, hypotheses, *, unit="word", resamples=1000, seed=0) -> Score:
    """Scores hypotheses against references, utterance by utterance.

    A set whose references are all empty counts as one unit long: no errors give 0, each inserted
    unit 100 percent; the rate stays finite, so it can be written as JSON and averaged.

    Args:
        references: N normalised texts.
        hypotheses: N normalised texts in the same order.
        unit: see `units`.
        resamples: R, bootstrap draws of N utterances with replacement.
        seed: of the draws; equal seeds give equal intervals on every machine.

    Raises:
        errors.DataError: there is no utterance.
        ValueError: the two differ in number, or `resamples` is below 1.
    """
    references, hypotheses = list(references), list(hypotheses)
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references but {len(hypotheses)} hypotheses")
    if not references:
        raise errors.DataError("nothing to score: expected at least one utterance, found none")
    pairs = [(units(r, unit), units(h, unit)) for r, h in zip(references, hypotheses)]
    edits = np.array([counts(r, h) for r, h in pairs], np.int64)  # [N 3]
    lengths = np.array([len(r) for r, _ in pairs], np.int64)  # [N]
    wrong = edits.sum(1)
    low, high = _bootstrap(wrong, lengths, resamples, seed)
    substitutions, deletions, insertions = edits.sum(0).tolist()
    return Score(
        utterances=len(pairs),
        ref_len=int(lengths.sum()),
        substitutions=substitutions,
        deletions=deletions,
        insertions=insertions,
        error_rate=float(_rate(wrong.sum(), lengths.sum())),
        ci_low=low,
        ci_high=high,
    )


@dataclasses.dataclass(frozen=True)
class Difference:
    """How an error rate changed on the same utterances, in points; the interval holds 95 %."""

    difference: float  # below 0: fewer errors after
    ci_low: float
    ci_high: float


def difference(references, before, after, *, unit="word", resamples=1000, seed=0) -> Difference:
    """Error rate of `after` less that of `before`: paired bootstrap over utterances.

    Args:
        references, before, after: N normalised texts each, in the same order.
        unit: see `units`.
        resamples: R.
        seed: of the draws.

    Raises:
        errors.DataError: there is no utterance.
        ValueError: they differ in number.
    """
    references = [units(text, unit) for text in references]
    if not references:
        raise errors.DataError("nothing to compare: expected at least one utterance, found none")

    def edits(texts):
        pairs = zip(references, texts, strict=True)
        return np.array([Levenshtein.distance(r, units(h, unit)) for r, h in pairs], np.int64)

    more = edits(after) - edits(before)  # [N]
    lengths = np.array([len(r) for r in references], np.int64)
    low, high = _bootstrap(more, lengths, resamples, seed)
    return Difference(float(_rate(more.sum(), lengths.sum())), low, high)


def _rate(wrong, length):
    return 100.0 * wrong / np.maximum(length, 1)


def _bootstrap(wrong, lengths, resamples, seed) -> tuple[float, float]:
    """[N] errors, [N] lengths -> the 2.5 and 97.5 percentiles of the rate over R resamples."""
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, found {resamples}")
    rng = np.random.Generator(np.random.Philox(seed))
    size, rates, left = len(wrong), [], resamples
    while left:
        block = min(left, max(1, _DRAWS_AT_ONCE // size))
        drawn = rng.integers(size, size=(block, size))  # [R N]; blocks do not change the draws
        rates.append(_rate(wrong[drawn].sum(1), lengths[drawn].sum(1)))
        left -= block
    low, high = np.percentile(np.concatenate(rates), (2.5, 97.5))
    return float(low), float(high)
