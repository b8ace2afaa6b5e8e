"""How texts are compared: each by the convention of its language, or all by one."""

import collections
from collections.abc import Iterable, Mapping
import dataclasses
import functools

from seedasr_jax import errors
from seedasr_jax.text import languages, score
from seedasr_jax.text.normalize import normalize

BY_LANGUAGE = "language"  # in the place of a name: each text's own


@dataclasses.dataclass(frozen=True)
class Convention:
    """What both sides of a comparison go through, and what is counted then."""

    normalizer: str  # name@version
    unit: str  # word, char or mixed

    def clean(self, text: str) -> str:
        """The text, normalised."""
        return normalize(self.normalizer, text)

    def units(self, text: str) -> list[str]:
        """The units of a text that is not normalised yet."""
        return score.units(self.clean(text), self.unit)


@dataclasses.dataclass(frozen=True)
class Conventions:
    """The convention of each language.

    Attributes:
        unstated: of texts whose language is not stated, or not in text/languages.py.
        normalizer, unit: BY_LANGUAGE, or the name that all take.
        language: of all texts; "": as each states it.
    """

    unstated: Convention
    normalizer: str = BY_LANGUAGE
    unit: str = BY_LANGUAGE
    language: str = ""

    def __post_init__(self):
        """Raises ConfigError where a name or the language is unknown."""
        if self.language:
            languages.lookup(self.language)
        for convention in (self.unstated, self.of("")):
            convention.units("")

    def of(self, language: str) -> Convention:
        """The convention of a language's texts; "": not stated."""
        own = _known(self.language or language) or self.unstated
        return Convention(
            own.normalizer if self.normalizer == BY_LANGUAGE else self.normalizer,
            own.unit if self.unit == BY_LANGUAGE else self.unit,
        )

    def used(self, tags: Iterable[str]) -> tuple[str, str]:
        """Normaliser and unit of texts in these languages: what all take, or BY_LANGUAGE."""
        own = self if any(map(_known, tags)) and not self.language else self.of("")
        return own.normalizer, own.unit

    def undecided(self, tags: Iterable[str]) -> list[str]:
        """Those of the tags that say too little: their texts are counted as `unstated`."""
        if self.language or BY_LANGUAGE not in (self.normalizer, self.unit):
            return []
        return [tag for tag in tags if not _known(tag)]

    def warning(self, tags: Iterable[str] | Mapping[str, int]) -> str:
        """A line about those of N texts whose language says too little; "" where there is none.

        `tags`: their languages, or language -> texts.
        """
        counts = collections.Counter(tags)
        found = self.undecided(counts)
        if not found:
            return ""
        named, taken = ", ".join(sorted(set(found) - {""})), self.of("")
        few = sum(counts[tag] for tag in found)
        return (
            f"{few} of {counts.total()} utterances state no language of text/languages.py"
            f"{f' ({named})' if named else ''}: counted by {taken.unit}, {taken.normalizer}"
        )


@functools.cache
def _known(tag: str) -> languages.Language | None:
    try:
        return languages.lookup(tag) if tag else None
    except errors.ConfigError:
        return None


def unknown(tag: str) -> bool:
    """Whether a tag is stated and says nothing: text/languages.py has no such language."""
    return bool(tag) and _known(tag) is None
