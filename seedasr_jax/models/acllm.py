"""AcLLM: an LLM whose input is instruction, context and continuous speech (Seed-ASR section 3).

Dims: B batch, S samples, T encoder frames, D encoder width, E LLM width, V vocabulary; tokens:
P prompt, C context, U speech, X suffix, L transcript; N = P + C + U + X prefix slots.
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

_STATIC = dict(static=True)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Tokens:
    """Ids of the special tokens, and the tokenizer if parts may read it."""

    pad: int = dataclasses.field(metadata=_STATIC)  # also the blank of CTC
    start: int = dataclasses.field(metadata=_STATIC)  # of text without a prompt
    eos: int = dataclasses.field(metadata=_STATIC)  # the end token in training targets
    others: tuple[int, ...] = dataclasses.field(default=(), metadata=_STATIC)  # more end tokens
    vocab: Any = dataclasses.field(default=None, compare=False, repr=False, metadata=_STATIC)

    @property
    def ends(self) -> tuple[int, ...]:
        """All end tokens; the first is the one in training targets."""
        return self.eos, *self.others

    def is_end(self, ids) -> jax.Array:
        """Whether each of ids [...] is an end token, [...] bool."""
        return functools.reduce(jnp.logical_or, (ids == end for end in self.ends))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Speech:
    """Speech tokens: continuous embeddings in the LLM's input."""

    x: jax.Array  # [B U E]
    length: jax.Array  # [B] int32, valid tokens


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prefix:
    """The LLM's input before the transcript."""

    x: jax.Array  # [B N E]
    positions: jax.Array  # [B N] int32
    valid: jax.Array  # [B N] bool, valid slots
    start: jax.Array  # [B] int32, the start token
    next: jax.Array  # [B] int32, its position


class AcLLM(nnx.Module):
    """The recogniser, with one module for each part that a stage needs."""

    def __init__(self, model: config.Model, tokens: Tokens, vocabulary, parts, *, remat, rngs):
        """`vocabulary`: number of the tokenizer's pieces; `parts`: names as in models/parts.py."""
        self.config, self.tokens, self.parts = model, tokens, tuple(parts)
        options = dict(tokens=tokens, remat=remat, dtype=jnp.dtype(model.dtype), rngs=rngs)
        for part in self.parts:  # parameters are drawn in this order
            entry = registry.lookup(part, model.variant.kind)
            setattr(self, part, entry.make(model, vocabulary, **options))

    @staticmethod
    def reads(model: config.Model) -> tuple[str, ...]:
        """Parts, besides encoder and converter, that the LLM's input depends on."""
        del model
        return ()

    @staticmethod
    def check(model: config.Model, needs):
        """For variants: a ConfigError if their options do not suit an objective's `Needs`."""

    @staticmethod
    def check_room(model: config.Model, before: int, speech: int):
        """For variants: a ConfigError if `before` + `speech` tokens overlap the transcript."""

    def convert(self, x, length, ctc_logits=None) -> Speech:
        """Converts encoder frames [B T D], of which [B] are valid, to speech tokens.

        A variant may convert `ctc_logits` [B T V] of the CTC head instead; None: it computes them.
        """
        del ctc_logits
        return Speech(*self.converter(x, length))

    def positions(self, begin, speech: Speech):
        """[B U] int32 positions of the speech behind `begin` [B 1] others; [B], the next one."""
        return begin + jnp.arange(speech.x.shape[1])[None], begin[:, 0] + speech.length

    def encode(self, wave, length):
        """Encodes waves [B S] of [B] valid samples as in decoding: [B T D], [B] valid frames."""
        return self.encoder(*self.encoder.frontend(wave, length))

    def speech(self, wave, length) -> Speech:
        """Encodes and converts waves [B S] of [B] valid samples as in decoding."""
        return self.convert(*self.encode(wave, length))

    def prefix(self, batch: Batch, speech: Speech) -> Prefix:
        """Prompt, context, speech and suffix, each in its own slots; positions skip padding."""
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
        valid = [shapes.valid(n, dims[d]) for n, d in zip(lengths, "PCUX")]
        first = batch.prompt_length[:, None]
        begin = first + batch.context_length[:, None]
        of_speech, after = self.positions(begin, speech)
        positions = [
            jnp.broadcast_to(jnp.arange(dims["P"])[None], (dims["B"], dims["P"])),
            first + jnp.arange(dims["C"])[None],
            of_speech,
            after[:, None] + jnp.arange(dims["X"])[None],
        ]
        x, positions, valid = (jnp.concatenate(each, 1) for each in (x, positions, valid))
        return Prefix(x, positions, valid, batch.start, after + batch.suffix_length)

    def nll(self, prefix: Prefix, ids, ids_length, weight):
        """-log P [B L+1] float32 of each token of transcripts [B L] and of their end tokens.

        It is undefined where `weight` [B L+1] is 0. The Routing is returned too, None without
        experts.
        """
        wanted, _ = targets(ids, ids_length, self.tokens.eos)
        x, routing = self.teacher_forced(prefix, ids, ids_length)
        return self.decoder.nll(x, wanted, weight > 0), routing

    def teacher_forced(self, prefix: Prefix, ids, ids_length):
        """Decoder outputs [B L+1 E] that predict transcript and end token, and the Routing."""
        dims = shapes.check(ids, "B L")
        given = jnp.concatenate([prefix.start[:, None], ids], 1)
        x = jnp.concatenate([prefix.x, self.decoder.embed_tokens(given)], 1)
        steps = jnp.arange(dims["L"] + 1)[None]
        positions = jnp.concatenate([prefix.positions, prefix.next[:, None] + steps], 1)
        valid = jnp.concatenate([prefix.valid, shapes.valid(ids_length + 1, dims["L"] + 1)], 1)
        x, routing = self.decoder(x, positions, valid)
        return layout.all_positions(x)[:, prefix.x.shape[1] :], routing

    def empty_prefix(self, rows: int) -> Prefix:
        """The empty prefix of text alone."""
        return Prefix(
            jnp.zeros((rows, 0, self.config.decoder.width), self.decoder.dtype),
            jnp.zeros((rows, 0), jnp.int32),
            jnp.zeros((rows, 0), bool),
            jnp.full(rows, self.tokens.start, jnp.int32),
            jnp.zeros(rows, jnp.int32),
        )


def make(model: config.Model, *arguments, **options) -> AcLLM:
    """Builds the recogniser of a model's variant; further arguments as for AcLLM."""
    return model.variant.maker()(model, *arguments, **options)


def targets(ids, ids_length, eos):
    """[B L] transcripts -> [B L+1] targets with the end token appended; [B L+1] bool valid."""
    dims = shapes.check(ids, "B L")
    at = jnp.arange(dims["L"] + 1)[None]
    padded = jnp.pad(ids, ((0, 0), (0, 1)))
    return jnp.where(at == ids_length[:, None], eos, padded), at <= ids_length[:, None]
