"""Aids of the small recipes around the encoder: clocked positions, CTC posteriors, split heads.

Dims: B batch, T frames, N labels per frame, K splice, U = ceil(T / K) slots, V vocabulary, D
encoder width, E LLM width.

A tiny decoder cannot track which speech slot comes next when slots have gaps and repeats. Clocked
positions give the slots of the k-th token the position k, the running count of CTC onsets;
small/objectives/copying.py trains a new decoder to read them. A linear layer cannot learn to map
frames to a thousand embeddings in a few hundred steps: `expected_pieces` uses the CTC head instead.
"""

import jax
import jax.numpy as jnp

from seedasr_jax import shapes
from seedasr_jax.models.converter import Converter
from seedasr_jax.models.head import Head
from seedasr_jax.models.layers import mask_surplus, padded_vocabulary


def onset_clock(logits, length, splice, blank):
    """Onsets of greedy CTC tokens up to each splice's last frame: [B U] int32, without gradient.

    `logits`: [B T V] of the CTC head; `length`: [B] valid frames. Padding keeps the last count.
    """
    dims = shapes.check(logits, "B T V")
    best = jnp.where(shapes.valid(length, dims["T"]), jnp.argmax(logits, -1), blank)
    before = jnp.pad(best, ((0, 0), (1, 0)), constant_values=blank)[:, :-1]
    count = jnp.cumsum((best != blank) & (best != before), 1)
    count = jnp.pad(count, ((0, 0), (0, -dims["T"] % splice)), mode="edge")
    return jax.lax.stop_gradient(count[:, splice - 1 :: splice].astype(jnp.int32))


def expected_pieces(logits, table):
    """CTC logits [B T V] and embeddings [V E] -> each frame's expected embedding [B T E]."""
    shapes.check(table, "V E", shapes.check(logits, "B T V"))
    return jnp.einsum("BTV,VE->BTE", jax.nn.softmax(logits, -1), table)


class SplitHead(Head):
    """A head with N = `each` labels per frame: [B T D] -> [B N*T V] float32 logits."""

    def __init__(self, width, classes, *, each, **options):
        super().__init__(width, each * padded_vocabulary(classes), **options)
        self.classes, self.each = classes, each

    def __call__(self, x):
        dims = shapes.check(x, "B T D")
        logits = self.project(x).reshape(dims["B"], self.each * dims["T"], -1)
        return mask_surplus(logits, self.classes)


class MeanConverter(Converter):
    """Reads `expected_pieces` [B T E], and is initialised as the mean of those that it splices."""

    def __init__(self, _frame_width, width, *, splice, dtype, rngs):
        super().__init__(width, width, splice=splice, dtype=dtype, rngs=rngs)
        kernel = self.project.kernel
        kernel[...] = jnp.tile(jnp.eye(width, dtype=kernel[...].dtype), (splice, 1)) / splice
