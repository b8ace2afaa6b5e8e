"""AcLLM: instruction, context and continuous speech in the input of an LLM (Seed-ASR section 3).

Dims: B batch, T mel frames, F mel bins, D encoder width, U speech tokens, P prompt tokens,
C context tokens, X suffix tokens, N = P + C + U + X prefix slots, L transcript tokens, E LLM width,
V vocabulary.
"""

import dataclasses
import functools
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp

from seedasr_jax import config, shapes
from seedasr_jax.batch import Batch
from seedasr_jax.models import parts as registry
from seedasr_jax.parallel import layout


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Tokens:
    """The ids with a meaning, and the tokenizer that has them where parts may read it."""

    pad: int = dataclasses.field(metadata=dict(static=True))  # and the blank of CTC
    start: int = dataclasses.field(metadata=dict(static=True))
    eos: int = dataclasses.field(metadata=dict(static=True))  # the end token that is taught
    others: tuple[int, ...] = dataclasses.field(default=(), metadata=dict(static=True))  # that end
    vocab: Any = dataclasses.field(
        default=None, compare=False, repr=False, metadata=dict(static=True)
    )

    @property
    def ends(self) -> tuple[int, ...]:
        """Every token that ends a transcript, the one that is taught first."""
        return self.eos, *self.others

    def is_end(self, ids) -> jax.Array:
        """Which of ids [...] are end tokens, [...] bool."""
        return functools.reduce(jnp.logical_or, (ids == end for end in self.ends))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Speech:
    """Speech as the LLM reads it."""

    x: jax.Array  # [B U E]
    length: jax.Array  # [B] int32


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prefix:
    """What stands before the transcript."""

    x: jax.Array  # [B N E]
    positions: jax.Array  # [B N] int32
    real: jax.Array  # [B N] bool
    next: jax.Array  # [B] int32, the position of the start token


