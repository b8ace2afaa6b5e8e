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
    """A language of the corpus.

    Attributes:
        tag: of text/languages.py.
        voices: {tag of a dialect: voice of espeak-ng}.
        space: separator of words.
        plain: templates without a name.
        named: templates with a name.
        slots: {slot: its options}.
        homophones: groups of spellings of one pronunciation, all used in training.
        rare: groups of made-up names, each used once or twice in training.
        unseen: groups of made-up names that training does not use, for testing.
        unseen_dev: the same, for model selection.
    """

    tag: str
    voices: dict[str, str]
    space: str
    plain: tuple[str, ...]
    named: tuple[str, ...]
    slots: dict[str, tuple[str, ...]]
    homophones: tuple[tuple[str, ...], ...]
    rare: tuple[tuple[str, ...], ...]
    unseen: tuple[tuple[str, ...], ...]
    unseen_dev: tuple[tuple[str, ...], ...]

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
