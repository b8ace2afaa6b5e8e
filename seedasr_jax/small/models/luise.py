"""LUISE without attention in its lower layers, for small encoders.

Dims: B batch, T frames, D width.
"""

from flax import nnx

from seedasr_jax import shapes
from seedasr_jax.models import luise
from seedasr_jax.models.conformer import ConformerBlock, Convolution, FeedForward
from seedasr_jax.models.layers import LayerNorm, dropout
from seedasr_jax.parallel import layout


class LocalBlock(nnx.Module):
    """A Conformer block without attention: x + FFN/2, + convolution, + FFN/2, norm."""

    def __init__(self, config, *, dtype, rngs):
        options = dict(dtype=dtype, rngs=rngs)
        self.rate = config.dropout
        self.first = FeedForward(config, **options)
        self.convolution = Convolution(config, **options)
        self.second = FeedForward(config, **options)
        self.norm = LayerNorm(config.width, dtype=dtype)

    def __call__(self, x, length, keys):
        """See ConformerBlock; the second of the four dropout keys is unused."""
        shapes.check(x, "B T D")
        x = shapes.zero_padding(x, length)
        keys = (None,) * 4 if keys is None else keys
        x = layout.residual(x + 0.5 * dropout(self.first(x), self.rate, keys[0]))
        x = layout.residual(x + dropout(self.convolution(x, length), self.rate, keys[2]))
        x = layout.residual(x + 0.5 * dropout(self.second(x), self.rate, keys[3]))
        return layout.residual(self.norm(x)), None


class LocalLuise(luise.Luise):
    """LUISE of two stacks: layers without attention, then layers with attention."""

    def draw_blocks(self, config, **options):
        """See Luise."""
        local = config.layers - config.attending
        self.local = luise.stacked(LocalBlock, local, config, **options)
        self.blocks = luise.stacked(ConformerBlock, config.attending, config, **options)

    @property
    def stacks(self):
        """See Luise."""
        return self.local, self.blocks

    @staticmethod
    def flops(options, features, utterances=1, lowest=0):
        """See Encoder."""
        layers = lowest or options.layers
        attending = max(0, layers - (options.layers - options.attending))
        return luise.flops(options, features, utterances, layers=layers, attention_layers=attending)
