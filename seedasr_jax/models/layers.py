"""Layers that the modules of a model are made of, and which of their parameters are matrices.

Dims: L layers, B batch, T frames, V vocabulary; `...` stands for the axes of one layer's parameter.
"""

import functools

from flax import nnx
import jax
import jax.numpy as jnp

from seedasr_jax import shapes
from seedasr_jax.models import kernels
from seedasr_jax.parallel import layout, rules

_policies = jax.checkpoint_policies
_products = _policies.dots_with_no_batch_dims_saveable
_attended = _policies.save_only_these_names(kernels.ATTENDED)
_to_host = _policies.offload_dot_with_no_batch_dims("device", "pinned_host")


def _offloaded(*of, **options):
    return _attended(*of, **options) or _to_host(*of, **options)


# What a layer saves for the backward pass. none: everything; block: its input; dots: its products
# with weights, and attention's output (its scores are always recomputed); offload: the products in
# host memory.
REMAT = {
    "none": lambda body: body,
    "block": jax.checkpoint,
    "dots": functools.partial(
        jax.checkpoint, policy=_policies.save_from_both_policies(_products, _attended)
    ),
    "offload": functools.partial(jax.checkpoint, policy=_offloaded),
}

# Maximum number of layers whose scan is unrolled on a CPU. A loop costs 4 small layers a third of a
# step there, and 8 layers of width 256 a sixth (but saves 30 of 75 s of compilation).
UNROLLED = 8

MATRICES = ("kernel", "kernels", "table", "lora_a", "lora_b")  # not norms, not biases

VOCABULARY_MULTIPLE = 128  # embedding rows are padded to it, so that any vocabulary shards


class LoraParam(nnx.Param):
    """A parameter of a low-rank adapter; all of them form the part `lora`."""


def is_matrix(path) -> bool:
    """Whether the parameter at a path of an nnx.State is a matrix."""
    return any(str(key) in MATRICES for key in path)


def as_used(params: nnx.State, dtype) -> nnx.State:
    """The parameters, with matrices cast to the type of their products: the layer's or `dtype`."""

    def one(path, param):
        if not is_matrix(path):
            return param
        return param.replace(param[...].astype(param.get_metadata("used", dtype)))

    return nnx.map_state(one, params)


def padded_vocabulary(size: int) -> int:
    """Number of rows of an embedding or head for `size` pieces."""
    return -(-size // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE


def matmul(x, kernel, out=None):
    """[... I] @ [I O], accumulated and returned in the type `out` (None: the inputs' type).

    Leading axes are flattened, which saves XLA:CPU transposes in the kernel's gradient.
    """
    y = jnp.dot(x.reshape(-1, x.shape[-1]), kernel, preferred_element_type=out)
    return y.reshape(*x.shape[:-1], kernel.shape[1])


class Dense(nnx.Module):
    """y = x @ kernel (+ bias), plus a low-rank adapter (arXiv 2106.09685) if `lora` > 0.

    `axes` names the kernel's logical axes; parallel/rules.py maps them to the mesh. `out` is the
    type of y (None: `dtype`): float32 in heads, because many logits are equal in bfloat16.
    """

    def __init__(
        self, inputs, outputs, axes, *, dtype, rngs, bias=False, lora=0, alpha=16, scale=1, out=None
    ):
        init = nnx.initializers.variance_scaling(scale, "fan_in", "truncated_normal")
        drawn = init(rngs.params(), (inputs, outputs), jnp.float32)
        self.kernel = nnx.Param(drawn, axes=axes, used=jnp.dtype(dtype).name)
        self.bias = nnx.data(nnx.Param(jnp.zeros(outputs), axes=(axes[1],)) if bias else None)
        self.dtype, self.out = dtype, out
        self.scattered = rules.RULES.get(axes[0]) == "tensor"
        self.lora_scale = alpha / lora if lora else 0.0
        self.lora_a = self.lora_b = nnx.data(None)
        if lora:
            a = nnx.initializers.lecun_normal()(rngs.params(), (inputs, lora), jnp.float32)
            self.lora_a = LoraParam(a, axes=(axes[0], "rank"))
            self.lora_b = LoraParam(jnp.zeros((lora, outputs)), axes=("rank", axes[1]))

    def __call__(self, x):
        x, kernel = x.astype(self.dtype), self.kernel[...].astype(self.dtype)
        # A result summed over `tensor` is sharded over it by position (layout.residual). Flattened
        # examples and positions cannot be, and what remat saves of them would be replicated.
        scattered = self.scattered and layout.axis_size("tensor") > 1
        product = functools.partial(jnp.dot, preferred_element_type=self.out)
        y = product(x, kernel) if scattered else matmul(x, kernel, self.out)
        if self.lora_a is not None:
            low = matmul(x, self.lora_a[...].astype(self.dtype))
            y = y + self.lora_scale * matmul(low, self.lora_b[...].astype(self.dtype))
        return y if self.bias is None else y + shapes.align(self.bias[...].astype(y.dtype), y)


class LayerNorm(nnx.Module):
    """Zero mean, unit variance over the last axis, in float32, then scale and bias."""

    def __init__(self, width, *, dtype, epsilon=1e-5):
        self.scale = nnx.Param(jnp.ones(width), axes=("norm",))
        self.bias = nnx.Param(jnp.zeros(width), axes=("norm",))
        self.dtype, self.epsilon = dtype, epsilon

    def __call__(self, x):
        x = x.astype(jnp.float32)
        x = x - x.mean(-1, keepdims=True)
        x = x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + self.epsilon)
        x = x * shapes.align(self.scale[...], x) + shapes.align(self.bias[...], x)
        return x.astype(self.dtype)


