"""Decoder: the cache against the teacher-forced pass, adapters.

Dims: B batch, N positions, M cache slots, E width, V vocabulary.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from seedasr_jax import config
from seedasr_jax.losses import cross_entropy
from seedasr_jax.models import cache as caches
from seedasr_jax.models.decoder import Decoder

NO_LORA = config.Lora(rank=0, alpha=16.0)


def make(lora=NO_LORA, **changes):
    return tiny.make(Decoder, tiny.decoder(**changes), tiny.VOCABULARY, lora=lora, remat="none")


@jax.jit
def logits(decoder, x, positions, real):
    return decoder.logits(decoder(x, positions, real)[0])


def forward(decoder, x, positions, real):
    return np.asarray(logits(decoder, x, positions, real))


@pytest.fixture(scope="module")
def decoder():
    return make()


@pytest.fixture(scope="module")
def sequence():
    """Embeddings with holes: padding in the middle, positions that skip and repeat."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 9, 16)).astype(np.float32)
    real = np.ones((2, 9), bool)
    real[0, 3:5], real[1, 2] = False, False
    positions = np.array([[0, 1, 2, 0, 0, 3, 4, 4, 9], [0, 1, 0, 1, 2, 3, 4, 5, 6]])
    return x, positions, real


def test_cached_steps_are_the_teacher_forced_pass(decoder, sequence):
    """Of two hypotheses that read one prefix, and change places on the way."""
    x, positions, real = sequence
    other = x.copy()
    other[:, 5:] = x[::-1, 5:]
    wanted = np.stack([forward(decoder, each, positions, real) for each in (x, other)], 1)
    both = np.stack([x, other], 1)  # [B W N E]
    prefill, reorder = jax.jit(lambda d, *x: d.prefill(*x, 2, 6)), jax.jit(caches.reorder)
    cache = prefill(decoder, x[:, :5], positions[:, :5], real[:, :5])

    @jax.jit
    def step(decoder, *arguments):
        hidden, cache = decoder.decode_step(*arguments)
        return decoder.logits(hidden), cache

    order = np.array([[0, 1], [0, 1]], np.int32)
    for n in range(5, 9):
        rows = np.arange(2)[:, None]
        at = np.broadcast_to(positions[:, n, None], (2, 2))
        logits, cache = step(decoder, both[rows, order, n], at, cache)
        np.testing.assert_allclose(logits, wanted[rows, order, n], atol=1e-5)
        parent = np.array([[1, 0], [n % 2, n % 2]], np.int32)  # row 1 goes on with one alone
        cache = reorder(cache, parent)
        order = np.take_along_axis(order, parent, 1)
    assert cache.slot == 4 and cache.k.shape == (2, 2, 2, 6, 2, 8)


def test_the_future_is_unseen(decoder, sequence):
    x, positions, real = sequence
    other = x.copy()
    other[:, 6:] += 1
    one, two = forward(decoder, x, positions, real), forward(decoder, other, positions, real)
    np.testing.assert_array_equal(one[:, :6], two[:, :6])
    assert (one[:, 6:] != two[:, 6:]).any()


def test_positions_are_read(decoder, sequence):
    x, positions, real = sequence
    moved = forward(decoder, x, positions + 3, real)  # RoPE sees differences only
    np.testing.assert_allclose(moved[real], forward(decoder, x, positions, real)[real], atol=1e-4)
    stretched = forward(decoder, x, positions * 2, real)
    assert np.abs(stretched - moved)[0, -1, : tiny.VOCABULARY].max() > 1e-3


def test_an_adapter_is_a_change_of_its_kernels(sequence):
    adapted = make(lora=config.Lora(rank=2, alpha=6.0))
    merged = make()
    for name in ("query", "key", "value", "out"):
        source = getattr(adapted.blocks.blocks.attention, name)
        a, b = (np.asarray(x[...]) for x in (source.lora_a, source.lora_b))
        change = 3.0 * np.einsum("LIR,LRO->LIO", a, b)
        assert np.abs(change).max() > 0.01
        changed = np.asarray(source.kernel[...]) + change
        getattr(merged.blocks.blocks.attention, name).kernel[...] = changed
    for part in ("attention_norm", "feedforward_norm", "feedforward"):
        setattr(merged.blocks.blocks, part, getattr(adapted.blocks.blocks, part))
    for part in ("query_norm", "key_norm"):
        setattr(
            merged.blocks.blocks.attention, part, getattr(adapted.blocks.blocks.attention, part)
        )
    merged.embed, merged.norm = adapted.embed, adapted.norm
    real = sequence[2]
    one, two = forward(adapted, *sequence), forward(merged, *sequence)
    np.testing.assert_allclose(one[real], two[real], atol=1e-4)


def test_embeddings_are_scaled(decoder):
    scaled, embed = make(embed_scale=3.0), jax.jit(lambda d: d.embed_tokens(np.array([[4, 5]])))
    np.testing.assert_allclose(embed(scaled), 3 * np.asarray(embed(decoder)), rtol=1e-6)


@pytest.mark.parametrize("tied", [True, False])
def test_logits_in_bfloat16_are_summed_in_float32(tied, monkeypatch):
    """And the loss by parts of the vocabulary, as `rl` has it, agrees with what is decoded."""
    options = dict(lora=NO_LORA, remat="none", dtype=jnp.bfloat16)
    head = tiny.drawn(lambda rngs: Decoder(tiny.decoder(tied=tied), 120, **options, rngs=rngs))
    x = np.random.default_rng(0).normal(size=(4, 50, 16)).astype(jnp.bfloat16)
    kernel = np.asarray(head.embed.table[...]).T if tied else np.asarray(head.head.kernel[...])
    exact = np.float64(x) @ np.float64(kernel.astype(jnp.bfloat16))
    logits = np.asarray(jax.jit(lambda x: head.logits(x))(x))[..., :120]
    np.testing.assert_allclose(logits, exact[..., :120], atol=1e-5)
    best, second = np.sort(logits, -1)[..., -1], np.sort(logits, -1)[..., -2]
    rounded = np.sort(np.float32(logits.astype(jnp.bfloat16)), -1)
    assert (best > second).all() and (rounded[..., -1] == rounded[..., -2]).any()
    targets, real = logits.argmax(-1), np.ones((4, 50), bool)
    chosen = best - np.log(np.exp(np.float64(logits)).sum(-1))
    for chunk in (cross_entropy.CHUNK, 64):
        monkeypatch.setattr(cross_entropy, "CHUNK", chunk)
        nll = jax.jit(lambda x: head.nll(x, targets, real))(x)
        np.testing.assert_allclose(nll, -chosen, atol=1e-5)
