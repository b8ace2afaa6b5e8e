"""A string matcher: what a list of names is worth without a language model.

The names of a list are laid over the hypothesis of CTC: where a stretch of it is spelled almost
like a name, the name is written there. A baseline beside a model that reads the list itself.
"""

from collections.abc import Iterable, Mapping, Sequence

from rapidfuzz.distance import Levenshtein

from seedasr_jax.evaluate import score
from seedasr_jax.text import prompts, weighted
from seedasr_jax.text.conventions import Conventions
from seedasr_jax.text.score import units

GRID = tuple(n / 20 for n in range(13))  # thresholds to choose among
_SPREAD = 2  # units that a stretch may have more than a name: CTC cuts what it does not know


def replace(hypothesis: str, names: Sequence[str], *, threshold: float, unit: str) -> str:
    """The hypothesis with the names that it almost spells.

    The distance of a stretch from a name is the edit distance of their letters, spaces left out,
    over the letters of the longer. The nearest goes first, of two equally near the longer stretch;
    each name is written once at most, and no stretch is used twice.

    Args:
        hypothesis, names: normalised texts.
        threshold: the largest distance at which a name is written. Sensible values are the caller's
            to find, on development data: see `choose`.
        unit: word, char or mixed: what a stretch is made of.

    Returns:
        Its units, parted by spaces.
    """
    heard, found = units(hypothesis, unit), []
    for name in names:
        spelled = "".join(units(name, unit))
        longest = min(len(units(name, unit)) + _SPREAD, len(heard))
        for size in range(1, longest + 1) if spelled else ():
            for start in range(len(heard) - size + 1):
                stretch = "".join(heard[start : start + size])
                distance = Levenshtein.normalized_distance(spelled, stretch)
                if distance <= threshold:
                    found.append((distance, -size, start, name))
    chosen, taken, written = {}, set(), set()
    for _, less, start, name in sorted(found):
        span = range(start, start - less)
        if name not in written and taken.isdisjoint(span):
            taken |= set(span)
            written.add(name)
            chosen[start] = name
    kept = [chosen.get(n, "" if n in taken else word) for n, word in enumerate(heard)]
    return " ".join(filter(None, kept))


def choose(
    references: Sequence[str],
    hypotheses: Sequence[str],
    lists: Iterable[Sequence[str]],
    *,
    most: float,
    unit: str,
) -> float:
    """The largest threshold of GRID that writes few names that were not said.

    Args:
        references, hypotheses: N normalised texts each, of development data.
        lists: N lists of names, none of which is said.
        most: percent of the utterances that may get such a name.
        unit: word, char or mixed.
    """
    lists = list(lists)
    for threshold in reversed(GRID):
        written = [
            replace(text, names, threshold=threshold, unit=unit)
            for text, names in zip(hypotheses, lists)
        ]
        if weighted.leaks(references, written, lists, unit=unit).rate <= most:
            return threshold
    return GRID[0]


def thresholds(
    utterances: Sequence[dict], conventions: Conventions, *, most: float
) -> dict[str, float]:
    """`choose` for each language.

    Args:
        utterances: of development data, as `score.evaluate` returns them; in `context` they have
            a list of names, none of which is said.
        conventions: how they are normalised and split.
        most: percent of the utterances that may get such a name.
    """
    found = {}
    for tag, own in score.by_language(utterances).items():
        lists = [_listed(conventions, utterance) for utterance in own]
        texts = score.compare(own, conventions).texts
        found[tag] = choose(*texts, lists, most=most, unit=conventions.of(tag).unit)
    return found


def matched(
    utterances: Iterable[dict], conventions: Conventions, chosen: Mapping[str, float]
) -> list[dict]:
    """Utterances with the names of their `context` in the hypothesis, as of `replace`.

    `chosen`: threshold by language; one without writes only what is spelled exactly.
    """
    out = []
    for utterance in utterances:
        tag = utterance["language"]
        own = conventions.of(tag)
        text = replace(
            own.clean(utterance["hypothesis"]),
            _listed(conventions, utterance),
            threshold=chosen.get(tag, 0.0),
            unit=own.unit,
        )
        out.append(utterance | {"hypothesis": text})
    return out


def _listed(conventions, utterance):
    clean = conventions.of(utterance["language"]).clean
    return [name for name in map(clean, prompts.split(utterance["context"])) if name]
