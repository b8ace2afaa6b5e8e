"""Hypotheses: the result of every decoding method.

Dims: B batch, W hypotheses, K maximum number of tokens.
"""

import dataclasses

import jax
import jax.numpy as jnp

IMPOSSIBLE = -jnp.inf  # score of a hypothesis that does not exist


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Hypotheses:
    """W hypotheses of each example; end tokens contribute to `score` alone."""

    ids: jax.Array  # [B W K] int32, padded after `length`
    length: jax.Array  # [B W] int32
    score: jax.Array  # [B W] float32, sum over tokens and end token; -inf: no such hypothesis
    logprobs: jax.Array  # [B W K] float32, contribution of each token to the score
    ended: jax.Array  # [B W] bool, false if K tokens did not suffice


def empty(rows: int, count: int, tokens: int, pad: int) -> Hypotheses:
    """Hypotheses [B W] that do not exist: of length 0 and score -inf."""
    return Hypotheses(
        ids=jnp.full((rows, count, tokens), pad, jnp.int32),
        length=jnp.zeros((rows, count), jnp.int32),
        score=jnp.full((rows, count), IMPOSSIBLE),
        logprobs=jnp.zeros((rows, count, tokens)),
        ended=jnp.zeros((rows, count), bool),
    )
