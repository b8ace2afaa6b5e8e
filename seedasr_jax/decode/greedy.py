"""Greedy decoding under fixed shapes: CTC by frames, the LLM by prefill and cached steps.

Dims: B batch, T encoder frames, K tokens at most, V vocabulary.
"""

import dataclasses

import jax
import jax.numpy as jnp

from seedasr_jax import shapes
from seedasr_jax.audio import logmel
from seedasr_jax.batch import Batch
from seedasr_jax.decode import prefill
from seedasr_jax.models.acllm import AcLLM


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Decoded:
    """Tokens by example, the end token not included."""

    ids: jax.Array  # [B K] int32, padding behind length
    length: jax.Array  # [B] int32
    logprobs: jax.Array  # [B K] float32, of each token
    ended: jax.Array  # [B] bool: false where K tokens did not suffice


def _left(ids, values, keep, pad):
    """Moves the kept columns to the front: [B T] each -> ids, values, and [B] how many."""
    order = jnp.argsort(~keep, axis=1, stable=True)
    length = keep.sum(1).astype(jnp.int32)
    real = shapes.valid(length, ids.shape[1])
    ids = jnp.where(real, jnp.take_along_axis(ids, order, 1), pad)
    return ids, jnp.where(real, jnp.take_along_axis(values, order, 1), 0.0), length


def ctc(model: AcLLM, batch: Batch) -> Decoded:
    """Best path: the likeliest piece of each frame, repeats merged, blanks dropped."""
    features = model.config.features
    mel, count = logmel.log_mel(batch.wave, batch.wave_length, features)
    x, length = model.encoder(mel, count)
    logprobs = jax.nn.log_softmax(model.ctc_head(x), -1)
    blank = model.tokens.pad
    best = jnp.where(shapes.valid(length, x.shape[1]), jnp.argmax(logprobs, -1), blank)
    before = jnp.pad(best, ((0, 0), (1, 0)), constant_values=blank)[:, :-1]
    ids, logprobs, length = _left(
        best.astype(jnp.int32), logprobs.max(-1), (best != blank) & (best != before), blank
    )
    return Decoded(ids, length, logprobs, jnp.ones_like(length, bool))


def llm(model: AcLLM, batch: Batch, tokens: int) -> Decoded:
    """The likeliest next token until the end token or `tokens` of them.

    One prefill fills the cache with instruction, context and speech; each further token is one
    cached step. The loop ends when every example has: nothing depends on who is beside whom.
    """
    special, rows = model.tokens, len(batch.weight)
    stream = prefill.begin(model, batch, prefill.hear(model, batch), tokens + 1)

    def going(carry):
        step, *_, ended = carry
        return (step < tokens + 1) & ~ended.all()

    def advance(carry):
        step, stream, last, ids, logprobs, length, ended = carry
        scores, stream = prefill.follow(model, stream, last)
        chosen = jnp.argmax(scores, -1).astype(jnp.int32)
        ended = ended | (chosen == special.eos)
        kept = ~ended & (step < tokens)
        at = jnp.minimum(step, tokens - 1)
        ids = ids.at[:, at].set(jnp.where(kept, chosen, ids[:, at]))
        logprobs = logprobs.at[:, at].set(jnp.where(kept, scores.max(-1), logprobs[:, at]))
        return step + 1, stream, chosen, ids, logprobs, length + kept, ended

    carry = (
        jnp.zeros((), jnp.int32),
        stream,
        jnp.full(rows, special.start, jnp.int32),
        jnp.full((rows, tokens), special.pad, jnp.int32),
        jnp.zeros((rows, tokens)),
        jnp.zeros(rows, jnp.int32),
        batch.weight == 0,  # an absent row has nothing to say and keeps nobody waiting
    )
    *_, ids, logprobs, length, ended = jax.lax.while_loop(going, advance, carry)
    return Decoded(ids, length, logprobs, ended)
