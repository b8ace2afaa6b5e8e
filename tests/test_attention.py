"""Attention against float64 loops over queries and keys, written apart (golden/make.py and here).

Dims: B batch, N queries, M keys, H heads, G key-value heads, K head width, T frames.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from seedasr_jax import config
from seedasr_jax.models import attention, kernels, rope, shift

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("name, clip", [("sinusoids", 0), ("clipped", 2)])
def test_relative_attention_matches_the_reference(name, clip):
    arrays, parameters = tiny.golden(f"attention_{name}")
    layer = tiny.make(attention.RelativeAttention, 8, 2, clip=clip, bias=True)
    layer = tiny.filled(layer, parameters)
    real = np.arange(7)[None] < arrays["length"][:, None]
    out = jax.jit(lambda x, real: layer(x, real))(arrays["x"], real)
    out = np.asarray(out)
    for b, length in enumerate(arrays["length"]):
        np.testing.assert_allclose(out[b, :length], arrays["out"][b, :length], atol=1e-5)


@pytest.mark.parametrize(  # `more`: columns that no key asks for
    ("rows", "keys", "more"), [(5, 5, 0), (6, 6, 3), (1, 4, 0), (16, 9, 0), (12, 30, 3)]
)
def test_relative_shift_reads_distance_t_minus_s(rows, keys, more):
    x = RNG.normal(size=(2, 3, rows, rows + keys - 1 + more))
    pull = RNG.normal(size=(2, 3, rows, keys))
    at = rows - 1 - np.arange(rows)[:, None] + np.arange(keys)[None]  # the column of each key
    own = functools.partial(shift.relative_shift, keys=keys)

    @jax.jit
    def both(x, pull):
        shifted, back = jax.vjp(own, x)
        return shifted, back(pull)[0]

    shifted, found = both(np.float32(x), np.float32(pull))
    lines = np.arange(rows)[:, None]
    np.testing.assert_allclose(shifted, x[:, :, lines, at], atol=1e-6)
    gradient = np.zeros_like(x)
    gradient[:, :, lines, at] = pull
    np.testing.assert_allclose(found, gradient, atol=1e-6)


@pytest.mark.parametrize(("rows", "keys"), [(64, 128), (256, 384)])
def test_rows_that_a_tpu_rotates_stand_where_slices_are(rows, keys):
    x, pull = (
        RNG.normal(size=(1, 2, rows, size)).astype(np.float32) for size in (rows + keys, keys)
    )

    @jax.jit
    def all_ways(x, pull):
        back = rows + keys
        there = shift._rotated(x, keys, interpret=True), shift._sliced(x, keys)
        return there, (
            shift._rotated_back(pull, back, interpret=True),
            shift._sliced_back(pull, back),
        )

    for ours, sliced in all_ways(x, pull):
        np.testing.assert_array_equal(ours, sliced)


def test_attend_matches_loops():
    queries, keys, heads, groups, size = 3, 5, 4, 2, 6
    q = RNG.normal(size=(2, queries, heads, size))
    k, v = RNG.normal(size=(2, 2, keys, groups, size))
    mask = RNG.random((2, queries, keys)) < 0.6
    mask[1, 2] = False  # a query that may see nothing
    wanted = np.zeros(q.shape)
    for b, n, h in np.ndindex(2, queries, heads):
        seen = np.flatnonzero(mask[b, n])
        scores = [q[b, n, h] @ k[b, m, h // 2] / np.sqrt(size) for m in seen]
        weights = np.exp(scores) / np.exp(scores).sum()
        wanted[b, n, h] = sum((w * v[b, m, h // 2] for w, m in zip(weights, seen)), np.zeros(size))
    single = [np.float32(x) for x in (q, k, v)]
    out = jax.jit(kernels.attend)(*single, mask)
    np.testing.assert_allclose(out, wanted, atol=1e-5)
    assert not np.asarray(out)[1, 2].any()


def test_attend_refuses_keys_of_another_width():
    q, k = jnp.zeros((1, 2, 2, 4)), jnp.zeros((1, 3, 2, 5))
    with pytest.raises(ValueError, match="K = 4"):
        kernels.attend(q, k, k, jnp.ones((1, 1, 3), bool))


UNSCALED = config.Unscaled(kind="none")
turned_by = jax.jit(rope.rope, static_argnums=(2, 3))


def test_rope_turns_pairs_of_halves():
    """As multiplication by a complex number, the definition."""
    x, positions = RNG.normal(size=(2, 3, 2, 8)), np.array([[0, 1, 7], [5, 5, 200]])
    pairs = x[..., :4] + 1j * x[..., 4:]
    angles = positions[..., None, None] * 1_000.0 ** -(np.arange(4) / 4)
    turned = pairs * np.exp(1j * angles)
    out = turned_by(np.float32(x), positions, 1_000.0, UNSCALED)
    np.testing.assert_allclose(out, np.concatenate([turned.real, turned.imag], -1), atol=1e-4)


def test_rope_scores_see_distances_only():
    q, k = (RNG.normal(size=(1, 1, 1, 8)).astype(np.float32) for _ in range(2))

    def score(n, m):
        turn = [turned_by(x, np.array([[p]]), 100.0, UNSCALED) for x, p in ((q, n), (k, m))]
        return (np.asarray(turn[0]) * np.asarray(turn[1])).sum()

    np.testing.assert_allclose(score(3, 1), score(13, 11), rtol=1e-4)
    assert abs(score(3, 1) - score(3, 2)) > 1e-3


def test_relative_attention_without_biases_has_none():
    layer = tiny.make(attention.RelativeAttention, 8, 2, clip=0, bias=False)
    assert layer.query.bias is None and layer.out.bias is None


def test_softmax_is_float32_in_bfloat16():
    """With 1,000 equal keys a bfloat16 sum would stop growing at 256."""
    k = np.zeros((1, 1_000, 1, 2), jnp.bfloat16)
    v = np.ones((1, 1_000, 1, 2), jnp.bfloat16)
    out = jax.jit(kernels.attend)(k[:, :1], k, v, np.ones((1, 1, 1_000), bool))
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(out).astype(np.float32), 1, rtol=1e-2)
