"""LUISE: subsampling layers (the front), then Conformer blocks (Seed-ASR section 3.2).

Dims: B batch, T features in time, F their width, D width, L layers, R = subsampling, T/R encoder
frames.
"""

import functools

from flax import nnx
import jax
import jax.numpy as jnp

from seedasr_jax import shapes
from seedasr_jax.models import frontends
from seedasr_jax.models.clock import Strided
from seedasr_jax.models.conformer import ConformerBlock, strided
from seedasr_jax.models.encoders import Encoder
from seedasr_jax.models.layers import Dense, LayerNorm, Stack, dropout


class StridedFront(nnx.Module):
    """log2(R) strided 3 x 3 convolutions with ReLU, then one linear layer."""

    def __init__(self, config, feature_width, *, dtype, rngs):
        self.dtype = dtype
        self.kernels, self.biases, inputs, bins = nnx.List(), nnx.List(), 1, feature_width
        for _ in range(config.subsampling.bit_length() - 1):
            init = nnx.initializers.he_normal()
            kernel = init(rngs.params(), (9 * inputs, config.channels), jnp.float32)
            self.kernels.append(nnx.Param(kernel, axes=("patch", "channels")))
            self.biases.append(nnx.Param(jnp.zeros(config.channels), axes=("norm",)))
            inputs, bins = config.channels, -(-bins // 2)
        self.out = Dense(bins * inputs, config.width, ("patch", "width"), dtype=dtype, rngs=rngs)

    def __call__(self, x, length):
        x = x[..., None].astype(self.dtype)
        for kernel, bias in zip(self.kernels, self.biases):
            x = shapes.zero_padding(x, length)
            x = strided(x, kernel[...].astype(self.dtype))
            x = jax.nn.relu(x + shapes.align(bias[...].astype(x.dtype), x))
            length = -(-length // 2)
        return self.out(x.reshape(*x.shape[:2], -1)), length


class StackedFront(nnx.Module):
    """One linear layer over R concatenated frames; cheap, for small models."""

    def __init__(self, config, feature_width, *, dtype, rngs):
        self.size = config.subsampling
        inputs = self.size * feature_width
        self.out = Dense(inputs, config.width, ("patch", "width"), dtype=dtype, rngs=rngs)

    def __call__(self, x, length):
        x = shapes.zero_padding(x, length)
        x = jnp.pad(x, ((0, 0), (0, -x.shape[1] % self.size), (0, 0)))
        x = x.reshape(x.shape[0], -1, self.size * x.shape[2])
        return self.out(x), -(-length // self.size)


class Luise(Encoder):
    """Speech encoder: features [B T F] to [B ceil(T/R) D]."""

    def __init__(self, config, *, remat, dtype, rngs):
        super().__init__(config)
        self.layers, self.rate = config.layers, config.dropout
        front = StridedFront if config.front == "conv" else StackedFront
        self.front = front(config, config.frontend.width, dtype=dtype, rngs=rngs)
        self.norm = LayerNorm(config.width, dtype=dtype)
        self.draw_blocks(config, remat=remat, dtype=dtype, rngs=rngs)

    def draw_blocks(self, config, *, dtype, **options):
        """Creates the stacks of layers; options are remat and rngs."""
        block = functools.partial(ConformerBlock, config, dtype=dtype)
        self.blocks = Stack(config.layers, block, **options)

    @property
    def stacks(self) -> tuple[Stack, ...]:
        """The stacks, the lowest first."""
        return (self.blocks,)

    def __call__(self, features, length, keys=None):
        """[B T F], [B] valid features -> [B ceil(T/R) D], zero at padding, and [B] valid frames.

        `keys`: [B] random keys for dropout, or None: no dropout.
        """
        x, length, keys = self._begin(features, length, keys)
        for stack, of_stack in self._stacks(keys):
            x, _ = stack(x, length, per_layer=of_stack)
        return shapes.zero_padding(x, length), length

    def every_layer(self, features, length, keys=None):
        """Outputs of all layers, [L B ceil(T/R) D], zero at padding, and [B] valid frames."""
        x, length, keys = self._begin(features, length, keys)
        found = []
        for stack, of_stack in self._stacks(keys):
            x, layers = stack(x, length, per_layer=of_stack, every=True)
            found.append(layers)
        return jax.vmap(shapes.zero_padding, (0, None))(jnp.concatenate(found), length), length

    def layer(self, features, length, number):
        """Output of layer `number` (1: the lowest), as in `every_layer`; no higher layer runs."""
        x, length, _ = self._begin(features, length, None)
        for stack in self.stacks:
            x, _ = stack(x, length, lowest=min(number, stack.layers))
            number = max(0, number - stack.layers)
        return shapes.zero_padding(x, length), length

    def _stacks(self, keys):
        """Yields the stacks, the lowest first, each with its layers' slice of `keys`."""
        first = 0
        for stack in self.stacks:
            yield stack, None if keys is None else keys[first : first + stack.layers]
            first += stack.layers

    def _begin(self, features, length, keys):
        """Inputs of the blocks: x, [B] valid frames, and dropout keys [L 4 B] or None."""
        dims = shapes.check(features, "B T F")
        shapes.check(length, "B", dims)
        x, length = self.front(features, length)
        x = self.norm(x)
        if keys is None or not self.rate:
            return x, length, None
        fold = jax.vmap(jax.random.fold_in, (0, None))  # over examples
        x = dropout(x, self.rate, fold(keys, 0))
        numbers = jnp.arange(1, 4 * self.layers + 1).reshape(self.layers, 4)
        return x, length, jax.vmap(jax.vmap(fold, (None, 0)), (None, 0))(keys, numbers)

    @staticmethod
    def clock(options):
        """The clock of frames of R features each."""
        return Strided(frontends.make(options.frontend), options.subsampling)

    @staticmethod
    def attention_layers(options, layers) -> int:
        """Number of the lowest `layers` that have attention."""
        return layers

    @classmethod
    def flops(cls, options, features, utterances=1, lowest=0):
        """See Encoder. The projection of distances is counted once for all utterances."""
        e, time, layers = options, features, lowest or options.layers
        attention_layers = cls.attention_layers(options, layers)
        bins = e.frontend.width
        if e.front == "stack":
            time = -(-time // e.subsampling)
            total = 2.0 * time * e.subsampling * bins * e.width
        else:
            total, inputs = 0.0, 1
            for _ in range(e.subsampling.bit_length() - 1):
                time, bins = -(-time // 2), -(-bins // 2)
                total += 2.0 * time * bins * 9 * inputs * e.channels
                inputs = e.channels
            total += 2.0 * time * bins * e.channels * e.width
        feedforward = 2 * 2 * e.width * e.ffn_dim
        convolution = (3 * e.width + e.kernel) * e.width
        projections = 4 * e.width * e.width
        scores = 3 * time * e.width  # content, distance, values
        distances = 0 if e.clip else 2 * time * e.width * e.width
        total += layers * 2.0 * time * (feedforward + convolution)
        total += attention_layers * 2.0 * time * (projections + scores)
        return utterances * total + attention_layers * 2.0 * distances
