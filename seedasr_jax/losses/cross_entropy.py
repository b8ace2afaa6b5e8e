"""Cross-entropy of tokens, summed.

Dims: B batch, N positions, V vocabulary.
"""

import jax
import jax.numpy as jnp

from seedasr_jax import shapes


def cross_entropy(logits, targets, weights):
    """Sum of -weights * log softmax(logits)[targets], in nats, float32.

    Args:
        logits: [B N V]; targets: [B N] int32; weights: [B N] float32; where they are 0,
            logits and targets are ignored, whatever they are.
    """
    dims = shapes.check(logits, "B N V")
    shapes.check(targets, "B N", dims)
    shapes.check(weights, "B N", dims)
    # Before the logarithm: a gradient of 0 through NaN is NaN.
    logits = jnp.where((weights > 0)[..., None], logits.astype(jnp.float32), 0)
    chosen = jnp.take_along_axis(logits, targets[..., None], -1)[..., 0]
    nats = jax.nn.logsumexp(logits, -1) - chosen
    return jnp.where(weights > 0, nats * weights, 0).sum()
