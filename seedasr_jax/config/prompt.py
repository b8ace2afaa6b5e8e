"""Templates of the language model's input around the speech: texts with slots."""

import dataclasses
import re

from seedasr_jax.config.bounds import require, require_once
from seedasr_jax.errors import nearest

SLOTS = ("context", "language", "speech")
SLOT = re.compile(r"\{(\w*)\}")
_NEAR_SLOT = re.compile(rf"\{{(\s+(?:{'|'.join(SLOTS)})\s*|(?:{'|'.join(SLOTS)})\s+)\}}")


@dataclasses.dataclass(frozen=True)
class Prompt:
    """Templates of the language model's input, encoded by text/template.py.

    A template is a tuple of texts, each encoded separately. In a text, `{context}`, `{language}`
    (the English name) and `{speech}` are slots, and special tokens are spelled as in the tokenizer.
    The answer starts after the last token of a template that continues after the speech, else after
    the tokenizer's start token.

    The answer is what the language model generates: the transcript, `{text}`, possibly behind the
    name of its language and a special token. Where the language is given, what stands before the
    transcript belongs to the prompt.
    """

    plain: tuple[str, ...]  # for utterances without a context
    context: tuple[str, ...]  # for utterances with a context
    answer: str  # {text}, or {language} and a special token before it
    ends: tuple[str, ...]  # end tokens: the first is taught, any ends; (): the tokenizer's

    def check(self):
        """Checks for one {speech} per template and, in `context`, one {context} before it."""
        for key in ("plain", "context"):
            texts = getattr(self, key)
            require(all(texts), key, "texts that are not empty", texts)
            for near in _NEAR_SLOT.findall("".join(texts)):
                require(False, key, f"slots without blanks, such as {{{near.strip()}}}", texts)
            slots = [slot for text in texts for slot in SLOT.findall(text)]
            for slot in slots:
                found = f"{{{slot}}}.{nearest(slot, SLOTS)}"
                require(slot in SLOTS, key, f"slots {{{'}, {'.join(SLOTS)}}}", found)
            once = "{speech} once, where the speech stands"
            require(slots.count("speech") == 1, key, once, texts)
        expected = "no {context}: utterances with one take the template prompt.context"
        require("{context}" not in "".join(self.plain), "plain", expected, self.plain)
        slots = [slot for text in self.context for slot in SLOT.findall(text)]
        in_order = [slot for slot in slots if slot != "language"] == ["context", "speech"]
        require(in_order, "context", "{context} once, before {speech}", self.context)
        head, text, rest = self.answer.partition("{text}")
        expected = "{text} once, at the end"
        require(text and not rest and text not in head, "answer", expected, self.answer)
        slots = [slot for slot in SLOT.findall(head) if slot != "language"]
        require(not slots, "answer", "no slots but {language} before {text}", self.answer)
        for text in self.plain + self.context if "{language}" in head else ():
            named = "no {language}: it is part of prompt.answer"
            require("{language}" not in text, "plain", named, text)
        require(all(self.ends), "ends", "special tokens, spelled as the tokenizer does", self.ends)
        require_once(self.ends, "ends", "each special token once")

    @property
    def literals(self) -> tuple[str, ...]:
        """The distinct texts between slots, stripped of white space."""
        given = (SLOT.split(text)[::2] for text in (*self.plain, *self.context, self.answer))
        texts = (text.strip() for between in given for text in between)
        return tuple(dict.fromkeys(filter(None, texts)))
