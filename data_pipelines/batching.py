"""Examples -> Batch, in the fixed shape of a bucket.

Dims: B utterances, S samples, P prompt tokens, L transcript tokens.
"""

import dataclasses

from seedasr_jax import batch as batches
from seedasr_jax.audio import files

_CUT_SECONDS = 0.01  # more than this beyond the bucket is a lie of the manifest, less is rounding


@dataclasses.dataclass(frozen=True)
class Fault:
    """Why a row has weight 0."""

    reason: str  # its kind, which is counted
    detail: str = ""  # what exactly was found
    recording: str = ""  # id of the recording, among those of a joined row


def collate(examples, bucket, prompt, first: int) -> tuple[batches.Batch, list[Fault | None]]:
    """Fills a batch.

    Args:
        examples: B times {"wave": [s] int16, "ids": [l] int32}, or the Fault of a bad row, or None
            where there is no row.
        bucket: (seconds, tokens, utterances); seconds 0 leave waves out, tokens 0 leave ids out.
        prompt: [P] int32, the same for all rows.
        first: `position` of the first row.

    Returns:
        The Batch (numpy), and the fault of each row, which then is empty and weighs 0.
    """
    seconds, tokens, _ = bucket
    out = batches.zeros(len(examples), round(seconds * files.RATE), len(prompt), 0, tokens)
    out.position[:] += first
    out.prompt[:] = prompt
    out.prompt_length[:] = len(prompt)
    faults = []
    for row, example in enumerate(examples):
        fault = example if isinstance(example, Fault) else _fault(example, bucket)
        faults.append(fault)
        if example is None or fault is not None:
            continue
        wave = example["wave"][: out.wave.shape[1]]
        out.wave[row, : len(wave)] = files.to_float(wave)
        out.wave_length[row] = len(wave)
        ids = example["ids"][:tokens]
        out.ids[row, : len(ids)] = ids
        out.ids_length[row] = len(ids)
        out.weight[row] = 1.0
    return out, faults


def _fault(example, bucket) -> Fault | None:
    if example is None:
        return None
    seconds, tokens, _ = bucket
    heard = len(example["wave"]) / files.RATE
    if seconds and heard > seconds + _CUT_SECONDS:
        return Fault("too long", f"{heard:.2f} s, its bucket takes {seconds:g} s")
    if tokens and not len(example["ids"]):
        return Fault("no text", "nothing is left of its text after normalisation")
    if tokens and len(example["ids"]) > tokens:
        return Fault("too many tokens", f"{len(example['ids'])}, its bucket takes {tokens}")
    return None
