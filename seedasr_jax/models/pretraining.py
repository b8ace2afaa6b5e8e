"""Parts of the self-supervised stages: a head for codes, and a probe of layers.

Dims: L layers, B batch, T encoder frames, D encoder width, K codes, V vocabulary.
"""

from flax import nnx
import jax
import jax.numpy as jnp

from seedasr_jax import shapes
from seedasr_jax.models.ctc_head import CtcHead
from seedasr_jax.models.layers import Dense, Stack, mask_surplus, padded_vocabulary


class SslHead(nnx.Module):
    """Linear layer that predicts codes: [B T D] -> [B T K] float32 logits; dropped after SSL."""

    def __init__(self, width, codes, *, dtype, rngs):
        self.codes = codes
        options = dict(bias=True, dtype=dtype, rngs=rngs, out=jnp.float32)
        self.project = Dense(width, padded_vocabulary(codes), ("width", "vocab"), **options)

    def __call__(self, x):
        shapes.check(x, "B T D")
        return mask_surplus(self.project(x), self.codes)


class _Measured(nnx.Module):
    """A CTC head as a block of a Stack that returns `measure(logits)`."""

    def __init__(self, width, vocabulary, *, dtype, rngs):
        self.head = CtcHead(width, vocabulary, dtype=dtype, rngs=rngs)

    def __call__(self, x, measure, of_layer):
        return x, measure(self.head(of_layer))


class Probe(nnx.Module):
    """A CTC head on each encoder layer, to find the layer that best predicts text (section 3.2)."""

    def __init__(self, layers, width, vocabulary, *, remat, dtype, rngs):
        def block(rngs):
            return _Measured(width, vocabulary, dtype=dtype, rngs=rngs)

        self.heads = Stack(layers, block, remat=remat, rngs=rngs)

    def __call__(self, x, measure):
        """`measure` of the logits [B T V] of each layer of x [L B T D], one at a time: [L ...]."""
        shapes.check(x, "L B T D")
        return self.heads(jnp.zeros(()), measure, per_layer=x)[1]

    def head(self, layer) -> CtcHead:
        """The head of one layer, counted from 0; may be traced."""
        graphdef, stacked = nnx.split(self.heads.blocks)
        return nnx.merge(graphdef, jax.tree.map(lambda x: x[layer], stacked)).head
