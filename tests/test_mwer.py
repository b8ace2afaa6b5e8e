"""MWER against loops in float64: value, gradient, what shifts nothing, and what is left out.

Dims: B batch, N hypotheses, L tokens, K positions, V vocabulary.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from seedasr_jax.losses import mwer as module
from seedasr_jax.losses.cross_entropy import cross_entropy, nll
from seedasr_jax.models import acllm

RNG = np.random.default_rng(0)
LOGPROBS = RNG.normal(-20, 2, (3, 4)).astype(np.float32)
RISK = RNG.integers(0, 6, (3, 4)).astype(np.float32)
VALID = np.array([[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 1, 0]], bool)
WEIGHTS = np.array([1.0, 1.0, 0.5], np.float32)
both = jax.jit(jax.value_and_grad(module.mwer))
expected_risk, distinct = jax.jit(module.expected_risk), jax.jit(module.distinct)


def slow(logprobs, risk, valid, weights, mean=None):
    """Value and gradient of the sum, an example and a hypothesis at a time, float64."""
    total, gradient = 0.0, np.zeros(logprobs.shape)
    for b in range(len(logprobs)):
        kept = np.flatnonzero(valid[b])
        p = np.exp(np.float64(logprobs[b, kept]) - logprobs[b, kept].max())
        p /= p.sum()
        w = np.float64(risk[b, kept])
        centre = w.mean() if mean is None else mean
        total += weights[b] * (p * (w - centre)).sum() / len(kept)
        gradient[b, kept] = weights[b] * p * (w - (p * w).sum()) / len(kept)
    return total, gradient


def test_value_and_gradient_are_the_formula():
    total, gradient = both(LOGPROBS, RISK, VALID, WEIGHTS)
    wanted, slope = slow(LOGPROBS, RISK, VALID, WEIGHTS)
    np.testing.assert_allclose(total, wanted, rtol=1e-5)
    np.testing.assert_allclose(gradient, slope, atol=1e-6)
    assert np.abs(slope).max() > 0.01


def test_the_formula_of_the_gradient_is_right():
    """By finite differences of the value in float64."""
    _, slope = slow(LOGPROBS, RISK, VALID, WEIGHTS)
    for b, n in np.argwhere(VALID):
        step = np.zeros(LOGPROBS.shape)
        step[b, n] = 1e-5
        up, down = (slow(np.float64(LOGPROBS) + s, RISK, VALID, WEIGHTS)[0] for s in (step, -step))
        np.testing.assert_allclose((up - down) / 2e-5, slope[b, n], atol=1e-8)


def test_the_mean_moves_the_value_and_not_the_gradient():
    total, gradient = slow(LOGPROBS, RISK, VALID, WEIGHTS)
    for mean in (0.0, 7.0):
        other, same = slow(LOGPROBS, RISK, VALID, WEIGHTS, mean)
        assert abs(other - total) > 0.1
        np.testing.assert_array_equal(same, gradient)
    _, ours = both(LOGPROBS, RISK + 5, VALID, WEIGHTS)
    np.testing.assert_allclose(ours, gradient, atol=1e-6)


def test_what_is_common_to_all_probabilities_changes_nothing():
    total, gradient = both(LOGPROBS, RISK, VALID, WEIGHTS)
    other, same = both(LOGPROBS - 300, RISK, VALID, WEIGHTS)  # sentences may be long
    np.testing.assert_allclose(other, total, rtol=1e-3)
    np.testing.assert_allclose(same, gradient, atol=1e-4)


def test_a_step_along_the_gradient_lowers_the_errors_to_expect():
    _, gradient = both(LOGPROBS, RISK, VALID, WEIGHTS)
    before = expected_risk(LOGPROBS, RISK, VALID, WEIGHTS)
    after = expected_risk(LOGPROBS - 0.1 * np.asarray(gradient), RISK, VALID, WEIGHTS)
    assert float(after) < float(before)
    probs = jax.jit(module.renormalised)(LOGPROBS, VALID)
    wanted = (np.asarray(probs) * RISK).sum(1) @ WEIGHTS
    np.testing.assert_allclose(before, wanted, rtol=1e-5)


def test_no_gradient_goes_through_the_risk():
    slope = jax.jit(jax.grad(module.mwer, argnums=1))(LOGPROBS, RISK, VALID, WEIGHTS)
    assert not np.asarray(slope).any()


def test_what_is_not_listed_or_weighs_nothing_is_not_read():
    weights = np.array([1.0, 1.0, 0.0], np.float32)
    total, gradient = both(LOGPROBS, RISK, VALID, weights)
    off = ~VALID | (weights == 0)[:, None]
    spoiled = np.where(off, np.nan, LOGPROBS), np.where(off, np.nan, RISK)
    again, same = both(*spoiled, VALID, weights)
    np.testing.assert_array_equal(again, total)
    np.testing.assert_array_equal(same, gradient)
    assert not np.asarray(gradient)[off].any()
    assert np.isfinite(expected_risk(*spoiled, VALID, weights))


@pytest.mark.parametrize("valid", [[[1, 0]], [[0, 0]]])
def test_a_list_of_one_teaches_nothing(valid):
    logprobs, risk = np.array([[-1.0, -2.0]]), np.array([[3.0, 1.0]])
    total, gradient = both(logprobs, risk, np.array(valid, bool), np.ones(1))
    assert float(total) == 0 and not np.asarray(gradient).any()


def test_a_list_is_a_set():
    hyp = np.array([[[4, 5, 9], [4, 5, 7], [4, 5, 9], [4, 9, 9]], [[4, 4, 4]] * 4])
    length = np.array([[2, 2, 3, 1], [0, 2, 0, 3]])
    kept = np.asarray(distinct(hyp, length))
    np.testing.assert_array_equal(kept, [[1, 0, 1, 1], [1, 1, 0, 1]])
    few = both(LOGPROBS[:1], RISK[:1], kept[:1], WEIGHTS[:1])
    chosen = [0, 2, 3]
    wanted, slope = slow(LOGPROBS[:1, chosen], RISK[:1, chosen], VALID[:1, :3], WEIGHTS[:1])
    np.testing.assert_allclose(few[0], wanted, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(few[1])[:, chosen], slope, atol=1e-6)


def test_empty_lists():
    nothing = np.zeros((2, 0), np.float32)
    kept = distinct(np.zeros((2, 0, 3), np.int32), np.zeros((2, 0), np.int32))
    assert kept.shape == (2, 0)
    total, _ = both(nothing, nothing, nothing.astype(bool), np.ones(2, np.float32))
    assert float(total) == 0


def test_a_sequence_is_the_sum_of_its_tokens_and_its_end():
    logits = RNG.normal(size=(3, 5, 7)).astype(np.float32)
    ids, length = RNG.integers(4, 7, (3, 4)), np.array([4, 2, 0])

    @jax.jit
    def totals(logits, ids, length):
        targets, valid = acllm.targets(ids, length, tiny.TOKENS.eos)
        each = module.sequence_logprobs(nll(logits, targets, valid), valid)
        return each, cross_entropy(logits, targets, valid.astype(jnp.float32))

    ours, whole = map(np.asarray, totals(logits, ids, length))
    for b in range(3):
        p = np.exp(np.float64(logits[b])) / np.exp(np.float64(logits[b])).sum(-1, keepdims=True)
        tokens = [*ids[b, : length[b]], tiny.TOKENS.eos]
        np.testing.assert_allclose(
            ours[b], sum(np.log(p[k, v]) for k, v in enumerate(tokens)), 1e-5
        )
    np.testing.assert_allclose(-ours.sum(), whole, rtol=1e-5)


def test_a_sequence_does_not_read_its_padding():
    logits = RNG.normal(size=(2, 4, 7)).astype(np.float32)
    targets, valid = np.full((2, 4), 3), np.array([[1, 1, 0, 0], [1, 1, 1, 1]], bool)

    @jax.jit
    @jax.value_and_grad
    def total(logits, targets):
        return module.sequence_logprobs(nll(logits, targets, valid), valid).sum()

    value, gradient = total(logits, targets)
    spoiled = np.where(valid[..., None], logits, np.nan), np.where(valid, targets, -9)
    again, same = total(*spoiled)
    np.testing.assert_array_equal(again, value)
    np.testing.assert_array_equal(same, gradient)
