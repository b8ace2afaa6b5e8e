"""Layers against float64 formulas; the stack against the same blocks one by one.

Dims: L layers, B batch, T frames, V vocabulary, E width.
"""

import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from seedasr_jax.models import layers
from seedasr_jax.models.head import Head
from seedasr_jax.small.models.devices import SplitHead

RNG = np.random.default_rng(0)
X = RNG.normal(1, 2, (2, 3, 8)).astype(np.float32)


def called(module, *inputs):
    """What a module gives, as one program."""
    return np.asarray(jax.jit(lambda *inputs: module(*inputs))(*inputs))


def test_dense_with_bias_and_adapter():
    dense = tiny.make(layers.Dense, 8, 5, ("a", "b"), bias=True, lora=2, alpha=6.0)
    kernel, bias, a, b = (
        np.asarray(p[...], np.float64)
        for p in (dense.kernel, dense.bias, dense.lora_a, dense.lora_b)
    )
    wanted = X @ (kernel + 6.0 / 2 * a @ b) + bias
    np.testing.assert_allclose(called(dense, X), wanted, atol=1e-5)


def test_a_fresh_adapter_changes_nothing():
    dense = layers.Dense(8, 5, ("a", "b"), lora=2, dtype=jnp.float32, rngs=nnx.Rngs(0))
    plain = layers.Dense(8, 5, ("a", "b"), dtype=jnp.float32, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(*(called(one, X) for one in (dense, plain)))
    assert isinstance(dense.lora_a, layers.LoraParam)


def test_norms():
    norm = tiny.make(lambda dtype, rngs: layers.LayerNorm(8, dtype=dtype))
    centred = X - X.mean(-1, keepdims=True, dtype=np.float64)
    wanted = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    wanted = wanted * np.asarray(norm.scale[...]) + np.asarray(norm.bias[...])
    np.testing.assert_allclose(called(norm, X), wanted, atol=1e-5)
    norm = tiny.make(lambda dtype, rngs: layers.RMSNorm(8, dtype=dtype, epsilon=0.1))
    wanted = X / np.sqrt((X.astype(np.float64) ** 2).mean(-1, keepdims=True) + 0.1)
    np.testing.assert_allclose(called(norm, X), wanted * np.asarray(norm.scale[...]), atol=1e-5)


@pytest.mark.parametrize("size, rows", [(1, 128), (128, 128), (129, 256), (151_936, 151_936)])
def test_vocabularies_are_padded_to_a_multiple(size, rows):
    assert layers.padded_vocabulary(size) == rows


def test_surplus_logits_are_never_chosen_nor_counted():
    @jax.jit
    def masked(x):
        logits = layers.mask_surplus(x, 100)
        return logits, jax.nn.softmax(logits, -1)

    logits, probs = map(np.asarray, masked(np.full((2, 128), 50.0, jnp.bfloat16)))
    assert logits.dtype == np.float32
    np.testing.assert_allclose(probs[:, :100], 0.01, rtol=1e-5)
    assert not probs[:, 100:].any()
    lowest = logits.min().astype(jnp.bfloat16).astype(np.float32)
    assert np.isfinite(lowest)  # a matrix product on TPU rounds to bfloat16; 0 * inf is NaN


def test_dropout_keeps_the_mean_and_follows_each_key():
    keys = jax.random.split(jax.random.key(0), 2)
    x = np.ones((2, 100, 100), np.float32)
    drop = jax.jit(lambda x, keys: layers.dropout(x, 0.25, keys))
    y = np.asarray(drop(x, keys))
    np.testing.assert_allclose(y.mean((1, 2)), 1, atol=0.02)
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.75], rtol=1e-6)
    np.testing.assert_array_equal(drop(x, keys[::-1]), y[::-1])
    assert layers.dropout(x, 0.25, None) is x and layers.dropout(x, 0.0, keys) is x


class Block(nnx.Module):
    """x -> tanh(x @ w) * scale + own."""

    def __init__(self, rngs):
        self.dense = layers.Dense(8, 8, ("a", "b"), dtype=jnp.float32, rngs=rngs)

    def __call__(self, x, scale, own):
        x = jnp.tanh(self.dense(x)) * scale + own
        return x, x.mean()


PER_LAYER = np.array([0.1, 0.2, 0.3], np.float32)


@jax.jit
def looped(kernels):
    """Three blocks one after another: every x, every mean, and the gradient of the last's sum."""

    def run(kernels):
        x, every, means = jnp.asarray(X), [], []
        for layer in range(3):
            x = jnp.tanh(x @ kernels[layer]) * 2.0 + PER_LAYER[layer]
            every.append(x)
            means.append(x.mean())
        return x.sum(), (jnp.stack(every), jnp.stack(means))

    return jax.grad(run, has_aux=True)(kernels)


@pytest.mark.parametrize("remat", layers.REMAT)
def test_a_stack_is_its_blocks_in_turn(remat, monkeypatch):
    monkeypatch.setattr(layers, "UNROLLED", 3 if remat in ("none", "dots") else 1)
    stack = layers.Stack(3, lambda rngs: Block(rngs), remat=remat, rngs=nnx.Rngs(0))
    kernels = stack.blocks.dense.kernel
    assert kernels.get_metadata("axes") == ("layers", "a", "b")
    assert len(np.unique(np.asarray(kernels[...])[:, 0, 0])) == 3  # each layer drew its own
    graphdef, state = nnx.split(stack)

    @jax.jit
    def stacked(state):
        def run(state):
            module = nnx.merge(graphdef, state)
            last, means = module(X, 2.0, per_layer=PER_LAYER)
            every = module(X, 2.0, per_layer=PER_LAYER, every=True)[1] if remat == "none" else last
            return last.sum(), (last, every, means)

        return jax.grad(run, has_aux=True)(state)

    gradient, (last, every, means) = stacked(state)
    slope, wanted = looped(kernels[...])
    np.testing.assert_allclose(last, wanted[0][2], atol=1e-5)
    np.testing.assert_allclose(means, wanted[1], atol=1e-5)
    if remat == "none":
        np.testing.assert_array_equal(every[2], last)
        np.testing.assert_allclose(every, wanted[0], atol=1e-5)
    np.testing.assert_allclose(jax.tree.leaves(gradient)[0], slope, rtol=1e-4, atol=1e-5)


def test_embeddings_have_padded_rows():
    embed = layers.Embed(100, 8, dtype=jnp.float32, rngs=nnx.Rngs(0))
    assert embed.table.shape == (128, 8) and embed.table.get_metadata("axes") == ("vocab", "embed")
    table = np.asarray(embed.table[...])
    np.testing.assert_array_equal(called(embed, np.array([[3, 99]]))[0], table[[3, 99]])
    np.testing.assert_allclose(table.std(), 8**-0.5, rtol=0.1)


@pytest.mark.parametrize("kind", [Head, functools.partial(SplitHead, each=2)])
def test_heads_in_bfloat16_give_sums_in_float32(kind):
    head = tiny.drawn(lambda rngs: kind(16, 120, dtype=jnp.bfloat16, rngs=rngs))
    x = np.random.default_rng(0).normal(size=(2, 5, 16)).astype(jnp.bfloat16)
    kernel = np.float64(np.asarray(head.project.kernel[...]).astype(jnp.bfloat16))
    exact = np.float64(x) @ kernel + np.float64(head.project.bias[...])
    logits = called(head, x)
    exact = exact.reshape(logits.shape)[..., :120]
    np.testing.assert_allclose(logits[..., :120], exact, atol=1e-5)
