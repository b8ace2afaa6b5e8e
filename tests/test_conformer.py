"""Conformer block and its convolutions: float64 references, both platforms' forms, no future.

Dims: B batch, T frames, D width, K kernel, F mel bins, C channels.
"""

import functools

import jax
import numpy as np
import pytest
import tiny

from seedasr_jax.models import conformer

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("name, kernel, causal", [("block", 5, False), ("causal_block", 4, True)])
def test_block_matches_the_reference(name, kernel, causal):
    arrays, parameters = tiny.golden(f"conformer_{name}")
    config = tiny.encoder(width=8, ffn_dim=12, heads=2, kernel=kernel, causal=causal)
    block = tiny.filled(tiny.make(conformer.ConformerBlock, config), parameters)
    out, _ = jax.jit(lambda x, n: block(x, n, None))(arrays["x"], arrays["length"])
    out = np.asarray(out)
    for b, length in enumerate(arrays["length"]):
        np.testing.assert_allclose(out[b, :length], arrays["out"][b, :length], atol=2e-5)


@pytest.fixture(params=["cpu", "default"])
def form(request, monkeypatch):
    """Runs the form of one platform, whichever this machine is."""

    def choose(*arguments, **forms):
        return forms[request.param](*arguments)

    monkeypatch.setattr(jax.lax, "platform_dependent", choose)
    return request.param


def naive_depthwise(x, kernel, causal):
    past = len(kernel) - 1 if causal else len(kernel) // 2
    y = np.zeros(x.shape)
    for b, t, k in np.ndindex(x.shape[0], x.shape[1], len(kernel)):
        if 0 <= t + k - past < x.shape[1]:
            y[b, t] += kernel[k].astype(np.float64) * x[b, t + k - past]
    return y


@pytest.mark.parametrize("size, causal", [(5, False), (4, False), (5, True), (4, True)])
def test_depthwise_in_both_forms(form, size, causal):
    x, kernel, pull = normal(2, 7, 3), normal(size, 3), normal(2, 7, 3)

    def pulled(x, kernel):
        return (conformer.depthwise(x, kernel, causal=causal) * pull).sum()

    @jax.jit
    def both(x, kernel):
        y = conformer.depthwise(x, kernel, causal=causal)
        return y, jax.grad(pulled, (0, 1))(x, kernel)

    y, gradients = both(x, kernel)
    dx, dkernel = map(np.asarray, gradients)
    np.testing.assert_allclose(y, naive_depthwise(x, kernel, causal), atol=1e-5)
    # It is linear in each: gradients are the function itself at unit vectors.
    for k, d in ((0, 1), (size - 1, 2)):
        unit = np.zeros_like(kernel)
        unit[k, d] = 1
        wanted = (naive_depthwise(x, unit, causal) * pull).sum()
        np.testing.assert_allclose(dkernel[k, d], wanted, atol=1e-5)
    for t, d in ((0, 0), (6, 1)):
        unit = np.zeros_like(x)
        unit[1, t, d] = 1
        wanted = (naive_depthwise(unit, kernel, causal) * pull).sum()
        np.testing.assert_allclose(dx[1, t, d], wanted, atol=1e-5)


def naive_strided(x, kernel):
    batch, time, bins, channels = x.shape
    x = np.pad(x.astype(np.float64), ((0, 0), (1, 2), (1, 2), (0, 0)))
    y = np.zeros((batch, -(-time // 2), -(-bins // 2), kernel.shape[1]))
    kernel = kernel.reshape(3, 3, channels, -1)
    for b, t, f, i, j in np.ndindex(*y.shape[:3], 3, 3):
        y[b, t, f] += x[b, 2 * t + i, 2 * f + j] @ kernel[i, j]
    return y


@pytest.mark.parametrize("time, bins", [(6, 5), (7, 4)])
def test_strided_in_both_forms(form, time, bins):
    x, kernel = normal(2, time, bins, 2), normal(18, 3)
    wanted = naive_strided(x, kernel)
    pull = normal(*wanted.shape)

    @jax.jit
    def both(x, kernel):
        slopes = jax.grad(lambda x, k: (conformer.strided(x, k) * pull).sum(), (0, 1))(x, kernel)
        return conformer.strided(x, kernel), slopes

    y, gradients = both(x, kernel)
    dx, dkernel = map(np.asarray, gradients)
    np.testing.assert_allclose(y, wanted, atol=1e-5)
    unit = np.zeros_like(kernel)
    unit[7, 1] = 1
    np.testing.assert_allclose(dkernel[7, 1], (naive_strided(x, unit) * pull).sum(), atol=1e-5)
    unit = np.zeros_like(x)
    unit[1, time - 1, bins - 1, 1] = 1
    wanted = (naive_strided(unit, kernel) * pull).sum()
    np.testing.assert_allclose(dx[1, time - 1, bins - 1, 1], wanted, atol=1e-5)


def test_causal_convolution_sees_no_future(form):
    x, kernel = normal(1, 9, 3), normal(4, 3)
    other = x.copy()
    other[:, 5:] = normal(1, 4, 3)
    for causal, same in ((True, True), (False, False)):
        call = jax.jit(functools.partial(conformer.depthwise, causal=causal))
        y, z = (np.asarray(call(a, kernel)) for a in (x, other))
        assert (y[:, :5] == z[:, :5]).all() == same


def test_causal_is_an_option_of_the_convolution_module():
    layer = tiny.make(conformer.Convolution, tiny.encoder(causal=True))
    x = normal(1, 9, 16)
    other = x.copy()
    other[:, 5:] = normal(1, 4, 16)
    call = jax.jit(lambda x: layer(x, np.array([9])))
    one, two = np.asarray(call(x)), np.asarray(call(other))
    np.testing.assert_array_equal(one[:, :5], two[:, :5])
    assert (one[:, 5:] != two[:, 5:]).any()
