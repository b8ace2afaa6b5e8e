"""Mixture-of-experts feed-forward of Qwen3-MoE form (arXiv 2505.09388): exact, no dropped tokens.

A router selects the K best of X experts for each token; the result is the sum of their outputs,
weighted by the router's softmax renormalised over those K. Experts are sharded over the mesh axis
`expert`, X/S per device. Tokens are communicated, not weights: each device gathers the tokens of S
devices, sorts their K choices by expert and computes those of its local experts; the sums are
reduce-scattered. A token's 8 choices reach nearly all of 4 or 8 shards, so this moves no more data
than an all-to-all.

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

TALL = 128, 256, 512  # row tiles for Megablox


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Routing:
    """Router statistics of a layer, which a Stack stacks: means over an example's valid tokens.

    Router losses thus do not depend on other examples and add up over micro-batches.
    """

    load: jax.Array  # [B X], each expert's share of all choices; sums to 1
    balance: jax.Array  # [B], 1 if load and probabilities are uniform
    z: jax.Array  # [B], mean squared log-sum-exp of the logits


class Kernels(nnx.Module):
    """One matrix [I O] per expert."""

    def __init__(self, experts, inputs, outputs, axes, *, dtype, rngs):
        init = nnx.initializers.variance_scaling(1.0, "fan_in", "truncated_normal", batch_axis=0)
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
        # In float32, so that rounding does not reorder close logits.
        self.router = Dense(width, moe.experts, ("embed", "routes"), dtype=jnp.float32, rngs=rngs)
        self.gate = Kernels(moe.experts, width, hidden, ("expert_embed", "mlp"), **options)
        self.up = Kernels(moe.experts, width, hidden, ("expert_embed", "mlp"), **options)
        self.down = Kernels(moe.experts, hidden, width, ("mlp", "expert_embed"), **options)

    def __call__(self, x, valid):
        """[B N E], [B N] bool valid tokens -> [B N E] and their Routing, or None if `valid` is."""
        shapes.check(x, "B N E")
        logits = self.router(x)  # [B N X]
        probs = jax.nn.softmax(logits, -1)
        share, chosen = jax.lax.top_k(probs, self.active)  # [B N K]
        share = share / share.sum(-1, keepdims=True)
        y = mix(x.astype(self.dtype), chosen, share, self.gate(), self.up(), self.down())
        return y, None if valid is None else routing(logits, probs, chosen, valid)


def routing(logits, probs, chosen, valid) -> Routing:
    """Load and losses over each example's valid tokens.

    Balance is equation 4 of Switch Transformers (arXiv 2101.03961), X sum_x load_x P_x, with load
    over all K choices, per sequence as in DeepSeek-V3 (arXiv 2412.19437, equations 17 to 20); z is
    equation 5 of ST-MoE (arXiv 2202.08906).

    `logits`, `probs`: [B N X], of the router; `chosen`: [B N K] int32, experts; `valid`: [B N].
    """
    experts, active = logits.shape[-1], chosen.shape[-1]
    tokens = jnp.maximum(valid.sum(1), 1)  # [B]

    def mean(x):
        total = jnp.where(shapes.align_left(valid, x), x, 0).sum(1)
        return total / shapes.align_left(tokens, total)

    picked = jax.nn.one_hot(chosen, experts, dtype=jnp.float32).sum(2)  # [B N X], 0 or 1
    load = mean(picked) / active
    balance = experts * (load * mean(probs)).sum(-1)
    return Routing(load, balance, mean(jax.nn.logsumexp(logits, -1) ** 2))


def mix(x, chosen, share, gate, up, down):
    """Sums the outputs of each token's experts, weighted by `share`: [B N E].

    `x`: [B N E]; `chosen`: [B N K] int32, distinct experts; `share`: [B N K] float32; `gate`, `up`:
    [X E F]; `down`: [X F E].
    """
    gathered, experts = layout.gathered(), down.shape[0]
    if layout.mesh() is None:
        return _local_sum(x, chosen, share, _gate_up(gate, up), down, 0, experts)
    batch = layout.if_divisible(rules.BATCH, x.shape[0])
    rows = layout.if_divisible("tensor", x.shape[1])  # as the residual stream is sharded
    tokens = (batch, None, None)
    embed = None if gathered else "fsdp"
    into, out_of = ("expert", embed, "tensor"), ("expert", "tensor", embed)
    gather = functools.partial(jax.lax.all_gather, tiled=True)

    def on_device(x, chosen, share, gate, up, down):
        gate_up = _gate_up(gate, up)
        if not gathered:
            gate_up = [gather(one, "fsdp", axis=1) for one in gate_up]
            down = gather(down, "fsdp", axis=2)
        if batch:
            x, chosen, share = (gather(of, "expert", axis=0) for of in (x, chosen, share))
        first = jax.lax.axis_index("expert") * down.shape[0]
        y = _local_sum(x, chosen, share, gate_up, down, first, experts)
        for axis, mesh_axis, scattered in ((0, "expert", batch), (1, "tensor", rows)):
            if scattered:
                y = jax.lax.psum_scatter(y, mesh_axis, scatter_dimension=axis, tiled=True)
            else:
                y = jax.lax.psum(y, mesh_axis)
        return y

    arrays = (x, chosen, share, gate, up, down)
    places = (tokens, tokens, tokens, into, into, out_of)
    return layout.on_shards(on_device, arrays, places, (batch, rows, None))


def _gate_up(gate, up):
    """Kernels for `_local_sum`: one [X E 2F], so that rows and their gradient exist once.

    In decoding (gathered parameters) they are two [X E F], because concatenating them for every
    token would cost more than the product.
    """
    return [gate, up] if layout.gathered() else [jnp.concatenate([gate, up], -1)]


def tall(rows: int, experts: int) -> int:
    """Row tile of Megablox: the smallest that holds an expert's rows at uniform load.

    Each expert is computed in whole tiles: in decoding, with few rows per expert, they are small.
    """
    return next((size for size in TALL if rows <= size * experts), TALL[-1])


def _local_sum(x, chosen, share, gate_up, down, first, total):
    """Sums [B N E] over the local experts, `first`, first + 1, ... of `total`; 0 without any."""
    experts, active = down.shape[0], chosen.shape[-1]
    tokens = x.reshape(-1, x.shape[-1])
    count, more, tile = len(tokens), 0, tall(chosen.size, total)
    if layout.platform() == "tpu":  # pads to whole tiles with tokens that choose no expert
        more = -count % (tile // math.gcd(active, tile))
    tokens = jnp.pad(tokens, ((0, more), (0, 0)))
    chosen = jnp.pad(chosen.reshape(-1), (0, more * active), constant_values=-1)
    share = jnp.pad(share.reshape(-1), (0, more * active))
    local = (chosen >= first) & (chosen < first + experts)
    expert = jnp.where(local, chosen - first, experts)  # other choices are sorted behind all groups
    order = jnp.argsort(expert, stable=True)
    undo = jnp.argsort(order)
    sizes = jnp.bincount(expert, length=experts).astype(jnp.int32)

    rows = _dispatch(tokens, order, undo, active)  # [R*K E]
    # Behind its groups a product and its gradient are undefined.
    rows = jnp.where(local[order][:, None], rows, 0)
    # The output is linear in the experts' hidden activations: shares are applied there, where their
    # gradient is F wide instead of E.
    share = _permute(jnp.where(local, share, 0)[:, None], order, undo)
    hidden = jnp.concatenate([product(rows, kernels, sizes, tile) for kernels in gate_up], -1)
    gate, up = jnp.split(hidden, 2, -1)
    hidden = jax.nn.silu(gate) * up
    hidden = (hidden.astype(jnp.float32) * share).astype(x.dtype)
    rows = product(hidden, down, sizes, tile)
    rows = jnp.where(local[:, None], _permute(rows, undo, order), 0)
    mixed = rows.reshape(-1, active, x.shape[-1]).sum(1, dtype=jnp.float32)
    return mixed[:count].astype(x.dtype).reshape(x.shape)


def product(rows, kernels, sizes, tile):
    """Multiplies each group of rows by its own matrix; on TPU, rows behind the groups are free.

    The gradient of `jax.lax.ragged_dot` with respect to its kernels is compiled for TPU as a dense
    product of all rows with every expert, so Megablox (arXiv 2211.15841) is used there.

    Args:
        rows: [R I], sorted by group.
        kernels: [X I O].
        sizes: [X] int32, rows of each group; behind them, the result [R O] is undefined.
        tile: row tile of Megablox.
    """
    if rows.shape[0] % tile:
        return jax.lax.ragged_dot(rows, kernels, sizes)
    kernel = functools.partial(_megablox, tile=tile)
    return jax.lax.platform_dependent(rows, kernels, sizes, tpu=kernel, default=jax.lax.ragged_dot)


def _megablox(rows, kernels, sizes, *, tile, interpret=False):
    """`interpret`: for tests, uses plain operations on any platform."""

    def width(size):
        whole = (n for n in range(1024, 0, -LANES) if size % n == 0)
        return next(whole, min(size, 1024))

    tiles = (tile, *map(width, kernels.shape[1:]))
    return gmm(rows, kernels, sizes, rows.dtype, tiles, interpret=interpret)


@jax.custom_vjp
def _permute(rows, order, undo):
    """Permutes rows [R E]; the gradient is a gather too, because `undo` inverts `order`."""
    del undo
    return rows[order]


_permute.defvjp(
    lambda rows, order, undo: (rows[order], undo),
    lambda undo, gradient: (gradient[undo], None, None),
)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _dispatch(tokens, order, undo, active):
    """[R E] tokens -> [R*K E], one row per choice in `order`, which `undo` inverts."""
    del undo
    return tokens[order // active]


def _dispatch_backward(active, undo, gradient):
    of_choices = gradient[undo].reshape(-1, active, gradient.shape[-1])
    return of_choices.sum(1), None, None


_dispatch.defvjp(
    lambda tokens, order, undo, active: (tokens[order // active], undo), _dispatch_backward
)
