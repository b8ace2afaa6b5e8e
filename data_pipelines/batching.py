"""Examples -> Batch, in the fixed shape of a bucket.

Dims: B utterances, S samples, P prompt tokens, C context tokens, L transcript tokens.
"""

from collections.abc import Callable
import dataclasses
import itertools

import numpy as np

from seedasr_jax import batch as batches
from seedasr_jax.audio import files
from seedasr_jax.text import prompts


@dataclasses.dataclass(frozen=True)
class Fault:
    """Why a row has weight 0."""

    reason: str  # its kind, which is counted
    detail: str = ""  # what exactly was found
    recording: str = ""  # id of the recording, among those of a joined row


class Reading:
    """The prefix of the language model: instructions, and room for contexts."""

    def __init__(self, vocab, *, prompted: bool, context_tokens: int = 0):
        """Tokenises the two instructions; without `prompted` nothing is read at all."""
        self.context_tokens = context_tokens if prompted else 0
        both = (prompts.INSTRUCTION, prompts.INSTRUCTION_WITH_CONTEXT)
        ids = [np.asarray(vocab.encode(text) if prompted else (), np.int32) for text in both]
        self.plain, self.with_context = ids
        used = ids if self.context_tokens else ids[:1]
        self.prompt_tokens = max(map(len, used))


def collate(
    examples,
    bucket,
    reading: Reading,
    first: int,
    phones: int = 0,
    silence: bool = False,
    frames: Callable[[int], int] | None = None,
) -> tuple[batches.Batch, list[Fault | None]]:
    """Fills a batch.

    Args:
        examples: B times {"wave": [s] int16, "ids": [l] int32, "context_ids": [c] int32}, or the
            Fault of a bad row, or None where there is no row.
        bucket: (seconds, tokens, utterances); seconds 0 leave waves out, tokens 0 leave ids out.
        reading: the instruction of rows with and without a context.
        first: `position` of the first row.
        phones: room for the phones of an utterance; 0 where their times are not read.
        silence: whether a text may be empty.
        frames: samples -> frames that CTC has at most; None where no CTC is learned.

    Returns:
        The Batch (numpy), and the fault of each row, which then is empty and weighs 0.
    """
    seconds, tokens, _ = bucket
    samples = round(seconds * files.RATE)
    sizes = (samples, reading.prompt_tokens, reading.context_tokens, tokens)
    out = batches.zeros(len(examples), *sizes, phones=phones)
    out.position[:] += first
    out.prompt[:, : len(reading.plain)] = reading.plain
    out.prompt_length[:] = len(reading.plain)
    faults = []
    for row, example in enumerate(examples):
        fault = (
            example
            if isinstance(example, Fault)
            else _fault(example, bucket, reading, silence, frames)
        )
        faults.append(fault)
        if example is None or fault is not None:
            continue
        wave = example["wave"][: out.wave.shape[1]]
        out.wave[row, : len(wave)] = files.to_float(wave)
        out.wave_length[row] = len(wave)
        ids = example["ids"][:tokens]
        out.ids[row, : len(ids)] = ids
        out.ids_length[row] = len(ids)
        context = example["context_ids"] if reading.context_tokens else ()
        if len(context):
            out.context[row, : len(context)] = context
            out.context_length[row] = len(context)
            out.prompt[row, : len(reading.with_context)] = reading.with_context
            out.prompt_length[row] = len(reading.with_context)
        out.weight[row] = 1.0
    return out, faults


def _fault(example, bucket, reading, silence, frames) -> Fault | None:
    if example is None:
        return None
    seconds, tokens, _ = bucket
    lasts = len(example["wave"]) / files.RATE
    if seconds and lasts > seconds + files.ROUNDING_SECONDS:
        return Fault("too long", f"{lasts:.2f} s, its bucket takes {seconds:g} s")
    if tokens and not silence and not len(example["ids"]):
        return Fault("no text", "nothing is left of its text after normalisation")
    if tokens and len(example["ids"]) > tokens:
        return Fault("too many tokens", f"{len(example['ids'])}, its bucket takes {tokens}")
    if frames is not None:  # as in losses/ctc.py: a blank between equal neighbours
        ids, most = example["ids"].tolist(), frames(len(example["wave"]))
        needed = len(ids) + sum(one == other for one, other in itertools.pairwise(ids))
        if needed > most:
            detail = (
                f"CTC needs {needed} frames for its {len(ids)} tokens, {lasts:.2f} s give {most}"
            )
            return Fault("more tokens than frames", detail)
    size, room = len(example["context_ids"]), reading.context_tokens
    if room and size > room:
        return Fault("context too long", f"{size} tokens, data.contexts.tokens = {room}")
    return None
