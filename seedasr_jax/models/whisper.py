"""Encoder of Whisper (arXiv 2212.04356): convolutions, a table of positions, Transformer blocks.

Reference: WhisperEncoder (transformers 5.24), which reads 30 s of which nothing is masked. So does
this one with a front end that pads to 30 s (`least = 480_000`); otherwise padding is masked.

Dims: B batch, T features in time, F their width, D width, P positions, L layers, T/2 frames.
"""

import functools

from flax import nnx
import jax
import jax.numpy as jnp

from seedasr_jax import shapes
from seedasr_jax.errors import ConfigError
from seedasr_jax.models import frontends, transformer
from seedasr_jax.models.clock import Strided
from seedasr_jax.models.encoders import Encoder
from seedasr_jax.models.layers import Dense, LayerNorm, Stack, gelu

_SIZE, _STRIDE = 3, 2  # of the convolutions, and of the second one


class WhisperEncoder(Encoder):
    """Speech encoder: features [B T F] to [B ceil(T/2) D], T/2 at most P."""

    def __init__(self, config, *, remat, dtype, rngs):
        super().__init__(config)
        self.config, self.dtype = config, dtype
        options, axes = dict(bias=True, dtype=dtype, rngs=rngs), ("patch", "width")
        self.first = Dense(_SIZE * config.frontend.width, config.width, axes, **options)
        self.second = Dense(_SIZE * config.width, config.width, axes, **options)
        table = transformer.positions(config.positions, config.width, jnp.float32)
        self.positions = nnx.Param(table, axes=("distance", "width"))
        block = functools.partial(transformer.EncoderBlock, config, key_bias=False, dtype=dtype)
        self.blocks = Stack(config.layers, block, remat=remat, rngs=rngs)
        self.norm = LayerNorm(config.width, dtype=dtype)

    def __call__(self, features, length, keys=None):
        """[B T F], [B] valid features -> [B ceil(T/2) D], zero at padding, and [B] valid frames."""
        del keys
        x, length = self._begin(features, length)
        x, _ = self.blocks(x, shapes.valid(length, x.shape[1]))
        return shapes.zero_padding(self.norm(x), length), length

    def every_layer(self, features, length, keys=None):
        """Outputs of all layers, [L B ceil(T/2) D], zero at padding, and [B] valid frames."""
        del keys
        x, length = self._begin(features, length)
        _, layers = self.blocks(x, shapes.valid(length, x.shape[1]), every=True)
        return jax.vmap(shapes.zero_padding, (0, None))(layers, length), length

    def layer(self, features, length, number):
        """Output of layer `number` (1: the lowest), as in `every_layer`; no higher layer runs."""
        x, length = self._begin(features, length)
        x, _ = self.blocks(x, shapes.valid(length, x.shape[1]), lowest=number)
        return shapes.zero_padding(x, length), length

    def _begin(self, features, length):
        """Convolutions and positions: [B ceil(T/2) D], and [B] valid frames."""
        dims = shapes.check(features, "B T F")
        shapes.check(length, "B", dims)
        x = gelu(self.first(_patches(features, length, 1)))
        x = gelu(self.second(_patches(x, length, _STRIDE)))
        frames, most = x.shape[1], self.config.positions
        if frames > most:
            raise ConfigError(
                f"model.encoder.positions: expected at least {frames}, the frames of the longest"
                f" bucket, found {most}: take shorter buckets"
            )
        table = self.positions[...][:frames].astype(x.dtype)
        return x + table[None], -(-length // _STRIDE)

    @staticmethod
    def clock(options):
        """The clock of frames of two features each."""
        return Strided(frontends.make(options.frontend), _STRIDE)

    @classmethod
    def flops(cls, options, features, utterances=1, lowest=0):
        """See Encoder."""
        frames, width = -(-features // _STRIDE), options.width
        front = features * _SIZE * options.frontend.width * width + frames * _SIZE * width * width
        layers = (lowest or options.layers) * transformer.flops(options, frames, frames)
        return utterances * (2.0 * front + layers)


def _patches(x, length, stride):
    """[B T D] -> [B ceil(T/stride) 3*D]: each frame with both neighbours; padding is zero."""
    x = shapes.zero_padding(x, length)
    time = -(-x.shape[1] // stride)
    x = jnp.pad(x, ((0, 0), (1, stride), (0, 0)))
    return jnp.concatenate([x[:, k : k + stride * time : stride] for k in range(_SIZE)], -1)
