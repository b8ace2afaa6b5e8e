"""Sampling: the model's own distribution, seeded by example, neighbours unread.

Dims: B batch, N samples, K tokens at most, V vocabulary.
"""

import dataclasses

from flax import nnx
import jax
import numpy as np
import pytest
import tiny

from seedasr_jax.decode import greedy, prefill
from seedasr_jax.decode.sample import sample

TOKENS = 4


@pytest.fixture(scope="module")
def model():
    return nnx.split(tiny.model(("encoder", "converter", "decoder")))


@pytest.fixture(scope="module")
def drawn(model):
    """drawn(batch, samples, temperature, seed), compiled once per shape."""
    graphdef, state = model

    @jax.jit(static_argnames="samples")
    def call(state, batch, temperature, rng, samples):
        merged = nnx.merge(graphdef, state)
        return sample(merged, batch, TOKENS, samples=samples, temperature=temperature, rng=rng)

    def run(batch, samples=3, temperature=1.0, seed=0):
        found = call(state, batch, np.float32(temperature), jax.random.key(seed), samples)
        return jax.tree.map(np.asarray, found)

    return run


def test_without_heat_it_is_greedy(model, drawn):
    graphdef, state = model
    batch = tiny.batch(3)
    ours = drawn(batch, temperature=1e-4)
    wanted = jax.jit(lambda s, b: greedy.llm(nnx.merge(graphdef, s), b, TOKENS))(state, batch)
    for n in range(3):
        np.testing.assert_array_equal(ours.ids[:, n], wanted.ids[:, 0])
        np.testing.assert_array_equal(ours.length[:, n], wanted.length[:, 0])
        np.testing.assert_array_equal(ours.ended[:, n], wanted.ended[:, 0])
        np.testing.assert_allclose(ours.logprobs[:, n], wanted.logprobs[:, 0], atol=1e-5)


def test_the_same_key_draws_the_same_and_another_does_not(drawn):
    batch = tiny.batch(3)
    one, same, other = drawn(batch), drawn(batch), drawn(batch, seed=1)
    np.testing.assert_array_equal(one.ids, same.ids)
    assert (one.ids != other.ids).any()
    assert (one.ids[:, 0] != one.ids[:, 1]).any()  # samples of one example differ


def test_draws_follow_the_position_and_not_the_row(drawn):
    batch = tiny.batch(3)
    turned = jax.tree.map(lambda x: x[::-1].copy(), batch)
    one, other = drawn(batch), drawn(turned)
    np.testing.assert_array_equal(other.ids, one.ids[::-1])
    moved = dataclasses.replace(batch, position=batch.position + 3)
    assert (drawn(moved).ids != one.ids).any()


def test_more_samples_change_none(drawn):
    batch = tiny.batch(3)
    few, many = drawn(batch, samples=3), drawn(batch, samples=40)
    np.testing.assert_array_equal(many.ids[:, :3], few.ids)


def test_padding_and_absent_rows(drawn):
    batch = tiny.batch(3)
    one, spoiled = drawn(batch), drawn(tiny.garbage(batch))
    np.testing.assert_array_equal(spoiled.ids, one.ids)
    np.testing.assert_array_equal(spoiled.score, one.score)
    absent = jax.tree.map(np.copy, batch)
    absent.weight[1], absent.wave[1] = 0, np.nan
    found = drawn(absent)
    assert not found.length[1].any() and (found.score[1] == -np.inf).all()
    for row in (0, 2):
        np.testing.assert_array_equal(found.ids[row], one.ids[row])


def test_scores_are_sums_and_the_end_is_one_of_them(drawn):
    found = drawn(tiny.batch(3), samples=40)
    gain = found.score - found.logprobs.sum(-1)
    assert (gain[found.ended] < 0).all() and found.ended.any() and not found.ended.all()
    np.testing.assert_allclose(gain[~found.ended], 0, atol=1e-5)
    assert (found.length[~found.ended] == TOKENS).all()


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_first_tokens_come_as_often_as_the_model_says(model, drawn, temperature):
    batch = tiny.batch(3)
    graphdef, state = model

    @jax.jit
    def first(state, batch):
        merged = nnx.merge(graphdef, state)
        stream = prefill.fill(merged, batch, prefill.encode(merged, batch), 1)
        start = np.full((3, 1), tiny.TOKENS.start, np.int32)
        logits, _ = prefill.decode_step(merged, stream, start)
        return logits[:, 0]

    scores = np.float64(first(state, batch)) / temperature
    chance = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    seen = np.zeros_like(chance)
    for seed in range(10):
        found = drawn(batch, samples=40, temperature=temperature, seed=seed)
        tokens = np.where(found.length > 0, found.ids[..., 0], tiny.TOKENS.eos)
        for row in range(3):
            np.add.at(seen[row], tokens[row], 1 / 400)
    assert np.abs(seen - chance).max() < 4 * np.sqrt(chance.max() / 400)
    assert np.abs(seen - chance).sum() < 0.6 and (seen > 0).sum() > 20
