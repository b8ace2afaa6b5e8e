"""Attention kernels: four functions, each in the fastest form for its platform.

Dims: B batch, N queries, M keys, H heads, G key-value heads, K head width, T frames, W hypotheses,
S token slots, R distances (in grouped attention R = H / G).
"""

import dataclasses
import functools

import jax
from jax.ad_checkpoint import checkpoint_name
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks
import jax.numpy as jnp

from seedasr_jax import shapes
from seedasr_jax.models import shift
from seedasr_jax.parallel import layout, rules
from seedasr_jax.shapes import LANES

QUERIES = 256  # encoder queries per block; only one block's scores exist at a time
ATTENDED = "attended"  # name of attention's output in remat policies


def attend(q, k, v, mask):
    """Scaled dot-product attention, [B N H K] in q's type; the softmax is float32.

    Args:
        q: [B N H K] queries.
        k, v: [B M G K]; query head h reads key-value head h // (H / G).
        mask: bool, [B N M] or [B 1 M]; a query without a valid key gets zeros.
    """
    dims = shapes.check(k, "B M G K", shapes.check(q, "B N H K"))
    shapes.check(v, "B M G K", dims)
    q = _by_group(q, dims["G"])
    scores = jnp.einsum("BNGRK,BMGK->BGRNM", q, k, preferred_element_type=jnp.float32)
    weights = _softmax(scores * dims["K"] ** -0.5, mask[:, None, None]).astype(v.dtype)
    return jnp.einsum("BGRNM,BMGK->BNGRK", weights, v).reshape(dims["B"], dims["N"], dims["H"], -1)


def attend_cached(q, prefix, valid, tokens, slot):
    """`attend` for one token of each of W hypotheses, over a common prefix and its own tokens.

    Args:
        q: [B W H K].
        prefix: keys and values, each [B N G K], of which [B N] bool `valid` count.
        tokens: keys and values, each [B W S G K], including those of q's token.
        slot: scalar, slot of q's token; later slots are not read.
    """
    dims = shapes.check(tokens[0], "B W S G K", shapes.check(q, "B W H K"))
    dims = shapes.check(prefix[0], "B N G K", dims)
    filled = jnp.broadcast_to((jnp.arange(dims["S"]) <= slot)[None], (dims["B"], dims["S"]))
    mask = jnp.concatenate([valid, filled], 1)[:, None, None, None]  # [B 1 1 1 N+S]

    product = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)
    heads = _by_group(q, dims["G"])
    scores = [
        product("BWGRK,BNGK->BGRWN", heads, prefix[0]),
        product("BWGRK,BWSGK->BGRWS", heads, tokens[0]),
    ]
    weights = _softmax(jnp.concatenate(scores, -1) * dims["K"] ** -0.5, mask).astype(q.dtype)
    of_prefix, of_tokens = jnp.split(weights, [dims["N"]], -1)
    y = product("BGRWN,BNGK->BWGRK", of_prefix, prefix[1])
    y = y + product("BGRWS,BWSGK->BWGRK", of_tokens, tokens[1])
    return y.astype(q.dtype).reshape(q.shape)


def _by_group(q, kv_heads):
    """[B N H K] -> [B N G R K]: R = H / G query heads share one key-value head, uncopied."""
    return q.reshape(*q.shape[:2], kv_heads, -1, q.shape[-1])


def _softmax(scores, mask):
    """Softmax of [... M] over the keys in `mask`; zeros if there is none."""
    scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
    return jnp.where(mask.any(-1, keepdims=True), jax.nn.softmax(scores, -1), 0)


def causal(q, k, v, valid):
    """Causal attention to valid positions; splash on TPU, cuDNN on GPU.

    `q`: [B N H K], as the result; `k`, `v`: [B N G K]; `valid`: [B N] bool, at other positions the
    result is finite but undefined.
    """
    dims = shapes.check(k, "B N G K", shapes.check(q, "B N H K"))
    shapes.check(valid, "B N", dims)

    def plain(q, k, v, valid):
        lower = jnp.tril(jnp.ones((dims["N"], dims["N"]), bool))
        return attend(q, k, v, lower[None] & valid[:, None])

    forms = {"tpu": functools.partial(_on_each, _splash), "default": plain}
    # All forms are traced on every platform; tracing cuDNN's fails on platforms without it.
    if layout.platform() == "gpu" and q.dtype in (jnp.bfloat16, jnp.float16):
        forms["cuda"] = functools.partial(_on_each, _cudnn)
    return jax.lax.platform_dependent(q, k, v, valid, **forms)


