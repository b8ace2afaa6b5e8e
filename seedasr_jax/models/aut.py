"""AuT, the encoder of Qwen3-ASR: convolutions by chunks of 1 s, attention in windows of 8 chunks.

Reference: Qwen3ASREncoder (transformers 5.24, models/qwen3_asr). Each chunk is convolved and gets
positions by itself; attention reads one window, not the whole utterance.

Dims: B batch, T features in time, F their width, C chunks of 100 features and 13 frames, D width,
W windows of N frames, L layers.
"""

import dataclasses
import functools

from flax import nnx
import jax
import jax.numpy as jnp

from seedasr_jax import shapes
from seedasr_jax.models import frontends, transformer
from seedasr_jax.models.clock import Clock
from seedasr_jax.models.conformer import strided
from seedasr_jax.models.encoders import Encoder
from seedasr_jax.models.layers import Dense, LayerNorm, Stack, gelu

_CONVOLUTIONS = 3  # that halve time and frequency


@dataclasses.dataclass(frozen=True)
class ChunkedClock:
    """Frames of chunks of `chunk` features, each halved three times by itself, rounded up."""

    features: Clock
    chunk: int

    @property
    def full(self) -> int:
        """Frames of a full chunk."""
        return -(-self.chunk // 2**_CONVOLUTIONS)

    def frames(self, samples, tempo=1.0):
        """See Clock."""
        return self.of_features(self.features.frames(samples, tempo))

    def buffer(self, samples: int) -> int:
        """See Clock."""
        return -(-self.features.buffer(samples) // self.chunk) * self.full

    def seconds(self, frame):
        """See Clock."""
        features = frame // self.full * self.chunk + frame % self.full * 2**_CONVOLUTIONS
        return self.features.seconds(features)

    def of_features(self, count):
        """Number of frames of `count` features."""
        return count // self.chunk * self.full + -(-(count % self.chunk) // 2**_CONVOLUTIONS)


class Aut(Encoder):
    """Speech encoder: features [B T F] to [B C*13 D], for chunks of 100 features."""

    def __init__(self, config, *, remat, dtype, rngs):
        super().__init__(config)
        self.config, self.dtype = config, dtype
        self.timing = self.clock(config)
        self.kernels, self.biases = nnx.List(), nnx.List()
        inputs, bins = 1, config.frontend.width
        for _ in range(_CONVOLUTIONS):
            init = nnx.initializers.he_normal()
            kernel = init(rngs.params(), (9 * inputs, config.channels), jnp.float32)
            self.kernels.append(nnx.Param(kernel, axes=("patch", "channels")))
            self.biases.append(nnx.Param(jnp.zeros(config.channels), axes=("norm",)))
            inputs, bins = config.channels, -(-bins // 2)
        options = dict(dtype=dtype, rngs=rngs)
        self.project = Dense(bins * inputs, config.width, ("patch", "width"), **options)
        block = functools.partial(transformer.EncoderBlock, config, key_bias=True, dtype=dtype)
        self.blocks = Stack(config.layers, block, remat=remat, rngs=rngs)
        self.norm = LayerNorm(config.width, dtype=dtype)

    def __call__(self, features, length, keys=None):
        """[B T F], [B] valid features -> [B C*13 D], zero at padding, and [B] valid frames."""
        del keys
        x, length = self._begin(features, length)
        x, valid, time = *self._windows(x, length), x.shape[1]
        x, _ = self.blocks(x, valid)
        return shapes.zero_padding(self._joined(self.norm(x), time, length), length), length

    def every_layer(self, features, length, keys=None):
        """Outputs of all layers, [L B C*13 D], zero at padding, and [B] valid frames."""
        del keys
        x, length = self._begin(features, length)
        x, valid, time = *self._windows(x, length), x.shape[1]
        _, layers = self.blocks(x, valid, every=True)
        joined = jnp.stack([self._joined(layer, time, length) for layer in layers])
        return jax.vmap(shapes.zero_padding, (0, None))(joined, length), length

    def layer(self, features, length, number):
        """Output of layer `number` (1: the lowest), as in `every_layer`; no higher layer runs."""
        x, length = self._begin(features, length)
        x, valid, time = *self._windows(x, length), x.shape[1]
        x, _ = self.blocks(x, valid, lowest=number)
        return shapes.zero_padding(self._joined(x, time, length), length), length

    def _begin(self, features, length):
        """Convolutions and positions of each chunk: [B C*13 D], and [B] valid frames."""
        dims = shapes.check(features, "B T F")
        shapes.check(length, "B", dims)
        chunk = self.config.chunk
        x = shapes.zero_padding(features, length)
        x = jnp.pad(x, ((0, 0), (0, -dims["T"] % chunk), (0, 0)))
        x = x.reshape(-1, chunk, dims["F"], 1).astype(self.dtype)  # [B*C 100 F 1]
        for kernel, bias in zip(self.kernels, self.biases):
            # Padding inside the last chunk is convolved too, as in the reference.
            x = strided(x, kernel[...].astype(self.dtype))
            x = gelu(x + shapes.align(bias[...].astype(x.dtype), x))
        x = self.project(x.reshape(*x.shape[:2], -1))  # [B*C 13 D]
        x = x + transformer.positions(*x.shape[1:], x.dtype)[None]
        # Only the last chunk is partial, so valid frames are contiguous.
        return x.reshape(dims["B"], -1, x.shape[-1]), self.timing.of_features(length)

    def _windows(self, x, length):
        """[B C*13 D] -> [B*W N D], windows of N frames, and [B*W N] bool valid frames."""
        size = self.config.window * self.timing.full
        size = min(size, x.shape[1])  # a shorter buffer has one window
        valid = shapes.valid(length, x.shape[1])
        more = -x.shape[1] % size
        x = jnp.pad(shapes.zero_padding(x, length), ((0, 0), (0, more), (0, 0)))
        valid = jnp.pad(valid, ((0, 0), (0, more)))
        return x.reshape(-1, size, x.shape[-1]), valid.reshape(-1, size)

    def _joined(self, x, time, length):
        """The inverse of `_windows`: [B time D]."""
        return x.reshape(len(length), -1, x.shape[-1])[:, :time]

    @staticmethod
    def clock(options):
        """The clock of its chunks."""
        return ChunkedClock(frontends.make(options.frontend), options.chunk)

    @classmethod
    def flops(cls, options, features, utterances=1, lowest=0):
        """See Encoder."""
        chunks, bins, inputs = -(-features // options.chunk), options.frontend.width, 1
        total, time = 0.0, options.chunk
        for _ in range(_CONVOLUTIONS):
            time, bins = -(-time // 2), -(-bins // 2)
            total += 2.0 * time * bins * 9 * inputs * options.channels
            inputs = options.channels
        total = chunks * (total + 2.0 * time * bins * inputs * options.width)
        layers, keys = lowest or options.layers, min(chunks, options.window) * time
        total += layers * transformer.flops(options, chunks * time, keys)
        return utterances * total