class RMSNorm(nnx.Module):
    """Unit mean square over the last axis, in float32, then scale (arXiv 1910.07467)."""

    def __init__(self, width, *, dtype, epsilon):
        self.scale = nnx.Param(jnp.ones(width), axes=("norm",))
        self.dtype, self.epsilon = dtype, epsilon

    def __call__(self, x):
        x = x.astype(jnp.float32)
        x = x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + self.epsilon)
        return (x * shapes.align(self.scale[...], x)).astype(self.dtype)


class Embed(nnx.Module):
    """A table [V E] of token embeddings; rows from `size` on are padding, never looked up."""

    def __init__(self, size, width, *, dtype, rngs):
        rows = padded_vocabulary(size)
        table = jax.random.normal(rngs.params(), (rows, width)) * width**-0.5
        self.table = nnx.Param(table, axes=("vocab", "embed"))
        self.dtype = dtype

    def __call__(self, ids):
        x = self.table[...].astype(self.dtype)[ids]
        if ids.ndim != 2:
            return x
        if layout.gathered():
            return layout.constrain(x, rules.BATCH, None, None)
        # Each device looks up its columns for all examples, which are then redistributed.
        return layout.constrain(x, "data", None, rules.FSDP)


def mask_surplus(logits, size):
    """[... V] float32 logits, set to shapes.NEVER at vocabulary padding (index >= size)."""
    valid = jnp.arange(logits.shape[-1]) < size
    return jnp.where(shapes.align(valid, logits), logits.astype(jnp.float32), shapes.NEVER)


def gelu(x):
    """GELU with the exact error function, as in PyTorch."""
    return jax.nn.gelu(x, approximate=False)


def dropout(x, rate, keys):
    """Dropout on [B T D] with one key [B] per example: draws are independent of other examples."""
    if keys is None or rate == 0.0:
        return x
    keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, x.shape[1:]))(keys)
    return jnp.where(keep, x / (1 - rate), 0).astype(x.dtype)


class Stack(nnx.Module):
    """`layers` copies of one block, stored stacked [L ...] and run by one scanned body.

    A block maps (x, *shared, per_layer) to (x, out). `per_layer` is this layer's slice of a pytree
    [L ...], such as a cache or dropout keys; `out` is returned stacked [L ...], such as caches or
    losses. `every` returns each layer's x instead; `lowest` runs only that many layers.
    """

    def __init__(self, layers, make_block, *, remat, rngs):
        @nnx.split_rngs(splits=layers)
        @nnx.vmap(in_axes=0, out_axes=0)
        def create(rngs):
            return make_block(rngs=rngs)

        self.blocks = create(rngs)
        for _, node in nnx.iter_graph(self.blocks):
            if isinstance(node, nnx.Param):
                node.set_metadata(axes=("layers", *node.get_metadata("axes", ())))
        self.layers, self.remat, self.unroll = layers, remat, layers <= UNROLLED

    def __call__(self, x, *shared, per_layer=None, every=False, lowest=None):
        graphdef, params = nnx.split(self.blocks)
        stacked = params, per_layer
        if lowest is not None:
            stacked = jax.tree.map(lambda leaf: leaf[:lowest], stacked)

        def body(x, layer):
            params, per_layer = layer
            x, out = nnx.merge(graphdef, params)(x, *shared, per_layer)
            return x, x if every else out

        unroll = self.unroll and layout.platform() in (None, "cpu")
        return jax.lax.scan(REMAT[self.remat](body), x, stacked, unroll=unroll)
