"""Mixture-of-experts feed-forward of Qwen3-MoE shape (arXiv 2505.09388): exact, nothing dropped.

A router gives each token the K best of X experts; what comes out is the sum of their outputs, each
times its share of the router's softmax among those K. Devices along the mesh axis `expert` own X/S
experts each. Tokens, not weights, travel: each device gathers those of its S neighbours, sorts
their K choices by expert, multiplies what chose an expert of its own, and the sums are scattered
back. A token's 8 choices reach nearly all of 4 or 8 shards, so that this moves no more than an
all-to-all would.

Dims: B batch, N positions, R tokens, K experts of a token, X experts, S shards of them, E width,
F hidden width of an expert, I inputs, O outputs.
"""

import dataclasses
import functools
import math

from flax import nnx
import jax
from jax.experimental.pallas.ops.tpu.megablox import gmm
import jax.numpy as jnp

from seedasr_jax import shapes
from seedasr_jax.models.layers import Dense
from seedasr_jax.parallel import layout, rules
from seedasr_jax.shapes import LANES

TALL = 128, 256, 512  # rows that Megablox may take at a time


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Routing:
    """What a layer's router did with each example's valid tokens; a Stack adds an axis of layers.

    Means over an example's own tokens: no example's router losses depend on its neighbours, and
    they add up over micro-batches.
    """

    load: jax.Array  # [B X], of all choices the share of each expert; sums to 1
    balance: jax.Array  # [B], 1 where load and probabilities are even
    z: jax.Array  # [B], mean of the squared log of the softmax's denominator


class Kernels(nnx.Module):
    """One matrix [I O] of each expert."""

    def __init__(self, experts, inputs, outputs, axes, *, dtype, rngs):
        init = nnx.initializers.variance_scaling(
            1.0, "fan_in", "truncated_normal", in_axis=-2, out_axis=-1, batch_axis=0
        )
        drawn = init(rngs.params(), (experts, inputs, outputs), jnp.float32)
        self.kernels = nnx.Param(drawn, axes=("experts", *axes))
        self.dtype = dtype

    def __call__(self):
        """[X I O] in the type of the computation."""
        return self.kernels[...].astype(self.dtype)


class MixtureFeedForward(nnx.Module):
    """SwiGLU experts behind a router."""

    def __init__(self, config, *, dtype, rngs):
        moe, width, hidden = config.moe, config.width, config.ffn_dim
        self.experts, self.active, self.dtype = moe.experts, moe.active, dtype
        options = dict(dtype=dtype, rngs=rngs)
        # In float32: close logits must not change places by rounding.
        self.router = Dense(width, moe.experts, ("embed", "routes"), dtype=jnp.float32, rngs=rngs)
        self.gate = Kernels(moe.experts, width, hidden, ("expert_embed", "mlp"), **options)
        self.up = Kernels(moe.experts, width, hidden, ("expert_embed", "mlp"), **options)
        self.down = Kernels(moe.experts, hidden, width, ("mlp", "expert_embed"), **options)

    def __call__(self, x, real):
        """[B N E] tokens -> [B N E], and what the router did with the `real` ones [B N].

        `real` None: with none of them; Routing is then None.
        """
        shapes.check(x, "B N E")
        logits = self.router(x)  # [B N X]
        probs = jax.nn.softmax(logits, -1)
        share, chosen = jax.lax.top_k(probs, self.active)  # [B N K]
        share = share / share.sum(-1, keepdims=True)
        y = mix(x.astype(self.dtype), chosen, share, self.gate(), self.up(), self.down())
        return y, None if real is None else routing(logits, probs, chosen, real)


def routing(logits, probs, chosen, real) -> Routing:
    """Load and losses over each example's valid tokens.

    Balance is equation 4 of Switch Transformers (arXiv 2101.03961), X sum_x load_x P_x, with load
    over all K choices, of each sequence as in DeepSeek-V3 (arXiv 2412.19437, equations 17 to 20);
    z is equation 5 of ST-MoE (arXiv 2202.08906).

    Args:
        logits, probs: [B N X] of the router and their softmax.
        chosen: [B N K] int32.
        real: [B N] bool.
    """
    experts, active = logits.shape[-1], chosen.shape[-1]
    tokens = jnp.maximum(real.sum(1), 1)  # [B]

    def mean(x):
        total = jnp.where(shapes.align_left(real, x), x, 0).sum(1)
        return total / shapes.align_left(tokens, total)

    picked = jax.nn.one_hot(chosen, experts, dtype=jnp.float32).sum(2)  # [B N X], 0 or 1
    load = mean(picked) / active
    balance = experts * (load * mean(probs)).sum(-1)
    return Routing(load, balance, mean(jax.nn.logsumexp(logits, -1) ** 2))


def mix(x, chosen, share, gate, up, down):
    """Sums each token's experts.

    Args:
        x: [B N E].
        chosen: [B N K] int32, different experts; share: [B N K] float32.
        gate, up: [X E F]; down: [X F E].

    Returns:
        [B N E].
    """
    gathered, experts = layout.gathered(), down.shape[0]
    if layout.mesh() is None:
        return _gathered(x, chosen, share, _widening(gate, up), down, 0, experts)
    batch = layout.if_divisible(rules.BATCH, x.shape[0])
    rows = layout.if_divisible("tensor", x.shape[1])  # as residuals are sharded
    tokens = (batch, None, None)
    held = None if gathered else "fsdp"
    into, out_of = ("expert", held, "tensor"), ("expert", "tensor", held)

    def local(x, chosen, share, gate, up, down):
        widening = _widening(gate, up)
        if not gathered:
            widening = [jax.lax.all_gather(one, "fsdp", axis=1, tiled=True) for one in widening]
            down = jax.lax.all_gather(down, "fsdp", axis=2, tiled=True)
        if batch:
            x, chosen, share = (
                jax.lax.all_gather(of, "expert", axis=0, tiled=True) for of in (x, chosen, share)
            )
        first = jax.lax.axis_index("expert") * down.shape[0]
        y = _gathered(x, chosen, share, widening, down, first, experts)
        for axis, mesh_axis, scattered in ((0, "expert", batch), (1, "tensor", rows)):
            if scattered:
                y = jax.lax.psum_scatter(y, mesh_axis, scatter_dimension=axis, tiled=True)
            else:
                y = jax.lax.psum(y, mesh_axis)
        return y

    arrays = (x, chosen, share, gate, up, down)
    places = (tokens, tokens, tokens, into, into, out_of)
    return layout.on_shards(local, arrays, places, (batch, rows, None))


