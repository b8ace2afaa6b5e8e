"""Errors where some words count more, and how well words that matter are recognised.

The paper trains with a weighted word error rate and reports keyword recall but defines neither
(Seed-ASR sections 3.5 and 3.6): the definitions here are ours. Texts and phrases come in
normalised; a phrase is one or more units of text/score.py.
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
    """Counts the errors of one shortest alignment, each with its weight.

    A substituted or deleted unit weighs `weight` inside an occurrence of a keyword in the
    reference, an inserted one inside an occurrence in the hypothesis; all others weigh 1. An
    inserted unit of a context phrase that is nowhere in the reference weighs `weight` too: it came
    from the context and not from the sound.

    Args:
        reference, hypothesis: normalised texts.
        keywords: phrases that matter.
        context: phrases of the context.
        weight: of an error in a keyword; 1 gives the plain error count.
        unit: word, char or mixed.
    """
    said, heard = units(reference, unit), units(hypothesis, unit)
    phrases = [units(phrase, unit) for phrase in keywords]
    informed = {word for phrase in context for word in units(phrase, unit)} - set(said)
    in_said, in_heard = _inside(said, phrases), _inside(heard, phrases)
    errors = 0.0
    for edit in Levenshtein.editops(said, heard):
        if edit.tag == "insert":
            matters = in_heard[edit.dest_pos] or heard[edit.dest_pos] in informed
        else:
            matters = in_said[edit.src_pos]
        errors += weight if matters else 1.0
    return Weighted(errors, sum(weight if inside else 1.0 for inside in in_said))


@dataclasses.dataclass(frozen=True)
class Keywords:
    """How keywords came through a set of utterances; rates in percent, 0 where nothing counts."""

    reference: int  # occurrences in the references
    hypothesis: int  # occurrences in the hypotheses
    found: int  # of the references', written in their place: each unit aligned with itself
    anywhere: int  # of the references', matched by as many occurrences anywhere in the hypothesis

    @property
    def recall(self) -> float:
        """Found of those in the references: strict recall."""
        return _percent(self.found, self.reference)

    @property
    def loose_recall(self) -> float:
        """The same, wherever in the utterance they stand."""
        return _percent(self.anywhere, self.reference)

    @property
    def precision(self) -> float:
        """Found of those in the hypotheses."""
        return _percent(self.found, self.hypothesis)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return _percent(2 * self.found, self.reference + self.hypothesis)


def keywords(references, hypotheses, phrases, *, unit) -> Keywords:
    """Counts keywords in a set.

    Args:
        references, hypotheses: N texts each.
        phrases: N lists of phrases, those that matter in each utterance.
        unit: word, char or mixed; one, or N.

    Raises:
        ValueError: they differ in number.
    """
    total = [0, 0, 0, 0]
    for said, heard, listed in _each(references, hypotheses, phrases, unit):
        place = _aligned(said, heard)
        for phrase in listed:
            there, ours = _occurrences(said, phrase), _occurrences(heard, phrase)
            found = sum(_whole(place[i : i + len(phrase)]) for i in there)
            counts = (len(there), len(ours), found, min(len(there), len(ours)))
            total = [a + b for a, b in zip(total, counts)]
    return Keywords(*total)


@dataclasses.dataclass(frozen=True)
class Leaks:
    """Phrases of the contexts that were written but not said."""

    utterances: int  # looked at
    leaking: int  # of them, with one such phrase or more
    insertions: int  # such phrases in all

    @property
    def rate(self) -> float:
        """Leaking utterances in percent."""
        return _percent(self.leaking, self.utterances)


def leaks(references, hypotheses, contexts, *, unit) -> Leaks:
    """Counts false insertions of context phrases: more in the hypothesis than in the reference.

    With distractors as contexts the rate is `false_insertions` of the results; with the wrong one
    of two names that sound alike it is `follow`.

    Args:
        references, hypotheses: N texts each.
        contexts: N lists of phrases, those of each utterance's context.
        unit: word, char or mixed; one, or N.

    Raises:
        ValueError: they differ in number.
    """
    counts = []
    for said, heard, listed in _each(references, hypotheses, contexts, unit):
        more = [len(_occurrences(heard, name)) - len(_occurrences(said, name)) for name in listed]
        counts.append(sum(max(0, n) for n in more))
    return Leaks(len(counts), sum(n > 0 for n in counts), sum(counts))


def _each(references, hypotheses, lists, unit):
    """N times reference, hypothesis and phrases in units, each phrase once, empty ones left out."""
    lists = list(lists)
    each = [unit] * len(lists) if isinstance(unit, str) else unit
    texts = split(references, each), split(hypotheses, each)
    for said, heard, listed, own in zip(*texts, lists, each, strict=True):
        once = dict.fromkeys(tuple(units(phrase, own)) for phrase in listed)
        yield said, heard, [list(phrase) for phrase in once if phrase]


def _occurrences(said, phrase) -> list[int]:
    """Where a phrase begins; occurrences may overlap."""
    size = len(phrase)
    return [i for i in range(len(said) - size + 1) if size and said[i : i + size] == phrase]


def _inside(said, phrases) -> list[bool]:
    """Of each unit, whether it stands inside an occurrence of a phrase."""
    inside = [False] * len(said)
    for phrase in phrases:
        for start in _occurrences(said, phrase):
            inside[start : start + len(phrase)] = [True] * len(phrase)
    return inside


def _aligned(said, heard) -> list[int | None]:
    """Of each unit, where one shortest alignment has the same unit in the hypothesis, or None."""
    place: list[int | None] = [None] * len(said)
    for block in Levenshtein.opcodes(said, heard):
        if block.tag == "equal":
            span = range(block.dest_start, block.dest_end)
            place[block.src_start : block.src_end] = span
    return place


def _whole(places) -> bool:
    """Whether a phrase stands in one piece in the hypothesis."""
    return None not in places and places == list(range(places[0], places[0] + len(places)))


def _percent(part, whole) -> float:
    return 100.0 * part / whole if whole else 0.0
