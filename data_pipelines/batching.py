"""Collates examples into a Batch with the fixed shape of a bucket.

Dims: B utterances, S samples, tokens: P prompt, C context, X suffix, L transcript.
"""

from collections.abc import Callable
import dataclasses
import itertools

from seedasr_jax import batch as batches
from seedasr_jax.audio import files
from seedasr_jax.text.template import Around, Template


@dataclasses.dataclass(frozen=True)
class Fault:
    """Why a row has weight 0."""

    reason: str  # category, by which rows are counted
    detail: str = ""  # what was found
    recording: str = ""  # id of the faulty segment of a joined row


class PromptText:
    """The text that the language model reads beside the speech, and the capacity for it."""

    def __init__(self, template: Template | None, context_tokens: int = 0):
        """`context_tokens`: limit of a context; `template` None: no text is read."""
        self.template = template
        self.context_tokens = context_tokens if template else 0
        reads = self.context_tokens > 0
        self._prompt, self._suffix = template.sizes(context=reads) if template else (0, 0)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """(P, C, X); C depends on `context_tokens`."""
        room = self.context_tokens and self.context_tokens + self.template.beside
        return self._prompt, room, self._suffix

    def before(self, example) -> int:
        """Number of tokens before the transcript in the answer of an example."""
        return len(self.template.before(example["language_row"])) if self.template else 0

    def around(self, row: int, context) -> Around:
        """The text around the speech of an utterance; `row`: its language's row in the template."""
        if self.template is None:
            return Around((), (), 0)
        return (self.template.with_context if len(context) else self.template.plain)[row]


def collate(
    examples,
    bucket,
    prompt_text: PromptText,
    first: int,
    silence: bool = False,
    frames: Callable[[int], int] | None = None,
) -> tuple[batches.Batch, list[Fault | None]]:
    """Fills a batch.

    Args:
        examples: B times {"wave": [s] int16, "ids": [l] int32, "context_ids": [c] int32,
            "language_row": int32}, or the Fault of a bad row, or None for a padding row.
        bucket: (seconds, tokens, utterances); 0 seconds: no waves, 0 tokens: no ids.
        prompt_text: the text around the speech of rows with and without a context.
        first: `position` of the first row.
        silence: whether a text may be empty.
        frames: samples -> maximum number of frames for CTC; None: CTC is not trained.

    Returns:
        (Batch in NumPy, fault of each row or None). A row with a fault is empty and has weight 0.
    """
    seconds, tokens, _ = bucket
    samples = round(seconds * files.RATE)
    prompt, room, suffix = prompt_text.sizes
    out = batches.zeros(len(examples), samples, prompt, room, tokens, suffix=suffix)
    out.position[:] += first
    _fill(out, slice(None), prompt_text.around(0, ()))
    faults = []
    for row, example in enumerate(examples):
        fault = _fault(example, bucket, prompt_text, silence, frames)
        faults.append(fault)
        if example is None or fault is not None:
            continue
        wave = example["wave"][: out.wave.shape[1]]
        out.wave[row, : len(wave)] = files.to_float(wave)
        out.wave_length[row] = len(wave)
        ids = example["ids"][:tokens]
        out.ids[row, : len(ids)] = ids
        out.ids_length[row] = len(ids)
        context = example["context_ids"] if prompt_text.context_tokens else ()
        out.context[row, : len(context)] = context
        out.context_length[row] = len(context)
        out.language[row] = example["language_row"]
        _fill(out, row, prompt_text.around(out.language[row], context))
        out.weight[row] = 1.0
    return out, faults


def _fill(batch, rows, around: Around):
    for name in ("prompt", "suffix"):
        ids, field = getattr(around, name), getattr(batch, name)
        field[rows] = 0
        field[rows, : len(ids)] = ids
        getattr(batch, f"{name}_length")[rows] = len(ids)
    batch.start[rows] = around.start


def _fault(example, bucket, prompt_text, silence, frames) -> Fault | None:
    if example is None or isinstance(example, Fault):
        return example
    seconds, tokens, _ = bucket
    lasts = len(example["wave"]) / files.RATE
    if seconds and lasts > seconds + files.ROUNDING_SECONDS:
        return Fault("too long", f"{lasts:.2f} s, its bucket takes {seconds:g} s")
    if tokens and not silence and len(example["ids"]) == prompt_text.before(example):
        return Fault("no text", "its text is empty after normalisation")
    if tokens and len(example["ids"]) > tokens:
        return Fault("too many tokens", f"{len(example['ids'])}, its bucket takes {tokens}")
    if frames is not None:  # as in losses/ctc.py: equal neighbours need a blank between them
        ids, most = example["ids"].tolist(), frames(len(example["wave"]))
        needed = len(ids) + sum(one == other for one, other in itertools.pairwise(ids))
        if needed > most:
            detail = f"CTC needs {needed} frames for {len(ids)} tokens, {lasts:.2f} s have {most}"
            return Fault("more tokens than frames", detail)
    size, (_, room, _) = len(example["context_ids"]), prompt_text.sizes
    if room and size > room:
        size -= prompt_text.template.beside
        detail = f"{size} tokens, data.contexts.tokens = {prompt_text.context_tokens}"
        return Fault("context too long", detail)
    return None
