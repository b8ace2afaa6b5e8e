"""Conformer block (arXiv 2005.08100), and convolutions in each platform's fastest form.

Dims: B batch, T frames, D width, K kernel, F mel bins, C channels.
"""

import functools
import itertools

from flax import nnx
import jax
import jax.numpy as jnp

from seedasr_jax import shapes
from seedasr_jax.models.attention import RelativeAttention
from seedasr_jax.models.layers import Dense, LayerNorm, dropout, matmul
from seedasr_jax.parallel import layout


def depthwise(x, kernel, *, causal):
    """Zero-padded depthwise convolution over time: [B T D], [K D] -> [B T D].

    XLA:CPU's gradient of a grouped convolution is about 30 times too slow, so K shifted products
    are summed there, and the kernel's gradient is a sum over time. On TPU each product would
    exchange a halo where time is sharded.
    """
    shapes.check(kernel, "K D", shapes.check(x, "B T D"))
    shifted = functools.partial(_depthwise_shifted, causal)
    grouped = functools.partial(_depthwise_grouped, causal)
    return jax.lax.platform_dependent(x, kernel, cpu=shifted, default=grouped)


def _padding(size, causal):
    left = size - 1 if causal else size // 2
    return left, size - 1 - left


def _depthwise_grouped(causal, x, kernel):
    return jax.lax.conv_general_dilated(
        x,
        kernel[:, None],
        (1,),
        (_padding(len(kernel), causal),),
        dimension_numbers=("NWC", "WIO", "NWC"),
        feature_group_count=kernel.shape[1],
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _depthwise_shifted(causal, x, kernel):
    return _shifted(_padded(x, _padding(len(kernel), causal)), kernel)


def _depthwise_shifted_backward(causal, saved, gradient):
    x, kernel = saved
    pad, size = _padding(len(kernel), causal), len(kernel)
    x = _padded(x, pad)

    def add(total, at):  # [B K D]
        inputs = jax.lax.dynamic_slice_in_dim(x, at, size, 1)  # of output frame `at`
        return total + inputs * jax.lax.dynamic_slice_in_dim(gradient, at, 1, 1), None

    times = jnp.arange(gradient.shape[1])
    zeros = jnp.zeros((x.shape[0], *kernel.shape), x.dtype)
    of_kernel, _ = jax.lax.scan(add, zeros, times, unroll=5)
    return _shifted(_padded(gradient, pad[::-1]), kernel[::-1]), of_kernel.sum(0)


_depthwise_shifted.defvjp(
    lambda causal, *inputs: (_depthwise_shifted(causal, *inputs), inputs),
    _depthwise_shifted_backward,
)


def _padded(x, pad):
    return jnp.pad(x, ((0, 0), pad, (0, 0)))


def _shifted(x, kernel):
    """[B T+K-1 D], [K D] -> [B T D]."""
    time = x.shape[1] - len(kernel) + 1
    return sum(x[:, k : k + time] * kernel[None, None, k] for k in range(len(kernel)))


def strided(x, kernel):
    """Zero-padded 3 x 3 convolution of stride 2: [B T F C], [9*C D] -> [B ceil(T/2) ceil(F/2) D].

    On CPU: nine strided slices and one product, because XLA's convolution is several times slower.
    """
    _, time, bins, channels = x.shape
    outputs = kernel.shape[1]
    rows, columns = -(-time // 2), -(-bins // 2)

    def sliced(x, kernel):
        x = jnp.pad(x, ((0, 0), (1, 2), (1, 2), (0, 0)))
        corners = itertools.product(range(3), range(3))
        patches = [x[:, i : i + 2 * rows : 2, j : j + 2 * columns : 2] for i, j in corners]
        return matmul(jnp.concatenate(patches, -1), kernel)

    def convolution(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel.reshape(3, 3, channels, outputs),
            (2, 2),
            ((1, 2 * rows - time), (1, 2 * columns - bins)),  # 2*ceil(n/2) - n: 1 if odd
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    return jax.lax.platform_dependent(x, kernel, cpu=sliced, default=convolution)


class FeedForward(nnx.Module):
    """Norm, up-projection, swish, down-projection."""

    def __init__(self, config, *, dtype, rngs):
        self.norm = LayerNorm(config.width, dtype=dtype)
        options = dict(bias=config.bias, dtype=dtype, rngs=rngs)
        self.up = Dense(config.width, config.ffn_dim, ("width", "encoder_mlp"), **options)
        self.down = Dense(config.ffn_dim, config.width, ("encoder_mlp", "width"), **options)

    def __call__(self, x):
        return self.down(layout.hidden(jax.nn.silu(self.up(layout.all_positions(self.norm(x))))))


class Convolution(nnx.Module):
    """Norm, gated pointwise, depthwise, norm, swish, pointwise.

    LayerNorm replaces the paper's BatchNorm: no statistics over replicas or padding.
    """

    def __init__(self, config, *, dtype, rngs):
        width = config.width
        self.causal = config.causal
        self.norm = LayerNorm(width, dtype=dtype)
        options = dict(bias=config.bias, dtype=dtype, rngs=rngs)
        self.value = Dense(width, width, ("width", "encoder_mlp"), **options)
        self.gate = Dense(width, width, ("width", "encoder_mlp"), **options)
        init = nnx.initializers.lecun_normal()(rngs.params(), (config.kernel, width), jnp.float32)
        self.kernel = nnx.Param(init, axes=("kernel", "encoder_mlp"))
        self.middle = LayerNorm(width, dtype=dtype)
        self.out = Dense(width, width, ("encoder_mlp", "width"), **options)
        self.dtype = dtype

    def __call__(self, x, length):
        x = layout.all_positions(self.norm(x))
        x = layout.hidden(self.value(x) * jax.nn.sigmoid(self.gate(x)))
        x = shapes.zero_padding(x, length)  # biases make padding non-zero
        x = depthwise(x, self.kernel[...].astype(self.dtype), causal=self.causal)
        return self.out(jax.nn.silu(self.middle(x)))


class ConformerBlock(nnx.Module):
    """x + FFN/2, + attention, + convolution, + FFN/2, norm (arXiv 2005.08100, equation 1)."""

    def __init__(self, config, *, dtype, rngs):
        options = dict(dtype=dtype, rngs=rngs)
        self.rate = config.dropout
        self.first = FeedForward(config, **options)
        self.make_attention(config, **options)
        self.convolution = Convolution(config, **options)
        self.second = FeedForward(config, **options)
        self.norm = LayerNorm(config.width, dtype=dtype)

    def make_attention(self, config, **options):
        """Creates the attention, which a subclass may leave out."""
        self.attention_norm = LayerNorm(config.width, dtype=options["dtype"])
        options |= dict(clip=config.clip, bias=config.bias)
        self.attention = RelativeAttention(config.width, config.heads, **options)

    def attend(self, x, length, keys):
        """x + attention, with dropout keys [B] or None."""
        y = layout.all_positions(self.attention_norm(x))
        y = self.attention(y, shapes.valid(length, x.shape[1]))
        return layout.residual(x + dropout(y, self.rate, keys))

    def __call__(self, x, length, keys):
        """[B T D], [B] valid frames, dropout keys [4 B] or None -> ([B T D], None)."""
        shapes.check(x, "B T D")
        x = shapes.zero_padding(x, length)
        keys = (None,) * 4 if keys is None else keys
        x = layout.residual(x + 0.5 * dropout(self.first(x), self.rate, keys[0]))
        x = self.attend(x, length, keys[1])
        x = layout.residual(x + dropout(self.convolution(x, length), self.rate, keys[2]))
        x = layout.residual(x + 0.5 * dropout(self.second(x), self.rate, keys[3]))
        return layout.residual(self.norm(x)), None
