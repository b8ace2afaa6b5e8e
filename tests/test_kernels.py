"""Attention kernels: in blocks as whole, splash (interpreted) as plain, on a mesh as on one device.

Dims: B batch, T frames, N positions, H heads, G key-value heads, K head width.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seedasr_jax import config
from seedasr_jax.models import kernels, shift
from seedasr_jax.parallel import layout
from seedasr_jax.parallel import mesh as meshes

RNG = np.random.default_rng(0)


def arrays(*shapes):
    return [RNG.normal(size=shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize(
    ("time", "shared"), [(7, False), (8, False), (9, True)], ids=["less", "even", "more_shared"]
)
def test_blocks_of_queries_are_the_whole(time, shared, monkeypatch):
    q, k, v, moved = arrays(*[(2, time, 3, 4)] * 4)
    (keys,) = arrays((2 * time - 1, 4) if shared else (2 * time - 1, 3, 4))
    mask = np.arange(time)[None] < np.array([[time], [time - 3]])

    def total(q, k, v, moved, keys):
        y = kernels.relative(q, k, v, moved, keys, mask)
        return jnp.sin(y).sum(), y

    def both():  # traced anew with other QUERIES
        gradient = jax.value_and_grad(total, argnums=(0, 1, 2, 3, 4), has_aux=True)
        return jax.jit(lambda *x: gradient(*x))(q, k, v, moved, keys)

    (_, whole), gradients = both()
    monkeypatch.setattr(kernels, "QUERIES", 4)
    (_, blocks), others = both()
    np.testing.assert_allclose(blocks, whole, atol=1e-5)
    for one, other in zip(gradients, others):
        np.testing.assert_allclose(other, one, atol=1e-4)


def test_only_scores_of_a_block_exist_at_a_time(monkeypatch):
    """Twice the frames take twice the memory, not four times."""
    monkeypatch.setattr(kernels, "QUERIES", 32)

    def temporaries(time):
        shape = jax.ShapeDtypeStruct((1, time, 2, 8), jnp.float32)
        keys = jax.ShapeDtypeStruct((2 * time - 1, 2, 8), jnp.float32)
        mask = jax.ShapeDtypeStruct((1, time), bool)

        def total(q, k, v, moved, keys, mask):
            return kernels.relative(q, k, v, moved, keys, mask).sum()

        gradient = jax.jit(jax.grad(total, argnums=(0, 1, 2, 3, 4)))
        compiled = gradient.lower(*[shape] * 4, keys, mask).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporaries(1_024) < 2.2 * temporaries(512)


SPLASH = functools.partial(kernels._splash, interpret=True)
CUDNN = functools.partial(kernels._cudnn, implementation="xla")  # what cuDNN is asked for


@pytest.mark.parametrize(("kernel", "size"), [(SPLASH, 200), (CUDNN, 60)])
def test_kernels_of_accelerators_are_plain_attention(kernel, size):
    q, k, v = arrays((2, size, 4, 64), (2, size, 2, 64), (2, size, 2, 64))
    real = np.arange(size)[None] < np.array([[size], [size - 37]])
    wanted = np.asarray(jax.jit(kernels.causal)(q, k, v, real))
    found = np.asarray(jax.jit(kernel)(q, k, v, real))
    np.testing.assert_allclose(found[real], wanted[real], atol=2e-5)
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("platform", "dtype", "asked"), [("gpu", "bfloat16", True), ("gpu", "float32", False)]
)
def test_cudnn_is_asked_where_the_mesh_is_of_gpus(platform, dtype, asked, monkeypatch):
    q = np.ones((2, 8, 4, 64), dtype)
    calls = []
    monkeypatch.setattr(kernels, "_cudnn", lambda *x: calls.append(x) or x[0])
    monkeypatch.setattr(layout, "platform", lambda: platform)
    jax.jit(kernels.causal).lower(q, q, q, np.ones((2, 8), bool))
    assert bool(calls) == asked


def test_the_platform_is_that_of_the_mesh():
    assert layout.platform() is None
    with layout.over(meshes.make(config.Mesh(1, 1, 1, 1), jax.devices()[:1])):
        assert layout.platform() == "cpu"


def test_causal_attention_sees_real_positions_up_to_its_own():
    q, k, v = arrays((1, 6, 2, 4), (1, 6, 1, 4), (1, 6, 1, 4))
    real = np.array([[True, False, True, True, True, False]])
    y = np.asarray(jax.jit(kernels.causal)(q, k, v, real))
    for n in (0, 2, 3, 4):
        seen = [m for m in range(n + 1) if real[0, m]]
        for head in range(2):
            scores = np.exp(np.float64(k[0, seen, 0] @ q[0, n, head]) / 2)
            wanted = scores / scores.sum() @ np.float64(v[0, seen, 0])
            np.testing.assert_allclose(y[0, n, head], wanted, atol=1e-5)


def test_heads_may_lie_on_a_mesh():
    mesh = meshes.make(config.Mesh(2, 2, 2, 1))
    q, k, v, moved = arrays(*[(4, 9, 4, 8)] * 4)
    (keys,) = arrays((17, 4, 8))
    mask = np.arange(9)[None] < np.array([[9], [9], [5], [1]])

    def run(over, q, k, v, moved, keys):
        with layout.over(over):
            q, k, v = layout.heads(q), layout.heads(k), layout.heads(v)
            y = kernels.relative(q, k, v, moved, keys, mask)
            return layout.heads(y), layout.heads(kernels.causal(q, k, v, mask))

    alone = jax.jit(lambda *x: run(None, *x))(q, k, v, moved, keys)
    shared = jax.jit(lambda *x: run(mesh, *x))(q, k, v, moved, keys)
    for one, other in zip(alone, shared):
        np.testing.assert_allclose(other, one, atol=1e-5)
        assert other.sharding.spec == jax.sharding.PartitionSpec(("data", "fsdp"), None, "tensor")


def test_rows_of_scores_rotate_where_they_lie():
    mesh = meshes.make(config.Mesh(2, 2, 2, 1))
    x, pull = arrays((4, 2, 64, 256), (4, 2, 64, 128))
    ours = functools.partial(shift._rotated, size=128, interpret=True)
    back = functools.partial(shift._rotated_back, size=256, interpret=True)

    @jax.jit
    def run(x, pull):
        with layout.over(mesh):
            return shift._on_each(ours, x), shift._on_each(back, pull)

    @jax.jit
    def alone(x, pull):
        shifted, pulled = jax.vjp(lambda x: shift.relative_shift(x, 128), x)
        return shifted, pulled(pull)[0]

    moved, gradient = run(x, pull)
    for one, other in zip((moved, gradient), alone(x, pull)):
        np.testing.assert_array_equal(one, other)
    assert moved.sharding.spec[:2] == (("data", "fsdp"), "tensor")
