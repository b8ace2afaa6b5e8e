"""Conventions by which texts are compared: normaliser and unit, per language or one for all."""

import collections
from collections.abc import Iterable, Mapping
import dataclasses

from seedasr_jax.text import languages, score
from seedasr_jax.text.normalize import normalize

BY_LANGUAGE = "language"  # instead of a normaliser's or unit's name: by each text's language


@dataclasses.dataclass(frozen=True)
class Convention:
    """Normaliser of both sides of a comparison, and the unit that is then counted."""

    normalizer: str  # name@version
    unit: str  # word, char or mixed

    def clean(self, text: str) -> str:
        """Normalises a text."""
        return normalize(self.normalizer, text)

    def units(self, text: str) -> list[str]:
        """Normalises a text and splits it into units."""
        return score.units(self.clean(text), self.unit)


@dataclasses.dataclass(frozen=True)
class Conventions:
    """The convention of each language."""

    unstated: Convention  # of texts whose language is not stated, or not in text/languages.py
    normalizer: str = BY_LANGUAGE  # or one name for all texts
    unit: str = BY_LANGUAGE  # likewise
    language: str = ""  # of all texts; "": as each states it

    def __post_init__(self):
        """Raises ConfigError if a name or the language is unknown."""
        if self.language:
            languages.lookup(self.language)
        for convention in (self.unstated, self.of("")):
            convention.units("")

    def of(self, language: str) -> Convention:
        """The convention of a language's texts; "": not stated."""
        row = languages.known(self.language or language) or self.unstated
        return Convention(
            row.normalizer if self.normalizer == BY_LANGUAGE else self.normalizer,
            row.unit if self.unit == BY_LANGUAGE else self.unit,
        )

    def used(self, tags: Iterable[str]) -> tuple[str, str]:
        """Normaliser and unit of texts in these languages: names common to all, or BY_LANGUAGE."""
        used = self if any(map(languages.known, tags)) and not self.language else self.of("")
        return used.normalizer, used.unit

    def undecided(self, tags: Iterable[str]) -> list[str]:
        """The tags that select no language: their texts are counted by `unstated`."""
        if self.language or BY_LANGUAGE not in (self.normalizer, self.unit):
            return []
        return [tag for tag in tags if not languages.known(tag)]

    def warning(self, tags: Iterable[str] | Mapping[str, int]) -> str:
        """A warning about texts, or {tag: number}, whose tags select no language; "" if none."""
        counts = collections.Counter(tags)
        found = self.undecided(counts)
        if not found:
            return ""
        tags, used = ", ".join(sorted(set(found) - {""})), self.of("")
        return (
            f"{sum(counts[tag] for tag in found)} of {counts.total()} utterances state no language"
            f" of text/languages.py{f' ({tags})' if tags else ''}: counted by {used.unit},"
            f" {used.normalizer}"
        )


def unknown(tag: str) -> bool:
    """Whether a tag is stated but its language is not in text/languages.py."""
    return bool(tag) and languages.known(tag) is None