def _on_each(kernel, q, k, v, valid):
    """Runs a kernel of `causal` on each device's examples and heads."""
    batch = layout.if_divisible(rules.BATCH, q.shape[0])
    heads = (batch, None, layout.if_divisible("tensor", k.shape[2]), None)
    return layout.on_shards(kernel, (q, k, v, valid), (heads, heads, heads, (batch, None)), heads)


def _cudnn(q, k, v, valid, *, implementation="cudnn"):
    """`implementation`: for tests, "xla" uses plain operations on any platform."""
    options = dict(mask=valid[:, None, None], is_causal=True, implementation=implementation)
    return jax.nn.dot_product_attention(q, k, v, **options)


def _splash(q, k, v, valid, *, interpret=False):
    """`interpret`: for tests, uses plain operations on any platform."""
    size, heads, scale = q.shape[1], q.shape[2], q.shape[3] ** -0.5
    more = -size % LANES
    q, k, v = (jnp.pad(x, ((0, 0), (0, more), (0, 0), (0, 0))) for x in (q * scale, k, v))
    segments = jnp.pad(valid, ((0, 0), (0, more))).astype(jnp.int32)
    size += more
    block = next(block for block in (512, 384, 256, LANES) if size % block == 0)
    names = (field.name for field in dataclasses.fields(splash.BlockSizes))
    blocks = {name: block for name in names if name.startswith("block_")}
    kernel = splash.make_splash_mha(
        masks.MultiHeadMask([masks.CausalMask((size, size))] * heads),
        block_sizes=splash.BlockSizes(**blocks),
        head_shards=1,
        q_seq_shards=1,
        residual_checkpoint_name=ATTENDED,
        interpret=interpret,
    )
    q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))  # [B H N K]
    y = jax.vmap(kernel)(q, k, v, splash.SegmentIds(segments, segments))
    return y.swapaxes(1, 2)[:, : size - more]


def relative(q, k, v, by_distance, keys, mask):
    """Self-attention [B T H K] whose scores have a term by distance.

    Only one block of queries has scores at a time, in the forward and the backward pass.

    Args:
        q, k, v: [B T H K].
        by_distance: [B T H K], queries of the term by distance.
        keys: [R H K], keys of the distances T-1 ... -(T-1), or [R K], common to all heads.
        mask: [B T] bool, valid keys.
    """
    dims = shapes.check(k, "B T H K", shapes.check(q, "B T H K"))
    time = dims["T"]
    more = -time % QUERIES if time > QUERIES else 0
    # Padding queries read distances above T-1. One further column makes a block N + M wide, a
    # multiple of LANES whenever N and M are.
    keys = jnp.pad(keys, ((more, 1), *((0, 0),) * (keys.ndim - 1)))
    if time <= QUERIES:
        return checkpoint_name(_relative_block(q, k, v, by_distance, keys, mask), ATTENDED)
    blocks = (time + more) // QUERIES

    def split(x):
        x = jnp.pad(x, ((0, 0), (0, more), (0, 0), (0, 0)))
        return x.reshape(x.shape[0], blocks, QUERIES, *x.shape[2:]).swapaxes(0, 1)

    @jax.checkpoint
    def one(number, block):
        q, by_distance = block
        first = (blocks - 1 - number) * QUERIES  # column of this block's first distance
        near = jax.lax.dynamic_slice_in_dim(keys, first, QUERIES + time)
        return number + 1, _relative_block(q, k, v, by_distance, near, mask)

    _, y = jax.lax.scan(one, jnp.zeros((), jnp.int32), (split(q), split(by_distance)))
    y = y.swapaxes(0, 1)
    y = y.reshape(y.shape[0], blocks * QUERIES, *y.shape[3:])[:, :time]
    return checkpoint_name(y, ATTENDED)


def _relative_block(q, k, v, by_distance, keys, mask):
    product = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)
    bias = product("BTHK,RHK->BHTR" if keys.ndim == 3 else "BTHK,RK->BHTR", by_distance, keys)
    bias = shift.relative_shift(bias, k.shape[1]) * q.shape[-1] ** -0.5
    # Not `attend`: on TPU its axis R, of size 1 here, would cost copies of the scores.
    scores = product("BNHK,BMHK->BHNM", q, k)
    scores = scores * q.shape[-1] ** -0.5 + bias
    weights = _softmax(scores, mask[:, None, None]).astype(v.dtype)
    return jnp.einsum("BHNM,BMHK->BNHK", weights, v)
