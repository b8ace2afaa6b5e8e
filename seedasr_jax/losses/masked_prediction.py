"""Masked prediction: what the encoder says of the frames that it did not see, summed.

Dims: B batch, T encoder frames, K codes.
"""

import jax.numpy as jnp
import numpy as np

from seedasr_jax import shapes
from seedasr_jax.losses.cross_entropy import cross_entropy


def masked_prediction(logits, labels, weights):
    """Cross-entropy and hits on masked frames.

    Args:
        logits: [B T K]; labels: [B T] int32.
        weights: [B T] float32, above 0 on masked frames of rows that count; all else is ignored.

    Returns:
        The sum of -weights * log softmax(logits)[labels], natural logarithm, float32; and the sum
        of weights where the likeliest code is the label.
    """
    dims = shapes.check(logits, "B T K")
    shapes.check(labels, "B T", dims)
    hits = jnp.where(jnp.argmax(logits, -1) == labels, weights, 0).sum()
    return cross_entropy(logits, labels, weights), hits


def histogram(labels, weights, codes):
    """[K] weighted count of each label: what the figures of `describe` are computed from."""
    dims = shapes.check(labels, "B T")
    shapes.check(weights, "B T", dims)
    return jnp.zeros(codes).at[labels.reshape(-1)].add(weights.reshape(-1))


def describe(counts) -> dict:
    """What a histogram [K] of labels says about the codebook.

    Returns:
        `used_codes`, share of codes with a frame; `majority`, accuracy of always guessing the
        commonest; `entropy` of their frequencies, natural logarithm; `perplexity`, its exponential.
    """
    counts = np.asarray(counts, np.float64)
    share = counts / max(counts.sum(), 1.0)
    entropy = -(share * np.log(np.where(share > 0, share, 1))).sum()
    return {
        "used_codes": (counts > 0).mean(),
        "majority": share.max(),
        "entropy": entropy,
        "perplexity": np.exp(entropy),
    }
