"""What stands around the speech in the language model's input, as texts with slots."""

import dataclasses
import re

from seedasr_jax.config.bounds import require
from seedasr_jax.errors import nearest

SLOTS = ("context", "language", "speech")
SLOT = re.compile(r"\{(\w*)\}")


@dataclasses.dataclass(frozen=True)
class Prompt:
    """Templates of the language model's input, which text/template.py encodes.

    A template is a tuple of texts, which are encoded one by one. In a text, `{context}`,
    `{language}` (its English name) and `{speech}` are slots, and special tokens of the tokenizer
    are written as it spells them. The last token of a template that goes on behind the speech
    starts the transcript; otherwise the tokenizer's start token does.
    """

    plain: tuple[str, ...]  # of utterances without a context
    context: tuple[str, ...]  # of utterances with a context
    ends: tuple[str, ...]  # special tokens: the first is taught, any ends; (): the tokenizer's own

    def check(self):
        """Each template has the speech once, and a context once before it, or none."""
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
        """The texts between slots, each once, without white space around them."""
        found = (part.strip() for text in self.plain + self.context for part in split(text)[::2])
        return tuple(dict.fromkeys(filter(None, found)))


def split(text: str) -> list[str]:
    """Texts and names of slots in turn; the first and the last are texts, which may be empty."""
    return SLOT.split(text)
