"""Probe: finds the encoder layer that best predicts text (Seed-ASR section 3.2).

Dims: L layers, B batch, T encoder frames, D encoder width, V vocabulary.
"""

import functools

from flax import nnx
import jax
import jax.numpy as jnp

from seedasr_jax import shapes
from seedasr_jax.models.head import Head
from seedasr_jax.models.layers import Stack


class _Measured(nnx.Module):
    """A CTC head as a block of a Stack that returns `measure(logits)`."""

    def __init__(self, width, vocabulary, *, dtype, rngs):
        self.head = Head(width, vocabulary, dtype=dtype, rngs=rngs)

    def __call__(self, x, measure, per_layer):
        return x, measure(self.head(per_layer))


class Probe(nnx.Module):
    """A CTC head on each encoder layer."""

    def __init__(self, layers, width, vocabulary, *, remat, dtype, rngs):
        block = functools.partial(_Measured, width, vocabulary, dtype=dtype)
        self.heads = Stack(layers, block, remat=remat, rngs=rngs)

    def __call__(self, x, measure):
        """`measure` of the logits [B T V] of each layer of x [L B T D], one at a time: [L ...]."""
        shapes.check(x, "L B T D")
        return self.heads(jnp.zeros(()), measure, per_layer=x)[1]

    def head(self, layer) -> Head:
        """The head of one layer, counted from 0; may be traced."""
        graphdef, stacked = nnx.split(self.heads.blocks)
        return nnx.merge(graphdef, jax.tree.map(lambda x: x[layer], stacked)).head
