"""LUISE without attention in its lower layers, for small encoders."""

from seedasr_jax.models import luise
from seedasr_jax.models.conformer import ConformerBlock


class LocalBlock(ConformerBlock):
    """A Conformer block without attention: x + FFN/2, + convolution, + FFN/2, norm."""

    def make_attention(self, config, **options):
        """Creates none."""

    def attend(self, x, length, keys):
        """Returns x; the second of the four dropout keys is unused."""
        return x


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
