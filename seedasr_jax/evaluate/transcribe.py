"""Waves and files to text, from any checkpoint; needs neither TensorFlow nor SeqIO.

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
FILES_HELD, SECONDS_HELD = 4 * BATCH, 600.0  # at most, of files: then they are decoded
TOKENS_PER_SECOND = 12  # at most, of fast speech in small pieces
SHORTEST = 1.0  # seconds of the smallest shape; the next are twice, four times ... as long
SHORTEST_CONTEXT = 16  # tokens, likewise


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
    cut: bool  # whether the transcript stopped at the most tokens that are decoded
    context_unread: str  # the front of the context, or all of it, that the model cannot take


class Transcriber:
    """A recogniser that takes waves; shapes are padded to few sizes, so that few are compiled."""

    def __init__(self, recogniser: Recogniser, checkpoint: checkpoints.Checkpoint):
        """`checkpoint`: whose the recogniser is. It says how to decode, the normaliser of the text
        that it was trained on, which a context goes through too, and how much context it takes.
        """
        self.recogniser, self.label = recogniser, checkpoint.label
        self.limits, stage = checkpoint.limits, checkpoint.stage
        self.normalizer, self._said = stage.data.normalizer, set()
        if not decodings(recogniser.parts):
            raise UserError(
                f"{self.label}: its parts ({', '.join(recogniser.parts)}) transcribe nothing; take"
                " a stage that has an encoder and a CTC head or a decoder"
            )
        self.method = recognisers.own_method(stage.eval.decode, recogniser.parts)

    def transcribe(
        self, wave, rate: int, *, context="", hotwords=(), language="", decode=""
    ) -> Result:
        """Transcribes one wave, of any length.

        Audio longer than any in training, or with longer pauses, is cut at pauses and decoded
        piece by piece, each with the context; `segments` are the pieces. With `long=direct` in
        `decode` it is one piece.

        Args:
            wave: as `arrays.to_wave` takes it: [S], or with up to 8 channels on either axis; floats
                in [-1, 1] or integers on the scale of their type.
            rate: samples per second.
            context: text that helps: what was said before, who takes part, what it is about. Of a
                context longer than any in training the end is read, of whole names or words;
                nothing where the model learned none. The result and a line on stderr say so.
            hotwords: words and names that may be said, as `prompts.context` takes them.
            language: BCP-47 tag of what is spoken, for a prompt that names the language; empty: not
                stated.
            decode: a name of decode/methods.py. Empty: the checkpoint's own way; with a context, if
                that is no search that reads one, the joint beam search `methods.WITH_CONTEXT`.

        Raises:
            DataError: no wave, or a rate that is none. ConfigError: a decoding that the model
                cannot do, or one that reads no context where there is one; an unknown language.
        """
        options = dict(context=context, hotwords=hotwords, language=language, decode=decode)
        return self.transcribe_many([arrays.to_wave(wave, rate)], **options)[0]

    def transcribe_files(self, paths, **options) -> list[Result]:
        """Transcribes files in the order given, or one; `options` as in `transcribe`.

        Raises:
            DataError: a file that is missing, not audio or empty.
        """
        results = []
        for _, found in self.stream_files(paths, **options):
            if isinstance(found, DataError):
                raise found
            results.append(found)
        return results

    def stream_files(self, paths, **options) -> Iterator[tuple[str, Result | DataError]]:
        """Yields (path, Result, or what is wrong with the file), in the order given.

        A few files are held at a time; those of like length are decoded together. `options` as in
        `transcribe`.
        """
        held, seconds = [], 0.0
        for path in [paths] if isinstance(paths, str | os.PathLike) else paths:
            try:
                wave = files.read(audio_paths.opened(path))
            except DataError as error:
                held.append((path, error))
            else:
                held.append((path, wave))
                seconds += len(wave) / files.RATE
            if len(held) == FILES_HELD or seconds > SECONDS_HELD:
                yield from self._results(held, options)
                held, seconds = [], 0.0
        yield from self._results(held, options)

    def _results(self, held, options):
        waves = [wave for _, wave in held if not isinstance(wave, DataError)]
        results = iter(self.transcribe_many(waves, **options))
        for path, wave in held:
            yield path, wave if isinstance(wave, DataError) else next(results)

    def transcribe_many(
        self, waves, *, context="", hotwords=(), language="", decode=""
    ) -> list[Result]:
        """Transcribes waves at 16 kHz, those of like length together; see `transcribe`."""
        given = prompts.context(context, hotwords)
        text = prompts.normal_context(self.normalizer, given)
        method = self._method(text, decode)
        named = hotwords if isinstance(hotwords, str) else " ".join(hotwords or ())
        if not text and (given or named.strip()):
            self._say(f"nothing is left of the context by {self.normalizer}: it is not used")
        row = self._language(language)
        unread, text = self._cut(text, row)
        method = method if text else decode or self.method
        waves = [arrays.to_wave(w, files.RATE, f"wave {n}") for n, w in enumerate(waves)]
        heard = [dict.fromkeys(self._spans(wave, method)) for wave in waves]
        for number, (wave, spans) in enumerate(zip(waves, heard)):
            if not spans and 0 < (peak := np.abs(wave).max()) < files.QUIETEST:
                wanted = f"expected samples from -1 to 1, the loudest is {peak:.1g}"
                print(f"wave {number}: too quiet for speech: {wanted}", file=sys.stderr)
        by_size: dict[float, list[tuple]] = {}
        for number, spans in enumerate(heard):
            for start, end in spans:
                seconds = self._room((end - start) / files.RATE)
                by_size.setdefault(seconds, []).append((number, (start, end)))
        for seconds, pieces in sorted(by_size.items()):
            for start in range(0, len(pieces), BATCH):
                chosen = pieces[start : start + BATCH]
                spoken = [waves[n][slice(*span)] for n, span in chosen]
                batch = self._batch(spoken, seconds, text, row)
                for (n, span), found in zip(chosen, self.recogniser.decode(batch, method)):
                    heard[n][span] = found
        return [_result(spans, unread) for spans in heard]

    def _spans(self, wave, method) -> list[tuple[int, int]]:
        """The stretches (first sample, end) that are decoded, each by itself."""
        if methods.parse(method).long == "direct":
            return [(0, len(wave))]
        return pauses.pieces(wave, *self.limits.piece)

    def _room(self, seconds) -> float:
        """Seconds of the shape for so many; of what is cut, none is longer than training had."""
        size, longest = _size(seconds, SHORTEST), self.limits.seconds + files.ROUNDING_SECONDS
        return size if seconds > longest else min(size, longest)

    def _method(self, context, decode) -> str:
        """What to decode with, where all that was asked for can be done."""
        own = methods.with_context(self.method)
        method = decode or (own if context else self.method)
        if context and names.DECODER not in self.recogniser.parts:
            raise ConfigError(
                f"{self.label}: its parts ({', '.join(self.recogniser.parts)}) read no context:"
                " name a stage with a decoder, such as sft, or leave context and hotwords out"
            )
        way = self.recogniser.check(method)
        if context and way.kind != "greedy" and not way.alpha:
            raise ConfigError(
                f"decode {method!r} reads no context: give a beam an alpha, such as"
                f" {methods.WITH_CONTEXT}, or leave context and hotwords out"
            )
        return method

    def _language(self, tag) -> int:
        """The row of the template for a language tag."""
        if tag:
            languages.lookup(tag)
        row = self.recogniser.template.row(tag)
        if tag and not row:
            self._say(f"{self.label}: its prompt names no language: {tag} is not used")
        return row

    def _cut(self, context, row) -> tuple[str, str]:
        """What is not read of a context, which is said once, and what is."""
        most, size = self.limits.context_tokens, self.recogniser.template.size
        unread, text = prompts.cut(context, lambda text: size(text, row) <= most)
        if unread:
            taken = f"{self.label} learned contexts of at most {most} tokens"
            found = f"cut from the left to {text!r}" if text else "the context is not used"
            self._say(f"{taken}: {found}")
        return unread, text

    def _say(self, line):
        if line not in self._said:
            self._said.add(line)
            print(line, file=sys.stderr)

    def _batch(self, waves, seconds, context, language) -> Batch:
        rows = 1 if len(waves) == 1 else BATCH
        template = self.recogniser.template
        around = (template.with_context if context else template.plain)[language]
        given = {"prompt": around.prompt, "context": template.context(context, language)}
        given |= {"suffix": around.suffix}
        width = round(_size(len(given["context"]), SHORTEST_CONTEXT)) if given["context"] else 0
        tokens = max(16, math.ceil(TOKENS_PER_SECOND * seconds))
        sizes = (rows, round(seconds * files.RATE), len(around.prompt), width, tokens)
        batch = batches.zeros(*sizes, suffix=len(around.suffix))
        for row, wave in enumerate(waves):
            batch.wave[row, : len(wave)] = wave
            batch.wave_length[row], batch.weight[row] = len(wave), 1.0
        batch.language[:] = language
        for name, ids in given.items():
            getattr(batch, name)[:, : len(ids)] = ids
            getattr(batch, f"{name}_length")[:] = len(ids)
        return batch


def _result(heard: Mapping[tuple[int, int], recognisers.Hypothesis], unread: str) -> Result:
    """Of an utterance's pieces: (first sample, end) -> what was heard, in order."""
    whole = recognisers.joined(list(heard.values()))
    segments = tuple(
        Segment(start / files.RATE, end / files.RATE, found.text)
        for (start, end), found in heard.items()
    )
    return Result(whole.text, whole.tokens, whole.logprobs, segments, whole.cut, unread)


def _size(wanted, shortest):
    """`shortest`, or twice, four times ... as much: the least that holds what is wanted."""
    return shortest * 2 ** max(0, math.ceil(math.log2(wanted / shortest)))


def load(path, mesh=None) -> Transcriber:
    """Opens a checkpoint for transcription: a workdir, a stage, DIR@STEP or a bundle.

    Args:
        path: of the checkpoint.
        mesh: devices by axis, such as dict(tensor=4, fsdp=2), or a jax.sharding.Mesh; default: all
            accelerators here, or one device of a CPU.

    Raises:
        UserError: there is no such checkpoint, or it cannot transcribe.
        ConfigError: a mesh that does not fit.
    """
    opened = checkpoints.open_checkpoint(path)
    return Transcriber(opening.open_recogniser(opened, mesh), opened)


def to_dict(result: Result) -> dict:
    """A result as plain values, for JSON."""
    return dataclasses.asdict(result)
