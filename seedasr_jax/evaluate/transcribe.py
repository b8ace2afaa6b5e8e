"""Waves and files to text, from any checkpoint; needs neither TensorFlow nor SeqIO.

Dims: B batch, S samples.
"""

import dataclasses
import importlib
import math

import jax
import numpy as np

from seedasr_jax import checkpoint as checkpoints
from seedasr_jax.audio import files
from seedasr_jax.batch import Batch
from seedasr_jax.decode import recogniser as recognisers
from seedasr_jax.decode.recogniser import Recogniser
from seedasr_jax.errors import DataError, UserError
from seedasr_jax.text import prompts, vocab

BATCH = 8  # utterances decoded at a time
TOKENS_PER_SECOND = 12  # at most, of fast speech in small pieces
SHORTEST = 1.0  # seconds of the smallest shape; the next are twice, four times ... as long


@dataclasses.dataclass(frozen=True)
class Segment:
    """A stretch of audio and what was said in it."""

    start: float  # seconds
    end: float
    text: str


@dataclasses.dataclass(frozen=True)
class Result:
    """A transcript."""

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]  # natural, one per token
    segments: tuple[Segment, ...]


class Transcriber:
    """A recogniser that takes waves; shapes are padded to few sizes, so that few are compiled."""

    def __init__(self, recogniser: Recogniser, label: str):
        """`label`: of the checkpoint, for people."""
        self.recogniser, self.label = recogniser, label
        able = recognisers.methods(recogniser.parts)
        if not able:
            raise UserError(
                f"{label}: its parts ({', '.join(recogniser.parts)}) hear nothing; take a stage"
                " that has an encoder"
            )
        self.method = able[0]
        self.prompt = np.array(recogniser.vocab.encode(prompts.INSTRUCTION), np.int32)

    def transcribe(self, wave, rate: int) -> Result:
        """Transcribes one wave.

        Args:
            wave: [S] or [S channels], float in [-1, 1] or int16.
            rate: samples per second.

        Raises:
            DataError: an empty wave.
        """
        wave = np.asarray(wave)
        if wave.dtype == np.int16:
            wave = files.to_float(wave)
        return self.transcribe_many([files.resample(wave.astype(np.float32), rate)])[0]

    def transcribe_files(self, paths) -> list[Result]:
        """Transcribes files in the order given.

        Raises:
            DataError: a file that is missing, not audio or empty.
        """
        return self.transcribe_many([files.to_float(files.read(path)) for path in paths])

    def transcribe_many(self, waves) -> list[Result]:
        """Transcribes waves [S] float32 at 16 kHz, those of like length together."""
        results: list[Result | None] = [None] * len(waves)
        by_size: dict[float, list[int]] = {}
        for number, wave in enumerate(waves):
            if wave.size == 0:
                raise DataError(f"wave {number}: expected sound, found no samples")
            by_size.setdefault(_size(len(wave) / files.RATE), []).append(number)
        for seconds, numbers in sorted(by_size.items()):
            for start in range(0, len(numbers), BATCH):
                chosen = numbers[start : start + BATCH]
                batch = self._batch([waves[n] for n in chosen], seconds)
                tokens = max(16, math.ceil(TOKENS_PER_SECOND * seconds))
                for n, found in zip(chosen, self.recogniser.decode(batch, self.method, tokens)):
                    segment = Segment(0.0, len(waves[n]) / files.RATE, found.text)
                    results[n] = Result(found.text, found.tokens, found.logprobs, (segment,))
        return results

    def _batch(self, waves, seconds) -> Batch:
        rows = 1 if len(waves) == 1 else BATCH
        padded = np.zeros((rows, round(seconds * files.RATE)), np.float32)
        length = np.zeros(rows, np.int32)
        for row, wave in enumerate(waves):
            padded[row, : len(wave)], length[row] = wave, len(wave)
        nothing = np.zeros((rows, 0), np.int32)
        return Batch(
            wave=padded,
            wave_length=length,
            prompt=np.tile(self.prompt, (rows, 1)),
            prompt_length=np.full(rows, len(self.prompt), np.int32),
            context=nothing,
            context_length=np.zeros(rows, np.int32),
            ids=nothing,
            ids_length=np.zeros(rows, np.int32),
            weight=(length > 0).astype(np.float32),
            position=np.arange(rows, dtype=np.int32),
        )


def _size(seconds: float) -> float:
    return SHORTEST * 2 ** max(0, math.ceil(math.log2(seconds / SHORTEST)))


def open_recogniser(checkpoint: checkpoints.Checkpoint) -> Recogniser:
    """Loads all parts of a checkpoint."""
    for module in checkpoint.imports:
        importlib.import_module(module)  # registers what the config names
    tokenizer, found = vocab.open_vocabulary(checkpoint.vocab), checkpoint.parts()
    parts = [part for part in found if part != "lora"]  # which stands inside the decoder
    model = checkpoint.stage.model
    graphdef, state = recognisers.abstract(model, tokenizer, parts)
    for part in found:
        state = checkpoints.fill(state, checkpoint.load(part))
    return Recogniser(graphdef, jax.device_put(state), tokenizer, model, parts)


def load(path) -> Transcriber:
    """Opens a checkpoint for transcription: a workdir, a stage, DIR@STEP or a bundle.

    Raises:
        UserError: there is no such checkpoint, or it cannot transcribe.
    """
    opened = checkpoints.open_checkpoint(path)
    return Transcriber(open_recogniser(opened), opened.label)


def to_dict(result: Result) -> dict:
    """A result as plain values, for JSON."""
    return dataclasses.asdict(result)
