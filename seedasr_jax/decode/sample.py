"""Sampling: N transcripts per example at a temperature, for rollouts. `search` gives the N best.

Dims: B batch, N samples, K tokens at most, V vocabulary.
"""

import jax
import jax.numpy as jnp

from seedasr_jax.batch import Batch
from seedasr_jax.decode import prefill
from seedasr_jax.decode.search import NEVER, Hypotheses
from seedasr_jax.models.acllm import AcLLM


def sample(
    model: AcLLM, batch: Batch, tokens: int, *, samples: int, temperature, rng
) -> Hypotheses:
    """Draws token after token from P ** (1 / temperature) until the end token or K of them.

    The same transcript may come twice. Sample n of an example is drawn from rng, folded with the
    example's `position`, n and the token's place: neither its neighbours nor the number of samples
    change it. One prefix, as it stands in the batch.

    Args:
        model: with a decoder.
        batch: B examples.
        tokens: K.
        samples: N.
        temperature: scalar above 0.
        rng: key of the step.

    Returns:
        N hypotheses per example in the order drawn. `score` and `logprobs` are the model's own, at
        temperature 1. Where K tokens did not suffice there is no end token in `score`.
    """
    rows, special = len(batch.weight), model.tokens
    stream = prefill.begin(model, batch, prefill.hear(model, batch), tokens + 1)
    stream, size = prefill.spread(stream, samples), rows * samples
    fold = jax.vmap(jax.random.fold_in)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(rng, jnp.repeat(batch.position, samples))
    keys = fold(keys, jnp.tile(jnp.arange(samples), rows))
    absent = jnp.repeat(batch.weight == 0, samples)

    def going(carry):
        step, *_, done = carry
        return (step < tokens + 1) & ~done.all()

    def advance(carry):
        step, stream, last, found, done = carry
        scores, stream = prefill.follow(model, stream, last)
        drawn = jax.vmap(jax.random.categorical)(
            fold(keys, jnp.full(size, step)), scores / temperature
        ).astype(jnp.int32)
        ends = drawn == special.eos
        kept = ~done & ~ends & (step < tokens)
        gain = jnp.take_along_axis(scores, drawn[:, None], 1)[:, 0]
        at = jnp.minimum(step, tokens - 1)
        found = Hypotheses(
            ids=found.ids.at[:, at].set(jnp.where(kept, drawn, found.ids[:, at])),
            length=found.length + kept,
            score=found.score + jnp.where(kept | (~done & ends), gain, 0),
            logprobs=found.logprobs.at[:, at].set(jnp.where(kept, gain, found.logprobs[:, at])),
            ended=found.ended | (~done & ends),
        )
        return step + 1, stream, drawn, found, ~kept

    found = Hypotheses(
        ids=jnp.full((size, tokens), special.pad, jnp.int32),
        length=jnp.zeros(size, jnp.int32),
        score=jnp.where(absent, NEVER, 0.0),
        logprobs=jnp.zeros((size, tokens)),
        ended=jnp.zeros(size, bool),
    )
    start = jnp.full(size, special.start, jnp.int32)
    carry = (jnp.zeros((), jnp.int32), stream, start, found, absent)
    *_, found, _ = jax.lax.while_loop(going, advance, carry)
    return jax.tree.map(lambda x: x.reshape(rows, samples, *x.shape[1:]), found)
