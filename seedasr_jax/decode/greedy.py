"""Greedy decoding with fixed shapes: CTC by frames, the LLM by prefill and cached steps.

Dims: B batch, W hypotheses, T encoder frames, K maximum number of tokens, V vocabulary.
"""

from collections.abc import Callable
import dataclasses

import jax
import jax.numpy as jnp

from seedasr_jax import shapes
from seedasr_jax.batch import Batch
from seedasr_jax.decode import prefill, shards
from seedasr_jax.decode.hypotheses import IMPOSSIBLE, Hypotheses, empty
from seedasr_jax.models.acllm import AcLLM
from seedasr_jax.parallel import layout


def _left(ids, values, keep, pad):
    """Moves the columns to keep to the front: [B T] each -> ids, values, and [B] their number."""
    order = jnp.argsort(~keep, axis=1, stable=True)
    length = keep.sum(1).astype(jnp.int32)
    valid = shapes.valid(length, ids.shape[1])
    ids = jnp.where(valid, jnp.take_along_axis(ids, order, 1), pad)
    return ids, jnp.where(valid, jnp.take_along_axis(values, order, 1), 0.0), length


def ctc(model: AcLLM, batch: Batch) -> Hypotheses:
    """`best_path` of the encoder's frames."""
    x, length = model.encode(batch.wave, batch.wave_length)
    return best_path(model.ctc_head(x), length, model.tokens.pad)


def best_path(logits, length, blank: int) -> Hypotheses:
    """The likeliest piece of each frame, repeats merged, blanks dropped; W = 1, K = T.

    `logits`: [B T V]; `length`: [B] valid frames. `score` sums over the first frame of each token.
    """
    logits = layout.hidden(logits)
    best, logprobs = shards.over(shards.pick, (logits, logits))
    best = jnp.where(shapes.valid(length, logits.shape[1]), best, blank)
    before = jnp.pad(best, ((0, 0), (1, 0)), constant_values=blank)[:, :-1]
    ids, logprobs, length = _left(best, logprobs, (best != blank) & (best != before), blank)
    found = Hypotheses(ids, length, logprobs.sum(-1), logprobs, jnp.ones_like(length, bool))
    return jax.tree.map(lambda x: x[:, None], found)


def llm(model: AcLLM, batch: Batch, tokens: int) -> Hypotheses:
    """Takes the likeliest token until an end token or `tokens` of them: W = 1."""
    return generate(model, batch, tokens, 1, lambda logits, index: logits)


def generate(
    model: AcLLM, batch: Batch, tokens: int, count: int, scores: Callable[..., jax.Array]
) -> Hypotheses:
    """Decodes `count` independent hypotheses of each example, token by token.

    The loop ends when every hypothesis has ended; those of padding rows start as ended. `tokens`:
    K; `scores`: (float32 logits [B W V], index of the token) -> [B W V], whose argmax is taken.
    """
    rows, special = len(batch.weight), model.tokens
    stream = prefill.fill(model, batch, prefill.encode(model, batch), tokens + 1, count)
    padding = jnp.broadcast_to((batch.weight == 0)[:, None], (rows, count))

    def going(carry):
        index, *_, done = carry
        return (index < tokens + 1) & ~done.all()

    def advance(carry):
        index, stream, last, found, done = carry
        logits, stream = prefill.decode_step(model, stream, last)
        chosen, gain = shards.over(shards.pick, (scores(logits, index), logits))
        ends = ~done & special.is_end(chosen)
        kept = ~done & ~ends & (index < tokens)
        at = jnp.minimum(index, tokens - 1)
        found = Hypotheses(
            ids=found.ids.at[..., at].set(jnp.where(kept, chosen, found.ids[..., at])),
            length=found.length + kept,
            score=found.score + jnp.where(kept | ends, gain, 0),
            logprobs=found.logprobs.at[..., at].set(jnp.where(kept, gain, found.logprobs[..., at])),
            ended=found.ended | ends,
        )
        return index + 1, stream, *layout.rows((chosen, found, ~kept))

    found = empty(rows, count, tokens, special.pad)
    found = dataclasses.replace(found, score=jnp.where(padding, IMPOSSIBLE, 0.0))
    start = jnp.broadcast_to(batch.start[:, None], (rows, count))
    carry = (jnp.zeros((), jnp.int32), stream, *layout.rows((start, found, padding)))
    *_, found, _ = jax.lax.while_loop(going, advance, carry)
    return found
