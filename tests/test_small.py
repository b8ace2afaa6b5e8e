"""Devices of the small recipes, each against a loop in Python.

Dims: B batch, T frames, K splice, U slots, L tokens, V vocabulary, E width.
"""

import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from seedasr_jax.errors import ConfigError
from seedasr_jax.models import small

ROWS, TOKENS, VOCABULARY, BLANK = 40, 5, 12, 0
RNG = np.random.default_rng(0)
LENGTH = RNG.integers(1, TOKENS + 1, ROWS).astype(np.int32)
IDS = RNG.integers(4, VOCABULARY, (ROWS, TOKENS)).astype(np.int32)
KEYS = jax.random.split(jax.random.key(0), ROWS)


@pytest.mark.parametrize("splice", [1, 2, 3])
def test_the_clock_counts_onsets(splice):
    logits = RNG.normal(size=(3, 7, 3)).astype(np.float32)
    length = np.array([7, 4, 1])
    clock = small.onset_clock(jnp.asarray(logits), jnp.asarray(length), splice, 1)
    assert clock.shape == (3, -(-7 // splice)) and clock.dtype == jnp.int32
    for b in range(3):
        counts, before = [], 1
        for t in range(length[b]):
            best = logits[b, t].argmax()
            counts.append((counts[-1] if counts else 0) + (best != 1 and best != before))
            before = best
        for u in range(clock.shape[1]):
            assert clock[b, u] == counts[min((u + 1) * splice, length[b]) - 1]


def test_the_clock_has_no_gradient():
    def clocked(logits):
        return small.onset_clock(logits, jnp.array([3]), 1, 0).astype(jnp.float32).sum()

    assert not jax.grad(clocked)(jnp.asarray(RNG.normal(size=(1, 3, 4)), jnp.float32)).any()


def test_random_targets_replace_half():
    pieces = np.arange(4, 12, dtype=np.int32)
    ids = np.asarray(jax.jit(small.random_targets)(IDS, LENGTH, KEYS, pieces))
    real = np.arange(TOKENS)[None] < LENGTH[:, None]
    assert not ids[~real].any() and (ids[real] >= 4).all() and (ids[real] < 12).all()
    kept = np.array([(a == b)[r].all() for a, b, r in zip(ids, IDS, real)])
    assert 0.3 < kept.mean() < 0.7


def test_some_random_targets_use_few_symbols():
    rows, tokens = 200, 30
    ids = np.zeros((rows, tokens), np.int32)
    keys = jax.random.split(jax.random.key(1), rows)
    length = np.full(rows, tokens)
    pieces = np.arange(4, 999, dtype=np.int32)
    out = np.asarray(jax.jit(small.random_targets)(ids, length, keys, pieces))
    symbols = np.array([len(set(row)) for row in out])
    assert 0.15 < ((symbols > 1) & (symbols <= 4)).mean() < 0.35  # a quarter of all
    assert 0.15 < (symbols > 20).mean() < 0.35 and 0.4 < (symbols == 1).mean() < 0.6


def copied(table):
    return jax.jit(small.copy_slots, static_argnums=4)(IDS, LENGTH, KEYS, table, BLANK)


def test_copied_slots_say_the_tokens_in_order():
    """One-hot embeddings show what each slot is made of."""
    slots, length, clock = (np.asarray(x) for x in copied(jnp.eye(VOCABULARY)))
    assert slots.shape == (ROWS, small.SLOTS * TOKENS, VOCABULARY)
    wrong = total = 0
    for b in range(ROWS):
        real, now = slots[b, : length[b]], clock[b, : length[b]]
        assert not slots[b, length[b] :].any()
        np.testing.assert_allclose(real.sum(-1), 1, rtol=1e-5)  # a mixture
        assert now[-1] == LENGTH[b] and set(np.diff(now)) <= {0, 1} and now[0] in (0, 1)
        assert (real.max(-1) >= 0.6 - 1e-6).all()  # soft, but it has a main part
        spoken = np.concatenate([[now[0]], np.diff(now)]) == 1  # where a token begins
        shown = real[spoken].argmax(-1)
        wrong += (shown != IDS[b, : LENGTH[b]]).sum()
        total += LENGTH[b]
        gaps = np.split(np.arange(length[b]), np.flatnonzero(spoken)[1:])
        assert max(len(g) for g in gaps) <= small.SLOTS + 2  # its own two, the next one's blanks
    assert 0 < wrong < 0.12 * total  # 5 % are another token, on purpose


def test_copied_slots_have_gaps_and_repeats():
    _, length, _ = copied(jnp.eye(VOCABULARY))
    each = np.asarray(length) / LENGTH
    assert 2 < each.mean() < 3 and each.max() > 3 and each.min() >= 1


def test_expected_pieces_are_a_mean_by_probability():
    rng = np.random.default_rng(0)
    logits, table = rng.normal(size=(2, 3, 5)), rng.normal(size=(5, 4))
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    found = small.expected_pieces(logits.astype(np.float32), table.astype(np.float32))
    np.testing.assert_allclose(found, weights @ table, rtol=1e-5, atol=1e-6)


def test_a_mean_converter_starts_as_the_mean_of_what_it_splices():
    converter = small.MeanConverter(4, splice=2, dtype=jnp.float32, rngs=nnx.Rngs(0))
    x = np.random.default_rng(1).normal(size=(2, 5, 4)).astype(np.float32)
    found, length = converter(x, np.array([5, 3], np.int32))
    assert length.tolist() == [3, 2]
    np.testing.assert_allclose(found[0, 0], x[0, :2].mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[0, 2], x[0, 4] / 2, rtol=1e-5, atol=1e-6)  # half is padding
    np.testing.assert_allclose(found[1, 1], x[1, 2] / 2, rtol=1e-5, atol=1e-6)


def test_a_reader_mixes_the_token_before_and_flags_what_is_told():
    make = functools.partial(small.Reader, 4, scale=2.0, dtype=jnp.float32, rngs=nnx.Rngs(0))
    x, earlier = np.random.default_rng(2).normal(size=(2, 1, 3, 4)).astype(np.float32)
    both = make(mix=True, flag=True)
    mixed = x + earlier @ both.mix.kernel[...]
    np.testing.assert_allclose(both(x, earlier, False), mixed, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        both(x, earlier, True), mixed + both.flag[...][None, None], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal(make(mix=False, flag=True)(x, earlier, False), x)


@pytest.mark.parametrize("name", ["speech_positions", "converter_input"])
def test_a_device_that_is_none(name):
    with pytest.raises(ConfigError, match=rf"model.small.{name}: expected 'frames' or 'ctc_\w+'"):
        tiny.stage("ctc", ("encoder", "ctc_head"), ("encoder",), **{f"model.small.{name}": "onset"})
