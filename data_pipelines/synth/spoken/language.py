"""Definition of a language of the corpus: voices by dialect, a grammar, and homophonous names.

A template of the grammar consists of words and slots (in capitals). A slot is replaced by one of
its options, which may contain further slots or be empty; NAME is a person's name. All text is lower
case and without punctuation. In a language without spaces, spaces only separate the slots.
"""

import dataclasses

import numpy as np

NAME = "NAME"


@dataclasses.dataclass(frozen=True)
class Spoken:
    """A language of the corpus."""

    tag: str  # of text/languages.py
    voices: dict[str, str]  # tag of a dialect -> voice of espeak-ng
    space: str  # separator of words
    plain: tuple[str, ...]  # templates without a name
    named: tuple[str, ...]  # templates with a name
    slots: dict[str, tuple[str, ...]]  # slot -> its options
    homophones: tuple[tuple[str, ...], ...]  # groups of spellings of one sound, all in training
    rare: tuple[tuple[str, ...], ...]  # groups of made-up names, once or twice each in training
    unseen: tuple[tuple[str, ...], ...]  # groups of made-up names not in training, for testing
    unseen_dev: tuple[tuple[str, ...], ...]  # the same, for model selection

    def sentence(self, rng: np.random.Generator, name: str = "") -> str:
        """Draws a sentence; one that contains `name` if it is not empty."""
        template = _draw(rng, self.named if name else self.plain)
        return self.space.join(self._words(template, rng, name, set()))

    def _words(self, template, rng, name, drawn):
        """Yields the words of a template; `drawn` has the options used, which are not repeated."""
        for word in template.split():
            if word == NAME:
                yield name
            elif word.isupper():
                option = _draw(rng, [o for o in self.slots[word] if (word, o) not in drawn])
                drawn.add((word, option))
                yield from self._words(option, rng, name, drawn)
            else:
                yield word


def spoken(*, plain, named, slots, homophones, rare, unseen, unseen_dev, **others) -> Spoken:
    """Parses the texts of a language's file.

    Templates are one per line, slots `SLOT: option | option` (a line that begins with | continues
    the previous one), groups of names a/b, separated by spaces.
    """
    options = [line.split(":", 1) for line in _lines(slots.replace("\n    |", " |"))]
    return Spoken(
        plain=_lines(plain),
        named=_lines(named),
        slots={slot: tuple(map(str.strip, text.split("|"))) for slot, text in options},
        homophones=_groups(homophones),
        rare=_groups(rare),
        unseen=_groups(unseen),
        unseen_dev=_groups(unseen_dev),
        **others,
    )


def _draw(rng, options):
    return options[rng.integers(len(options))]


def _lines(text):
    return tuple(line.strip() for line in text.strip().splitlines())


def _groups(text):
    return tuple(tuple(group.split("/")) for group in text.split())