class AcLLM(nnx.Module):
    """The recogniser: a module for each of its `parts`, which are those that a stage needs."""

    def __init__(self, model: config.Model, tokens: Tokens, vocabulary, parts, *, remat, rngs):
        """`vocabulary`: pieces of the tokenizer; `parts`: names of models/parts.py."""
        self.config, self.tokens, self.parts = model, tokens, tuple(parts)
        options = dict(tokens=tokens, remat=remat, dtype=jnp.dtype(model.dtype), rngs=rngs)
        for part in self.parts:  # in this order parameters are drawn
            entry = registry.lookup(part, model.variant.kind)
            setattr(self, part, entry.make(model, vocabulary, **options))

    def has(self, part: str) -> bool:
        """Whether it was built with that part."""
        return part in self.parts

    @staticmethod
    def reads(model: config.Model) -> tuple[str, ...]:
        """Parts that the LLM's input depends on, beside encoder and converter."""
        del model
        return ()

    @staticmethod
    def check(model: config.Model, parts: tuple[str, ...]):
        """Checks that the variant's options suit a stage with these parts.

        Raises:
            ConfigError: they do not.
        """

    @staticmethod
    def check_room(model: config.Model, before: int, speech: int):
        """Checks that `before` tokens, `speech` and what follows have positions of their own.

        Raises:
            ConfigError: they have not.
        """

    def convert(self, x, length, ctc_logits=None) -> Speech:
        """Encoder frames [B T/R D], of which [B] are valid, to speech tokens.

        `ctc_logits` [B T/R V]: of the CTC head, where they are known already. A variant may convert
        them; it computes them where they are None.
        """
        del ctc_logits
        return Speech(*self.converter(x, length))

    def place(self, begin, speech: Speech):
        """Where speech and transcript stand.

        Args:
            begin: [B 1] int32, positions before the speech.
            speech: of `convert`.

        Returns:
            [B U] int32, positions of the speech; [B] int32, of what follows it.
        """
        return begin + jnp.arange(speech.x.shape[1])[None], begin[:, 0] + speech.length

    def encode(self, wave, length):
        """Waves [B S] of [B] valid samples to encoder frames, as in decoding: [B T D], and [B]."""
        return self.encoder(*self.encoder.features(wave, length))

    def listen(self, wave, length) -> Speech:
        """Waves [B S] of [B] valid samples to speech tokens, as in decoding."""
        return self.convert(*self.encode(wave, length))

    def prefix(self, batch: Batch, speech: Speech) -> Prefix:
        """Prompt, context, speech, suffix: each in its own slots, positions without the padding."""
        dims = shapes.check(speech.x, "B U E")
        dims = shapes.check(batch.prompt, "B P", shapes.check(batch.context, "B C", dims))
        dims = shapes.check(batch.suffix, "B X", dims)
        x = [
            self.decoder.embed_tokens(batch.prompt),
            self.decoder.embed_tokens(batch.context, in_context=True),
            speech.x.astype(self.decoder.dtype),
            self.decoder.embed_tokens(batch.suffix),
        ]
        lengths = (batch.prompt_length, batch.context_length, speech.length, batch.suffix_length)
        real = [shapes.valid(n, size) for n, size in zip(lengths, (dims[d] for d in "PCUX"))]
        first = batch.prompt_length[:, None]
        begin = first + batch.context_length[:, None]
        spoken, after = self.place(begin, speech)
        positions = [
            jnp.broadcast_to(jnp.arange(dims["P"])[None], (dims["B"], dims["P"])),
            first + jnp.arange(dims["C"])[None],
            spoken,
            after[:, None] + jnp.arange(dims["X"])[None],
        ]
        x, positions, real = (jnp.concatenate(parts, 1) for parts in (x, positions, real))
        return Prefix(x, positions, real, after + batch.suffix_length)

    def transcribe_forced(self, prefix: Prefix, ids, ids_length):
        """Teacher-forced logits [B L+1 V] of the transcript and its end token."""
        return self.decoder.logits(self._forced(prefix, ids, ids_length)[0])

    def nll(self, prefix: Prefix, ids, ids_length, weight):
        """-log P of each token of the transcript and of its end token, [B L+1] float32.

        Args:
            prefix: what stands before.
            ids: [B L] int32 of [B] `ids_length` real ones.
            weight: [B L+1]; where it is 0, the result is undefined.

        Returns:
            The nll, and the decoder's Routing; None where it has no experts.
        """
        wanted, _ = targets(ids, ids_length, self.tokens.eos)
        x, routing = self._forced(prefix, ids, ids_length)
        return self.decoder.nll(x, wanted, weight > 0), routing

    def _forced(self, prefix, ids, ids_length):
        """[B L+1 E] of the decoder where transcript and end token are predicted; its Routing."""
        dims = shapes.check(ids, "B L")
        start = jnp.full((dims["B"], 1), self.tokens.start, ids.dtype)
        given = jnp.concatenate([start, ids], 1)
        x = jnp.concatenate([prefix.x, self.decoder.embed_tokens(given)], 1)
        steps = jnp.arange(dims["L"] + 1)[None]
        positions = jnp.concatenate([prefix.positions, prefix.next[:, None] + steps], 1)
        real = jnp.concatenate([prefix.real, shapes.valid(ids_length + 1, dims["L"] + 1)], 1)
        x, routing = self.decoder(x, positions, real)
        return layout.all_positions(x)[:, prefix.x.shape[1] :], routing

    def nothing(self, rows: int) -> Prefix:
        """What stands before text alone."""
        return Prefix(
            jnp.zeros((rows, 0, self.config.decoder.width), self.decoder.dtype),
            jnp.zeros((rows, 0), jnp.int32),
            jnp.zeros((rows, 0), bool),
            jnp.zeros(rows, jnp.int32),
        )


def make(model: config.Model, *arguments, **options) -> AcLLM:
    """The recogniser of a model's variant; further arguments as of AcLLM."""
    return model.variant.maker()(model, *arguments, **options)


def targets(ids, ids_length, eos):
    """[B L] transcript -> [B L+1] targets with the end token behind it, and [B L+1] bool real."""
    dims = shapes.check(ids, "B L")
    at = jnp.arange(dims["L"] + 1)[None]
    padded = jnp.pad(ids, ((0, 0), (0, 1)))
    return jnp.where(at == ids_length[:, None], eos, padded), at <= ids_length[:, None]
