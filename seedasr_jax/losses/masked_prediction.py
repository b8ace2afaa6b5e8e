"""Masked prediction: cross-entropy of the codes of masked frames, summed; codebook statistics.

Dims: B batch, T encoder frames, K codes.
"""

import jax.numpy as jnp
import numpy as np

from seedasr_jax import shapes
from seedasr_jax.losses.cross_entropy import cross_entropy


def masked_prediction(logits, labels, weights):
    """Cross-entropy on masked frames (`cross_entropy`); sum of weights with the label on top.

    [B T K] logits; [B T] int32 labels; [B T] float32 weights, positive on masked frames of rows
    with weight; other frames are ignored.
    """
    dims = shapes.check(logits, "B T K")
    shapes.check(labels, "B T", dims)
    hits = jnp.where(jnp.argmax(logits, -1) == labels, weights, 0).sum()
    return cross_entropy(logits, labels, weights), hits


def histogram(labels, weights, codes):
    """[K] weighted counts of the labels [B T], for `describe`."""
    dims = shapes.check(labels, "B T")
    shapes.check(weights, "B T", dims)
    return jnp.zeros(codes).at[labels.reshape(-1)].add(weights.reshape(-1))


def describe(counts) -> dict:
    """Statistics of a codebook from a histogram [K] of labels.

    `used_codes`: fraction of codes with any frame; `majority`: accuracy of always predicting the
    most frequent code; `entropy`: of the frequencies, natural logarithm; `perplexity`: its exp.
    """
    counts = np.asarray(counts, np.float64)
    frequencies = counts / max(counts.sum(), 1.0)
    entropy = -(frequencies * np.log(np.where(frequencies > 0, frequencies, 1))).sum()
    return {
        "used_codes": (counts > 0).mean(),
        "majority": frequencies.max(),
        "entropy": entropy,
        "perplexity": np.exp(entropy),
    }
