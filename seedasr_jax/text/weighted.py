"""Weighted errors, keyword recall and precision, and false insertions of context phrases.

The paper uses a weighted word error rate and keyword recall but defines neither (Seed-ASR sections
3.5 and 3.6): the definitions here are ours. Texts and phrases are normalised; a phrase is one or
more units of text/score.py.
"""

from collections.abc import Sequence
import dataclasses

from rapidfuzz.distance import Levenshtein

from seedasr_jax.text.score import split, units


@dataclasses.dataclass(frozen=True)
class Weighted:
    """Weighted errors of one utterance."""

    errors: float  # sum of the errors' weights
    length: float  # sum of the weights of the reference's units

    @property
    def rate(self) -> float:
        """Errors per reference unit, as a fraction; an empty reference counts as one unit."""
        return self.errors / max(self.length, 1.0)


def weighted_errors(
    reference: str,
    hypothesis: str,
    *,
    keywords: Sequence[str] = (),
    context: Sequence[str] = (),
    weight: float,
    unit: str,
) -> Weighted:
    """Counts the errors of one shortest alignment of normalised texts, each with its weight.

    A substituted or deleted unit has weight `weight` within a keyword of the reference, an inserted
    one within a keyword of the hypothesis; all others have weight 1. An inserted unit of a context
    phrase has weight `weight` too if the reference lacks it: it must have been copied.
    """
    reference, hypothesis = units(reference, unit), units(hypothesis, unit)
    phrases = [units(phrase, unit) for phrase in keywords]
    copied = {word for phrase in context for word in units(phrase, unit)} - set(reference)
    in_reference, in_hypothesis = _inside(reference, phrases), _inside(hypothesis, phrases)
    errors = 0.0
    for edit in Levenshtein.editops(reference, hypothesis):
        if edit.tag == "insert":
            weighted = in_hypothesis[edit.dest_pos] or hypothesis[edit.dest_pos] in copied
        else:
            weighted = in_reference[edit.src_pos]
        errors += weight if weighted else 1.0
    return Weighted(errors, sum(weight if inside else 1.0 for inside in in_reference))


@dataclasses.dataclass(frozen=True)
class Keywords:
    """Recognition of keywords in a set of utterances; rates in percent, 0 if undefined."""

    reference: int  # occurrences in the references
    hypothesis: int  # occurrences in the hypotheses
    found: int  # occurrences in the references of which each unit is aligned with an equal one
    anywhere: int  # occurrences in the references with a counterpart anywhere in the hypothesis

    @property
    def recall(self) -> float:
        """Strict recall: fraction of occurrences in the references that are found in place."""
        return _percent(self.found, self.reference)

    @property
    def loose_recall(self) -> float:
        """Recall with occurrences anywhere in the utterance."""
        return _percent(self.anywhere, self.reference)

    @property
    def precision(self) -> float:
        """Fraction of occurrences in the hypotheses that are found in place."""
        return _percent(self.found, self.hypothesis)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return _percent(2 * self.found, self.reference + self.hypothesis)


def keywords(references, hypotheses, phrases, *, unit) -> Keywords:
    """Counts keywords in N references and hypotheses; `phrases`: N lists; `unit`: one or N."""
    total = [0, 0, 0, 0]
    for reference, hypothesis, keywords in _each(references, hypotheses, phrases, unit):
        place = _aligned(reference, hypothesis)
        for phrase in keywords:
            starts = _occurrences(reference, phrase)
            written = len(_occurrences(hypothesis, phrase))
            found = sum(_contiguous(place[i : i + len(phrase)]) for i in starts)
            counts = (len(starts), written, found, min(len(starts), written))
            total = [a + b for a, b in zip(total, counts)]
    return Keywords(*total)


@dataclasses.dataclass(frozen=True)
class Leaks:
    """False insertions: context phrases in hypotheses that are not in the references."""

    utterances: int
    leaking: int  # utterances with at least one such phrase
    insertions: int  # number of such phrases

    @property
    def rate(self) -> float:
        """Percentage of leaking utterances."""
        return _percent(self.leaking, self.utterances)


def leaks(references, hypotheses, contexts, *, unit) -> Leaks:
    """Counts false insertions of context phrases: more in the hypothesis than in the reference.

    With distractors as contexts the rate is `false_insertions` of the results; with the wrong one
    of two names of equal sound it is `follow`. `contexts`: N lists of phrases; `unit`: one or N.
    """
    counts = []
    for reference, hypothesis, phrases in _each(references, hypotheses, contexts, unit):
        more = [
            len(_occurrences(hypothesis, phrase)) - len(_occurrences(reference, phrase))
            for phrase in phrases
        ]
        counts.append(sum(max(0, n) for n in more))
    return Leaks(len(counts), sum(n > 0 for n in counts), sum(counts))


def _each(references, hypotheses, lists, unit):
    """Yields N times (reference, hypothesis, distinct non-empty phrases), all as lists of units."""
    lists = list(lists)
    each_unit = [unit] * len(lists) if isinstance(unit, str) else unit
    texts = split(references, each_unit), split(hypotheses, each_unit)
    for reference, hypothesis, phrases, unit in zip(*texts, lists, each_unit, strict=True):
        distinct = dict.fromkeys(tuple(units(phrase, unit)) for phrase in phrases)
        yield reference, hypothesis, [list(phrase) for phrase in distinct if phrase]


def _occurrences(text, phrase) -> list[int]:
    """Start indices of a phrase in a text, both in units; occurrences may overlap."""
    size = len(phrase)
    return [i for i in range(len(text) - size + 1) if size and text[i : i + size] == phrase]


def _inside(text, phrases) -> list[bool]:
    """Whether each unit of a text is within an occurrence of any phrase."""
    inside = [False] * len(text)
    for phrase in phrases:
        for start in _occurrences(text, phrase):
            inside[start : start + len(phrase)] = [True] * len(phrase)
    return inside


def _aligned(reference, hypothesis) -> list[int | None]:
    """For each unit of the reference, the index of its equal in one shortest alignment, or None."""
    place: list[int | None] = [None] * len(reference)
    for block in Levenshtein.opcodes(reference, hypothesis):
        if block.tag == "equal":
            place[block.src_start : block.src_end] = range(block.dest_start, block.dest_end)
    return place


def _contiguous(places) -> bool:
    """Whether the units of a phrase are neighbours in the hypothesis."""
    return None not in places and places == list(range(places[0], places[0] + len(places)))


def _percent(count, total) -> float:
    return 100.0 * count / total if total else 0.0
