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
    """Draws tokens from P ** (1 / temperature) until an end token or K = `tokens` of them.

    Sample n of an example is drawn from rng, folded with the example's `position`, n and the
    token's index: it depends neither on other examples nor on the number of samples N.

    Prompt, context and suffix of the batch are read unchanged. Hypotheses are in the order drawn
    and may be equal; `score` and `logprobs` are those at temperature 1. If K tokens did not
    suffice, `score` includes no end token.

    `temperature`: scalar above 0; `rng`: key of the step.
    """

    def scores(logits, index):
        """Scores whose argmax is a sample (Gumbel-max), as in `jax.random.categorical`."""

        def noise(key):
            return jax.random.gumbel(jax.random.fold_in(key, index), logits.shape[-1:])

        return logits / temperature + layout.hidden(jax.vmap(jax.vmap(noise))(keys))

    fold = jax.vmap(jax.random.fold_in, (None, 0))
    keys = jax.vmap(fold, (0, None))(fold(rng, batch.position), jnp.arange(samples))  # [B N]
    return greedy.generate(model, batch, tokens, samples, scores)
