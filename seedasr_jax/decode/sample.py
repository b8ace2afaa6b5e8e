"""Sampling: draws N transcripts per example at a temperature, for rollouts.

Dims: B batch, N samples, K maximum number of tokens, V vocabulary.
"""

import jax
import jax.numpy as jnp

from seedasr_jax.batch import Batch
from seedasr_jax.decode import greedy
from seedasr_jax.decode.hypotheses import Hypotheses
from seedasr_jax.models.acllm import AcLLM
from seedasr_jax.parallel import layout


def sample(
    model: AcLLM, batch: Batch, tokens: int, *, samples: int, temperature, rng
) -> Hypotheses:
    """Draws tokens from P ** (1 / temperature) until an end token or K of them.

    Samples may be equal. Sample n of an example is drawn from rng, folded with the example's
    `position`, n and the token's index: it depends neither on other examples nor on the number of
    samples. The prefix is the batch's own.

    Args:
        model: model with a decoder.
        batch: B examples.
        tokens: K.
        samples: N.
        temperature: scalar above 0.
        rng: key of the step.

    Returns:
        N hypotheses per example in the order drawn. `score` and `logprobs` are those of the model
        at temperature 1. If K tokens did not suffice, `score` includes no end token.
    """

    def scores(logits, step):
        """Scores whose argmax is a sample (Gumbel-max), as in `jax.random.categorical`."""

        def noise(key):
            return jax.random.gumbel(jax.random.fold_in(key, step), logits.shape[-1:])

        return logits / temperature + layout.hidden(jax.vmap(jax.vmap(noise))(keys))

    fold = jax.vmap(jax.random.fold_in, (None, 0))
    keys = jax.vmap(fold, (0, None))(fold(rng, batch.position), jnp.arange(samples))  # [B N]
    return greedy.write(model, batch, tokens, samples, scores)
