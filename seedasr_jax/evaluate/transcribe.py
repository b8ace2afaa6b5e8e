"""Transcribes waves and files with any checkpoint; needs neither TensorFlow nor SeqIO.

Dims: B batch, S samples, C context tokens.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import math
import os
import sys

import numpy as np

from seedasr_jax import batch as batches
from seedasr_jax import checkpoint as checkpoints
from seedasr_jax.audio import arrays, files, pauses
from seedasr_jax.audio import paths as audio_paths
from seedasr_jax.batch import Batch
from seedasr_jax.decode import methods
from seedasr_jax.decode import recogniser as recognisers
from seedasr_jax.decode.recogniser import Recogniser
from seedasr_jax.errors import ConfigError, DataError, UserError
from seedasr_jax.evaluate import opening
from seedasr_jax.models import names
from seedasr_jax.models.parts import decodings
from seedasr_jax.text import languages, prompts

BATCH = 8  # utterances decoded at a time
FILES_READ, SECONDS_READ = 4 * BATCH, 600.0  # of audio; at either, the files read are decoded
TOKENS_PER_SECOND = 12  # upper bound, for fast speech and a tokenizer of small pieces
SHORTEST = 1.0  # seconds of the smallest shape; each further one is twice as long
SHORTEST_CONTEXT = 16  # tokens, likewise


@dataclasses.dataclass(frozen=True)
class Segment:
    """A span of audio that was decoded by itself, and its transcript."""

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
    cut: bool  # whether the transcript stopped at the maximum number of tokens
    language: str  # tag of the language: as given, else as the model states it, or ""
    context_unread: str  # beginning or all of the context, beyond the model's limit


class Transcriber:
    """A recogniser of waves; they are padded to few sizes, so that few shapes are compiled."""

    def __init__(self, recogniser: Recogniser, checkpoint: checkpoints.Checkpoint):
        """`checkpoint` defines the default method, the limits, and the normaliser of contexts."""
        self.recogniser, self.label = recogniser, checkpoint.label
        self.limits, stage = checkpoint.limits, checkpoint.stage
        self.normalizer, self._warned = stage.data.normalizer, set()
        if not decodings(recogniser.parts):
            cure = "take a stage that has an encoder and a CTC head or a decoder"
            parts = ", ".join(recogniser.parts)
            raise UserError(f"{self.label}: its parts ({parts}) transcribe nothing; {cure}")
        self.method = recognisers.default_method(stage.eval.decode, recogniser.parts)

    def transcribe(
        self, wave, rate: int, *, context="", hotwords=(), language="", decode=""
    ) -> Result:
        """Transcribes one wave, of any length.

        Audio longer than any in training, or with longer pauses, is cut at pauses and decoded
        segment by segment, each with the context; with `long=direct` in `decode` as one segment.

        Args:
            wave: see `arrays.to_wave`: [S], or with up to 8 channels on either axis; floats in
                [-1, 1] or integers scaled to their type's range.
            rate: samples per second.
            context: helpful text: previous speech, participants, topic. If it is longer than any in
                training, only its last whole names or words are read; none if the model was trained
                without contexts. The result and a line on stderr report it.
            hotwords: words and names that may be spoken, see `prompts.context`.
            language: BCP-47 tag of the speech, for a prompt that names the language; "": unknown.
            decode: a name of decode/methods.py. Empty: the checkpoint's default; with a context, if
                that is not a search that reads one, the joint beam search `methods.WITH_CONTEXT`.

        Raises:
            DataError: an invalid wave or rate.
            ConfigError: a method that the model does not support, or that ignores a given context;
                an unknown language.
        """
        options = dict(context=context, hotwords=hotwords, language=language, decode=decode)
        return self.transcribe_many([arrays.to_wave(wave, rate)], **options)[0]

    def transcribe_files(self, paths, **options) -> list[Result]:
        """Transcribes one file, or several in the order given; `options` as in `transcribe`.

        Raises DataError if a file is missing, not audio or empty.
        """
        results = []
        for _, found in self.stream_files(paths, **options):
            if isinstance(found, DataError):
                raise found
            results.append(found)
        return results

    def stream_files(self, paths, **options) -> Iterator[tuple[str, Result | DataError]]:
        """Yields (path, Result or the DataError of the file), in the order given.

        A few files are in memory at a time; those of similar length are decoded together. `options`
        as in `transcribe`.
        """
        read, seconds = [], 0.0
        for path in [paths] if isinstance(paths, str | os.PathLike) else paths:
            try:
                read.append((path, files.read(audio_paths.opened(path))))
                seconds += len(read[-1][1]) / files.RATE
            except DataError as error:
                read.append((path, error))
            if len(read) == FILES_READ or seconds > SECONDS_READ:
                yield from self._results(read, options)
                read, seconds = [], 0.0
        yield from self._results(read, options)

    def _results(self, read, options):
        waves = [wave for _, wave in read if not isinstance(wave, DataError)]
        results = iter(self.transcribe_many(waves, **options))
        for path, wave in read:
            yield path, wave if isinstance(wave, DataError) else next(results)

    def transcribe_many(
        self, waves, *, context="", hotwords=(), language="", decode=""
    ) -> list[Result]:
        """Transcribes waves at 16 kHz, those of similar length together; see `transcribe`."""
        given = prompts.context(context, hotwords)
        text = prompts.normal_context(self.normalizer, given)
        method = self._method(text, decode)
        named = hotwords if isinstance(hotwords, str) else " ".join(hotwords or ())
        if not text and (given or named.strip()):
            self._warn(f"the context is not used: {self.normalizer} leaves nothing of it")
        row = self._language(language)
        unread, text = self._cut(text, row)
        method = method if text else decode or self.method
        waves = [arrays.to_wave(w, files.RATE, f"wave {n}") for n, w in enumerate(waves)]
        decoded = [dict.fromkeys(self._spans(wave, method)) for wave in waves]
        by_size: dict[float, list[tuple]] = {}
        for number, (wave, spans) in enumerate(zip(waves, decoded)):
            if not spans and 0 < (peak := np.abs(wave).max()) < files.QUIETEST:
                wanted = f"expected samples from -1 to 1, found a peak of {peak:.1g}"
                print(f"wave {number}: too quiet for speech: {wanted}", file=sys.stderr)
            for start, end in spans:
                seconds = self._room((end - start) / files.RATE)
                by_size.setdefault(seconds, []).append((number, (start, end)))
        for seconds, spans in sorted(by_size.items()):
            for start in range(0, len(spans), BATCH):
                chosen = spans[start : start + BATCH]
                cut = [waves[n][slice(*span)] for n, span in chosen]
                batch = self._batch(cut, seconds, text, row)
                for (n, span), found in zip(chosen, self.recogniser.decode(batch, method)):
                    decoded[n][span] = found
        return [_result(spans, unread, language) for spans in decoded]

    def _spans(self, wave, method) -> list[tuple[int, int]]:
        """The spans (first sample, end) to decode separately."""
        if methods.parse(method).long == "direct":
            return [(0, len(wave))]
        return pauses.segments(wave, *self.limits.segment)

    def _room(self, seconds) -> float:
        """Seconds of the shape for a duration; at most the limit, unless the audio exceeds it."""
        size, longest = _size(seconds, SHORTEST), self.limits.seconds + files.ROUNDING_SECONDS
        return size if seconds > longest else min(size, longest)

    def _method(self, context, decode) -> str:
        """Name of the method, checked against the model and the context."""
        method = decode or (methods.with_context(self.method) if context else self.method)
        if context and names.DECODER not in self.recogniser.parts:
            raise ConfigError(
                f"{self.label}: its parts ({', '.join(self.recogniser.parts)}) read no context:"
                " name a stage with a decoder, such as sft, or leave context and hotwords out"
            )
        if not self.recogniser.check(method).reads and context:
            raise ConfigError(
                f"decode {method!r} reads no context: give a beam an alpha, such as"
                f" {methods.WITH_CONTEXT}, or leave context and hotwords out"
            )
        return method

    def _language(self, tag) -> int:
        """The row of the template for a language tag."""
        if tag:
            languages.lookup(tag)
        row = self.recogniser.template.row(tag, given=True)
        if tag and not row:
            self._warn(f"{self.label}: its prompt names no language: {tag} is not used")
        return row

    def _cut(self, context, row) -> tuple[str, str]:
        """Splits a context into what is not read, which is reported once, and what is."""
        most, size = self.limits.context_tokens, self.recogniser.template.size
        unread, text = prompts.cut(context, lambda text: size(text, row) <= most)
        if unread:
            trained = f"{self.label} was trained with contexts of at most {most} tokens"
            found = f"cut from the left to {text!r}" if text else "the context is not used"
            self._warn(f"{trained}: {found}")
        return unread, text

    def _warn(self, line):
        if line not in self._warned:
            self._warned.add(line)
            print(line, file=sys.stderr)

    def _batch(self, waves, seconds, context, language) -> Batch:
        rows = 1 if len(waves) == 1 else BATCH
        template = self.recogniser.template
        around = (template.with_context if context else template.plain)[language]
        ids = template.context(context, language)
        given = {"prompt": around.prompt, "context": ids, "suffix": around.suffix}
        width = round(_size(len(ids), SHORTEST_CONTEXT)) if ids else 0
        most = max(16, math.ceil(TOKENS_PER_SECOND * seconds))
        sizes = (rows, round(seconds * files.RATE), len(around.prompt), width, most)
        batch = batches.zeros(*sizes, suffix=len(around.suffix))
        for row, wave in enumerate(waves):
            batch.wave[row, : len(wave)] = wave
            batch.wave_length[row], batch.weight[row] = len(wave), 1.0
        batch.language[:] = language
        for name, tokens in given.items():
            getattr(batch, name)[:, : len(tokens)] = tokens
            getattr(batch, f"{name}_length")[:] = len(tokens)
        batch.start[:] = around.start
        return batch


def _result(decoded: Mapping[tuple[int, int], recognisers.Hypothesis], unread, given) -> Result:
    """The result of an utterance; `decoded`: (first sample, end) -> hypothesis, in order."""
    segments = tuple(
        Segment(start / files.RATE, end / files.RATE, found.text)
        for (start, end), found in decoded.items()
    )
    found = recognisers.joined(list(decoded.values()))
    language = given or found.language
    return Result(**vars(found) | dict(language=language), segments=segments, context_unread=unread)


def _size(wanted, shortest):
    """The smallest shortest * 2**n, n >= 0, that is at least `wanted`."""
    return shortest * 2 ** max(0, math.ceil(math.log2(wanted / shortest)))


def load(path, mesh=None) -> Transcriber:
    """Opens a checkpoint for transcription: a workdir, a stage, DIR@STEP or a bundle.

    `mesh`: devices by axis, such as dict(tensor=4, fsdp=2), or a jax.sharding.Mesh; default: all
    local accelerators, or one CPU device.

    Raises:
        UserError: there is no such checkpoint, or it cannot transcribe.
        ConfigError: the mesh does not fit the devices or the parameters.
    """
    opened = checkpoints.open_checkpoint(path)
    return Transcriber(opening.open_recogniser(opened, mesh), opened)