def _widening(gate, up):
    """The kernels of `_gathered`: one [X E 2F], so that rows and their gradient exist once, but two
    [X E F] where each token of a transcript reads them: joining would cost more than the product.
    """
    return [gate, up] if layout.gathered() else [jnp.concatenate([gate, up], -1)]


def tall(rows: int, experts: int) -> int:
    """Rows that Megablox takes at a time: as few as hold what an expert has at even load.

    Each expert costs whole ones: those of a transcript's tokens, some for each expert, would be
    multiplied as 512 for each.
    """
    return next((size for size in TALL if rows <= size * experts), TALL[-1])


def _gathered(x, chosen, share, widening, down, first, total):
    """What the experts `first`, first + 1, ... of `total` give: [B N E], 0 where none of them was
    chosen.

    `widening`: gate and up, see `_widening`.
    """
    experts, active = down.shape[0], chosen.shape[-1]
    tokens = x.reshape(-1, x.shape[-1])
    count, more, tile = len(tokens), 0, tall(chosen.size, total)
    if layout.platform() == "tpu":  # tokens that choose nothing make up what Megablox takes
        more = -count % (tile // math.gcd(active, tile))
    tokens = jnp.pad(tokens, ((0, more), (0, 0)))
    chosen = jnp.pad(chosen.reshape(-1), (0, more * active), constant_values=-1)
    share = jnp.pad(share.reshape(-1), (0, more * active))
    own = (chosen >= first) & (chosen < first + experts)
    expert = jnp.where(own, chosen - first, experts)  # the rest is sorted behind all groups
    order = jnp.argsort(expert, stable=True)
    undo = jnp.argsort(order)
    sizes = jnp.bincount(expert, length=experts).astype(jnp.int32)

    rows = _dispatch(tokens, order, undo, active)  # [R*K E]
    # What a product gives behind its groups, forward or back, is not promised.
    rows = jnp.where(own[order][:, None], rows, 0)
    # A token's sum is linear in what its experts hold inside: there its share costs a gradient F
    # wide, and not E.
    share = _permute(jnp.where(own, share, 0)[:, None], order, undo)
    widened = jnp.concatenate([product(rows, kernels, sizes, tile) for kernels in widening], -1)
    gate, hidden = jnp.split(widened, 2, -1)
    hidden = jax.nn.silu(gate) * hidden
    hidden = (hidden.astype(jnp.float32) * share).astype(x.dtype)
    rows = product(hidden, down, sizes, tile)
    rows = jnp.where(own[:, None], _permute(rows, undo, order), 0)
    mixed = rows.reshape(-1, active, x.shape[-1]).sum(1, dtype=jnp.float32)
    return mixed[:count].astype(x.dtype).reshape(x.shape)


def product(rows, kernels, sizes, tile):
    """Each group of rows by its own matrix; rows behind the groups cost a TPU no products.

    The gradient of `jax.lax.ragged_dot` by its kernels is compiled for TPU as a dense product of
    all rows with every expert: there, Megablox (arXiv 2211.15841) multiplies.

    Args:
        rows: [R I], sorted by group.
        kernels: [X I O].
        sizes: [X] int32, rows of each group; they may sum to less than R.
        tile: rows that Megablox takes at a time.

    Returns:
        [R O] in the rows' type; what stands behind the groups means nothing.
    """
    if rows.shape[0] % tile:
        return jax.lax.ragged_dot(rows, kernels, sizes)
    kernel = functools.partial(_megablox, tile=tile)
    return jax.lax.platform_dependent(rows, kernels, sizes, tpu=kernel, default=jax.lax.ragged_dot)


def _megablox(rows, kernels, sizes, *, tile, interpret=False):
    """`interpret`: by plain operations, anywhere, for tests."""

    def width(size):
        whole = (n for n in range(1024, 0, -LANES) if size % n == 0)
        return next(whole, min(size, 1024))

    tiles = (tile, *map(width, kernels.shape[1:]))
    return gmm(rows, kernels, sizes, rows.dtype, tiles, interpret=interpret)


@jax.custom_vjp
def _permute(rows, order, undo):
    """Rows [R E] in another order; its gradient too is a gather, for `undo` reverses `order`."""
    del undo
    return rows[order]


_permute.defvjp(
    lambda rows, order, undo: (rows[order], undo),
    lambda undo, gradient: (gradient[undo], None, None),
)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _dispatch(tokens, order, undo, active):
    """[R E] tokens -> [R*K E], a row for each choice, in an order that `undo` reverses."""
    del undo
    return tokens[order // active]


def _dispatch_forward(tokens, order, undo, active):
    return tokens[order // active], undo


def _dispatch_backward(active, undo, gradient):
    of_choices = gradient[undo].reshape(-1, active, gradient.shape[-1])
    return of_choices.sum(1), None, None


_dispatch.defvjp(_dispatch_forward, _dispatch_backward)
