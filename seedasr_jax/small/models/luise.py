"""LUISE without attention in its lower layers, for small encoders."""

import functools

from seedasr_jax.models.conformer import ConformerBlock
from seedasr_jax.models.layers import Stack
from seedasr_jax.models.luise import Luise


class LocalBlock(ConformerBlock):
    """A Conformer block without attention: x + FFN/2, + convolution, + FFN/2, norm."""

    def make_attention(self, config, **options):
        """Creates none."""

    def attend(self, x, length, keys):
        """Returns x; the second of the four dropout keys is unused."""
        return x


class LocalLuise(Luise):
    """LUISE of two stacks: layers without attention, then layers with attention."""

    def draw_blocks(self, config, *, dtype, **options):
        """See Luise."""
        local = functools.partial(LocalBlock, config, dtype=dtype)
        block = functools.partial(ConformerBlock, config, dtype=dtype)
        self.local = Stack(config.layers - config.attending, local, **options)
        self.blocks = Stack(config.attending, block, **options)

    @property
    def stacks(self):
        """See Luise."""
        return self.local, self.blocks

    @staticmethod
    def attention_layers(options, layers):
        """See Luise."""
        return max(0, layers - (options.layers - options.attending))
