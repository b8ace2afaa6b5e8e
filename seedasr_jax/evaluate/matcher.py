"""A string matcher: a baseline, without a language model, for models that read a list of names.

In CTC hypotheses, a span that is spelled almost like a name in the list is replaced by the name.
"""

from collections.abc import Iterable, Mapping, Sequence

from rapidfuzz.distance import Levenshtein

from seedasr_jax.evaluate import score
from seedasr_jax.text import prompts, weighted
from seedasr_jax.text.conventions import Conventions
from seedasr_jax.text.score import units

GRID = tuple(n / 20 for n in range(13))  # candidate thresholds
_SPREAD = 2  # maximum number of units in a span beyond those of a name: CTC splits unknown words


def replace(hypothesis: str, names: Sequence[str], *, threshold: float, unit: str) -> str:
    """Replaces spans of the hypothesis that almost spell a name by the name.

    The distance of a span from a name is the edit distance of their letters without spaces,
    divided by the letters of the longer. Replacement is greedy: nearest first, ties by the longer
    span. Each name is used at most once, and replaced spans do not overlap.

    Args:
        hypothesis, names: normalised texts.
        threshold: the largest distance at which a name is used, see `choose`.
        unit: unit of a span, and of the result, which has spaces between them.
    """
    words, found = units(hypothesis, unit), []
    for name in names:
        spelled = "".join(units(name, unit))
        longest = min(len(units(name, unit)) + _SPREAD, len(words))
        for size in range(1, longest + 1) if spelled else ():
            for start in range(len(words) - size + 1):
                span = "".join(words[start : start + size])
                distance = Levenshtein.normalized_distance(spelled, span)
                if distance <= threshold:
                    found.append((distance, -size, start, name))
    chosen, taken, written = {}, set(), set()
    for _, less, start, name in sorted(found):
        covered = range(start, start - less)
        if name not in written and taken.isdisjoint(covered):
            taken |= set(covered)
            written.add(name)
            chosen[start] = name
    kept = [chosen.get(n, "" if n in taken else word) for n, word in enumerate(words)]
    return " ".join(filter(None, kept))


def choose(references, hypotheses, lists, *, most: float, unit: str) -> float:
    """The largest threshold of GRID that inserts few names that were not spoken.

    `references`, `hypotheses`: N normalised texts each, of development data; `lists`: N lists of
    names, none of which is spoken; `most`: maximum percentage of utterances with an insertion.
    """
    lists = list(lists)
    for threshold in reversed(GRID):
        options = dict(threshold=threshold, unit=unit)
        written = [replace(text, names, **options) for text, names in zip(hypotheses, lists)]
        if weighted.leaks(references, written, lists, unit=unit).rate <= most:
            return threshold
    return GRID[0]


def thresholds(
    utterances: Sequence[dict], conventions: Conventions, *, most: float
) -> dict[str, float]:
    """`choose` for each language of development data, as `score.evaluate` returns them.

    The `context` of each utterance is a list of names, none of which is spoken.
    """
    found = {}
    for tag, selected in score.grouped(utterances, "language").items():
        lists = [_names(conventions, utterance) for utterance in selected]
        texts = score.compare(selected, conventions).texts
        found[tag] = choose(*texts, lists, most=most, unit=conventions.of(tag).unit)
    return found


def matched(
    utterances: Iterable[dict], conventions: Conventions, chosen: Mapping[str, float]
) -> list[dict]:
    """Applies `replace` to the hypothesis of each utterance, with the names of its `context`.

    `chosen`: threshold by language; 0, an exact match, for other languages.
    """
    out = []
    for utterance in utterances:
        tag = utterance["language"]
        convention, names = conventions.of(tag), _names(conventions, utterance)
        options = dict(threshold=chosen.get(tag, 0.0), unit=convention.unit)
        text = replace(convention.clean(utterance["hypothesis"]), names, **options)
        out.append(utterance | {"hypothesis": text})
    return out


def _names(conventions, utterance):
    clean = conventions.of(utterance["language"]).clean
    return [name for name in map(clean, prompts.split(utterance["context"])) if name]
