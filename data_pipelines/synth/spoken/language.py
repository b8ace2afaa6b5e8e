"""What it takes to speak a language here: voices by dialect, a grammar, and names that sound alike.

A template of a grammar is words and slots (in capitals); a slot is one of its options, which may
hold slots again or be empty; NAME is a person's name. All is lower case and without punctuation. In
a language written without spaces they only part the slots.
"""

import dataclasses

import numpy as np

NAME = "NAME"


@dataclasses.dataclass(frozen=True)
class Spoken:
    """A language of the corpus.

    Attributes:
        tag: of text/languages.py.
        voices: dialect (its tag) -> voice of espeak-ng.
        space: what stands between two words.
        plain: templates without a name.
        named: templates with one.
        slots: slot -> its options.
        homophones: groups of spellings of one sound, to be heard in training.
        rare: made-up names, likewise in groups; each is heard once or twice in training.
        unseen: made-up names that training neither hears nor reads.
        unseen_dev: others of that kind, to choose by.
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
        """Draws a sentence, with `name` in it if there is one."""
        template = _draw(rng, self.named if name else self.plain)
        return self.space.join(self._words(template, rng, name, set()))

    def _words(self, template, rng, name, drawn):
        """Yields the words of a template; what a slot gave once it does not give again."""
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
    """Reads the texts of a language's file.

    Templates stand one a line, slots as `SLOT: option | option` (a line that begins with | goes
    on), groups of names as a/b with spaces between the groups.
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
