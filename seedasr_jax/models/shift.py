"""Relative shift: turns scores by distance into scores by key (arXiv 1901.02860).

Dims: B batch, H heads, N queries, M keys, R distances, N + M - 1 or more.
"""

import functools
import math

import jax

# Imported here and not during a trace: it adds JAX settings, and the second step would recompile.
from jax.experimental import pallas
from jax.experimental.pallas import tpu
import jax.numpy as jnp

from seedasr_jax.parallel import layout, rules
from seedasr_jax.shapes import LANES

ROWS = 64  # rows per program of the TPU kernel
LONGEST = 8_192  # longest row for the kernel, which buffers 2 * ROWS rows of input and of output


def relative_shift(x, keys):
    """[B H N R] scores by distance, the largest first, and M = `keys` -> [B H N M] scores by key.

    Row n has key m in column N-1-n+m (arXiv 1901.02860, appendix B). The usual implementation, a
    reshape to another row length, costs several copies on TPU and CPU.
    """
    return _shift(x, keys, x.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _shift(x, keys, distances):
    return _resized(_rotated, _sliced, x, keys)


_shift.defvjp(
    lambda x, keys, distances: (_shift(x, keys, distances), None),
    lambda keys, distances, _, y: (_resized(_rotated_back, _sliced_back, y, distances),),
)


def _resized(on_tpu, elsewhere, x, size):
    """[B H N ...] -> [B H N size], on TPU by the kernel if the shape permits."""
    elsewhere = functools.partial(elsewhere, size=size)
    longer = max(x.shape[-1], size)
    if x.shape[2] % ROWS or x.shape[-1] % LANES or size % LANES or longer > LONGEST:
        return elsewhere(x)
    on_tpu = functools.partial(on_tpu, size=size)
    return jax.lax.platform_dependent(x, tpu=functools.partial(_on_each, on_tpu), default=elsewhere)


def _on_each(kernel, x):
    """Runs `kernel` on each device's examples and heads."""
    axes = (*map(layout.if_divisible, (rules.BATCH, "tensor"), x.shape), None, None)
    return layout.on_shards(kernel, (x,), (axes,), axes)


# On TPU a single copy suffices: rows are rotated in VMEM.


def _rotated(x, size, *, interpret=False):
    """`interpret`: for tests, uses plain operations on any platform."""
    queries, columns = x.shape[2:]

    def rotate(rows, number):
        first = columns - queries + 1 + ROWS * number  # to the right, one more per row
        return tpu.roll(rows, first, 1, stride=1, stride_axis=0)[:, :size]

    return _row_by_row(rotate, x, size, interpret)


def _rotated_back(x, size, *, interpret=False):
    queries = x.shape[2]

    def rotate(rows, number):
        rows = jnp.pad(rows, ((0, 0), (0, size - rows.shape[1])))
        rows = tpu.roll(rows, queries - ROWS * (1 + number), 1)
        below = ROWS - 1 - jax.lax.broadcasted_iota(jnp.int32, rows.shape, 0)  # rows below this one
        for bit in range(ROWS.bit_length() - 1):
            rolled = tpu.roll(rows, 1 << bit, 1)
            rows = jnp.where((below >> bit) & 1 == 1, rolled, rows)
        return rows

    return _row_by_row(rotate, x, size, interpret)


def _row_by_row(rotate, x, size, interpret):
    """[B H N ...] -> [B H N size] by `rotate([ROWS ...], block) -> [ROWS size]`."""

    def kernel(x, y):
        y[0, 0] = rotate(x[0, 0], pallas.program_id(2))

    batch, heads, queries, columns = x.shape
    return pallas.pallas_call(
        kernel,
        grid=(batch, heads, queries // ROWS),
        in_specs=[pallas.BlockSpec((1, 1, ROWS, columns), lambda b, h, n: (b, h, n, 0))],
        out_specs=pallas.BlockSpec((1, 1, ROWS, size), lambda b, h, n: (b, h, n, 0)),
        out_shape=jax.ShapeDtypeStruct((batch, heads, queries, size), x.dtype),
        compiler_params=tpu.CompilerParams(dimension_semantics=("parallel",) * 3),
        interpret=interpret,
        name="relative_shift",
    )(x)


# On other platforms two copies shift the rows: by the offset of their group of rows, then by their
# offset in the group.


def _sliced(x, size):
    groups, rows = _groups(x.shape[2])
    x = x.reshape(*x.shape[:2], groups, rows, -1)
    x = jnp.stack([x[:, :, a, :, s : s + size + rows - 1] for a, s in _starts(groups, rows)], 2)
    x = jnp.stack([x[:, :, :, b, s : s + size] for b, s in _starts(rows, 1)], 3)
    return x.reshape(*x.shape[:2], groups * rows, size)


def _sliced_back(x, size):
    (groups, rows), (*outer, queries, keys) = _groups(x.shape[2]), x.shape

    def pad(x, start, more):
        return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (start, more - start)))

    x = x.reshape(*outer, groups, rows, -1)
    x = jnp.stack([pad(x[:, :, :, b], s, rows - 1) for b, s in _starts(rows, 1)], 3)
    more = size - keys - (rows - 1)
    x = jnp.stack([pad(x[:, :, a], s, more) for a, s in _starts(groups, rows)], 2)
    return x.reshape(*outer, queries, size)


def _groups(queries):
    """Number of groups of queries, and number of queries in each."""
    rows = next(size for size in range(math.isqrt(queries), 0, -1) if queries % size == 0)
    return queries // rows, rows


def _starts(count, step):
    """[(index, first column)] of `count` slices, `step` columns apart, the last from 0."""
    return [(index, (count - 1 - index) * step) for index in range(count)]
