"""Prompt templates for one tokenizer: what stands around the speech, as ids.

Text between two special tokens is encoded together with what fills its slots. A filling never
yields a special token, whatever it spells.

Dims: P prompt tokens, C context tokens, X suffix tokens.
"""

from collections.abc import Sequence
import dataclasses
import re

from seedasr_jax.config import prompt as prompts
from seedasr_jax.errors import ConfigError, nearest
from seedasr_jax.text import languages

_LIKE_SPECIAL = re.compile(r"<\|[^<>|]*\|>")


@dataclasses.dataclass(frozen=True)
class Around:
    """The ids around the speech that do not depend on the context itself."""

    prompt: tuple[int, ...]  # [P], before the context or, without one, before the speech
    suffix: tuple[int, ...]  # [X], after the speech, without the start token
    start: int  # the start token, after which the answer begins


class Template:
    """The templates of a `config.Prompt`.

    Attributes:
        ends: ids of the end tokens; the first is taught, any ends.
        plain, with_context: Around of an utterance without and with a context, by `row`.
        beside: maximum number of ids in `context` beside those of the context itself.
        most_before: maximum number of ids of an answer before the transcript.
    """

    def __init__(self, prompt: prompts.Prompt, vocab):
        """Encodes all that no utterance changes; ConfigError: unknown special token, two starts."""
        self._vocab = vocab
        self._head = self._separate(prompt.answer.removesuffix("{text}"), "answer")
        self._answers = "{language}" in prompt.answer  # else a prompt may name the language
        if self._answers and not isinstance(self._head[-1], int):
            raise ConfigError(
                "model.prompt.answer: expected a special token between {language} and {text}, which"
                f" tells them apart, found {prompt.answer!r}"
            )
        prompted = any("{language}" in t for t in prompt.plain + prompt.context)
        self._names_language = prompted or self._answers
        self._rows = {tag: row for row, tag in enumerate(languages.LANGUAGES, 1)}
        known = languages.LANGUAGES.values()
        self._names = ("", *(row.name for row in known))  # "": not stated
        if self._answers:  # rows from len(known) + 1 on: the prompt states it
            stated = [languages.answered(row) for row in known]
            self._names = (languages.NOT_STATED, *stated, *stated)
        rows = range(len(self._names) if self._names_language else 1)
        plain, informed = (self._laid_out(prompt, key) for key in ("plain", "context"))
        self._context = informed.context
        self._beside = [len(self._ids(self._context, row)) for row in rows]
        self.beside = max(self._beside)
        for text in prompt.ends:
            if text not in vocab.special:
                raise self._unknown("ends", text)
        self.ends = tuple(vocab.special[text] for text in prompt.ends) or (vocab.eos_id,)
        tables = []
        for laid in (plain, informed):
            before = [self._ids(laid.prompt, row) for row in rows]
            after = [self._after(laid, row) for row in rows]
            tables.append(tuple(Around(b, a[:-1], a[-1]) for b, a in zip(before, after)))
        self.plain, self.with_context = tables
        self.most_before = max(len(self.before(row)) for row in rows)
        starts = {around.start for around in (*self.plain, *self.with_context)}
        same = all(a.start == b.start for a, b in zip(self.plain, self.with_context))
        if not same or (len(starts) > 1 and not self._answers):
            for key, laid in (("plain", plain), ("context", informed)):
                if laid.after and str(laid.after[-1]).rstrip().endswith("{language}"):
                    raise ConfigError(
                        f"model.prompt.{key}: expected text or a special token after the last"
                        " {language}, as the transcript starts after the template's last token"
                    )
            raise ConfigError(
                f"model.prompt: expected templates that end in the same token, found {len(starts)}"
                " different ones: end both in the same special token or text, or in {speech}"
            )

    def row(self, language: str, *, given: bool = False) -> int:
        """Row of `plain` and `with_context` for a language tag; 0: none is stated or read.

        `given`: the prompt states the language even if it is otherwise part of the answer.
        """
        if not self._names_language or (found := languages.known(language)) is None:
            return 0
        return self._rows[found.tag] + len(self._rows) * (given and self._answers)

    def answer(self, text: str, row: int = 0) -> tuple[int, ...]:
        """[L] ids of the answer: the transcript, and what stands before it."""
        return (*self.before(row), *self._vocab.encode(text))

    def before(self, row: int = 0) -> tuple[int, ...]:
        """The ids of an answer before the transcript."""
        return () if row > len(self._rows) else self._ids(self._head, row)

    def parse(self, ids: Sequence[int]) -> tuple[str, str]:
        """The language's tag, "" if none is stated, and the transcript, of the ids of an answer."""
        ids, name = list(ids), ""
        if self._answers and self._head[-1] in ids:
            at = ids.index(self._head[-1])
            form = "".join(item for item in self._head if isinstance(item, str))
            before, _, behind = form.partition("{language}")
            name = self._vocab.decode(ids[:at]).strip()
            name = name.removeprefix(before.strip()).removesuffix(behind.strip()).strip()
            name, ids = "" if name == languages.NOT_STATED else name, ids[at + 1 :]
        text = self._vocab.decode(ids)
        return name and languages.tag_of(name), text.strip() if self._answers else text

    def context(self, text: str, row: int = 0) -> tuple[int, ...]:
        """[C] ids of a context and of the text between it and the speech; () for no context."""
        return self._ids(self._context, row, text) if text else ()

    def size(self, text: str, row: int = 0) -> int:
        """Number of tokens of a context, without the text around it."""
        return len(self.context(text, row)) - self._beside[row] if text else 0

    def sizes(self, *, context: bool) -> tuple[int, int]:
        """Maximum P and X of utterances without a context and, if `context`, of those with one."""
        found = self.plain + (self.with_context if context else ())
        return max(len(one.prompt) for one in found), max(len(one.suffix) for one in found)

    def _after(self, laid, row) -> tuple[int, ...]:
        """The ids after the speech, with the start token."""
        head = self._head if row > len(self._rows) else []
        return self._ids([*laid.after, *head], row) or (self._vocab.start_id,)

    def _laid_out(self, prompt, key) -> "_Laid":
        before, after, spoken = [], [], False
        for text in getattr(prompt, key):
            head, speech, tail = text.partition("{speech}")
            (after if spoken else before).extend(self._separate(head, key))
            after.extend(self._separate(tail, key))
            spoken = spoken or bool(speech)
        places = (n for n, item in enumerate(before) if "{context}" in str(item))
        place = next(places, len(before))
        return _Laid(before[:place], before[place:], after)

    def _separate(self, text, key):
        items = self._vocab.separate(text)
        for item in items:
            for token in _LIKE_SPECIAL.findall(item) if isinstance(item, str) else ():
                ids = self._vocab.encode(token)
                if len(ids) != 1 or ids[0] == self._vocab.unk_id:
                    raise self._unknown(key, token)
        return items

    def _unknown(self, key, token):
        return ConfigError(
            f"model.prompt.{key}: expected special tokens of the tokenizer, found {token}, which it"
            " lacks: correct it, or name the tokenizer that has it in config.vocab.path."
            f"{nearest(token, self._vocab.special)}"
        )

    def _ids(self, items, row, context="") -> tuple[int, ...]:
        fillings, ids = {"language": self._names[row], "context": context}, []
        for item in items:
            if isinstance(item, str):
                text = prompts.SLOT.sub(lambda slot: fillings[slot[1]], item)
                ids += self._vocab.encode(text) if text else []
            else:
                ids.append(item)
        return tuple(ids)


@dataclasses.dataclass(frozen=True)
class _Laid:
    """The items of a template: ids of special tokens, and texts with slots."""

    prompt: list[int | str]
    context: list[int | str]  # from the text that contains the context, up to the speech
    after: list[int | str]
