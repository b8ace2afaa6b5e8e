"""Templates of the language model's input around the speech: texts with slots."""

import dataclasses
import re

from seedasr_jax.config.bounds import require
from seedasr_jax.errors import nearest

SLOTS = ("context", "language", "speech")
SLOT = re.compile(r"\{(\w*)\}")


@dataclasses.dataclass(frozen=True)
class Prompt:
    """Templates of the language model's input, encoded by text/template.py.

    A template is a tuple of texts, each encoded separately. In a text, `{context}`, `{language}`
    (the English name) and `{speech}` are slots, and special tokens are spelled as in the tokenizer.
    The transcript starts after the last token of a template that continues after the speech, else
    after the tokenizer's start token.
    """

    plain: tuple[str, ...]  # for utterances without a context
    context: tuple[str, ...]  # for utterances with a context
    ends: tuple[str, ...]  # end tokens: the first is taught, any ends; (): the tokenizer's

    def check(self):
        """Checks for one {speech} per template and, in `context`, one {context} before it."""
        for key in ("plain", "context"):
            texts = getattr(self, key)
            require(all(texts), key, "texts that are not empty", texts)
            slots = [slot for text in texts for slot in SLOT.findall(text)]
            for slot in slots:
                found = f"{{{slot}}}.{nearest(slot, SLOTS)}"
                require(slot in SLOTS, key, f"slots {{{'}, {'.join(SLOTS)}}}", found)
            once = "{speech} once, where the speech stands"
            require(slots.count("speech") == 1, key, once, texts)
        require(
            not any("{context}" in text for text in self.plain),
            "plain",
            "no {context}: utterances with one take the template prompt.context",
            self.plain,
        )
        slots = SLOT.findall("".join(self.context))
        once = slots.count("context") == 1 and slots.index("context") < slots.index("speech")
        require(once, "context", "{context} once, before {speech}", self.context)
        require(all(self.ends), "ends", "special tokens, spelled as the tokenizer does", self.ends)
        twice = len(set(self.ends)) < len(self.ends)
        require(not twice, "ends", "each special token once", self.ends)

    @property
    def literals(self) -> tuple[str, ...]:
        """The distinct texts between slots, stripped of white space."""
        found = (part.strip() for text in self.plain + self.context for part in split(text)[::2])
        return tuple(dict.fromkeys(filter(None, found)))


def split(text: str) -> list[str]:
    """Alternating texts and slot names; the first and the last are texts, possibly empty."""
    return SLOT.split(text)
