"""Gathers the decoder's parameters once, before the first token, if they fit.

Otherwise a decoder that is sharded over fsdp is gathered layer by layer at each token: with 8B
parameters over 32 devices, 14 GiB 241 times a batch. It stays sharded over tensor and expert, along
which activations are communicated instead.

Dims: L layers, B batch, N prefix slots, W hypotheses, S token slots, G KV heads, K head width.
"""

from collections.abc import Sequence

from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from seedasr_jax import config
from seedasr_jax.batch import Batch
from seedasr_jax.models import converters, decoders, encoders, layers, names
from seedasr_jax.parallel import layout, memory, rules, sharding

# Fraction of a device's memory for the copy and the caches; the rest is for parameters, optimiser
# state and activations.
SHARE = 1 / 2


def cached(
    model: config.Model, mesh, batch: Batch, tokens: int, prefixes: Sequence[int], width: int
) -> int:
    """Bytes per device of caches: keys and values [L B N+WS G K], see models/cache.py.

    `batch`: a Batch or its shapes; `tokens`: maximum number of decoded tokens; `prefixes`: number
    of context tokens of each decoded prefix, () if no LLM decodes; `width`: W.
    """
    rows = batch.weight.shape[0]
    frames = encoders.clock(model).buffer(batch.wave.shape[1])
    before = batch.prompt.shape[1] + converters.tokens(model, frames) + batch.suffix.shape[1]
    return (len(prefixes) * before + slots(tokens, prefixes, width)) * slot(model, mesh, rows)


def slots(tokens: int, prefixes: Sequence[int], width: int) -> int:
    """Slots per row beside those of prompt, speech and suffix; arguments as of `cached`."""
    return sum(context + width * (tokens + 1) for context in prefixes)


def slot(model: config.Model, mesh, rows: int) -> int:
    """Bytes per device of the keys and values of one token in each of `rows` rows."""
    depth, kv_heads, head_dim = decoders.cache_sizes(model)
    shape = (2 * depth, rows, kv_heads, head_dim)
    with layout.over(mesh):
        heads = layout.if_divisible("tensor", kv_heads)
        spec = PartitionSpec(None, layout.if_divisible(rules.BATCH, rows), heads)
    dtype, sharded = jnp.dtype(model.dtype), NamedSharding(mesh, spec)
    return sharding.bytes_of(jax.ShapeDtypeStruct(shape, dtype, sharding=sharded))


def once(state: nnx.State, mesh, dtype, beside: int) -> tuple[nnx.State, bool]:
    """The parameters, those of the decoder gathered if they fit, and whether they are; traced.

    `dtype`: type of the computation, in which matrices are gathered; `beside`: bytes per device of
    the caches, from `cached`.
    """
    if not fits(state, mesh, dtype, beside):
        return state, False
    used = layers.as_used(state[names.DECODER], dtype)
    if mesh.size > 1:
        shardings = sharding.of_params(used, mesh, gathered=True)
        used = jax.tree.map(jax.lax.with_sharding_constraint, used, shardings)
    return nnx.merge_state(state, nnx.State({names.DECODER: used})), True


def fits(state: nnx.State, mesh, dtype, beside: int) -> bool:
    """Whether copy and caches take at most SHARE of a device; arguments as of `once`, or shapes."""
    return copied(state, mesh, dtype) + beside <= SHARE * memory.of(mesh.devices.flat[0])


def copied(state: nnx.State, mesh, dtype) -> int:
    """Bytes per device of the gathered copy of a decoder; arguments as of `once`, or shapes."""
    stored, used = state[names.DECODER], shapes(state, mesh, dtype)[names.DECODER]
    stored = sharding.placed(stored, sharding.of_params(stored, mesh))

    def bytes_of(before, after):  # parameters whose sharding and type stay are not copied
        size = sharding.bytes_of(after)
        return 0 if (size, before.dtype) == (sharding.bytes_of(before), after.dtype) else size

    return sum(jax.tree.leaves(jax.tree.map(bytes_of, stored, used)))


def shapes(state: nnx.State, mesh, dtype) -> nnx.State:
    """Shapes and shardings of the gathered decoder alone; arguments as of `once`."""
    used = jax.eval_shape(lambda stored: layers.as_used(stored, dtype), state[names.DECODER])
    used = sharding.placed(used, sharding.of_params(used, mesh, gathered=True))
    return nnx.State({names.DECODER: used})
