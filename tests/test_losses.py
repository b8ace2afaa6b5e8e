"""Losses against PyTorch's (golden), every alignment counted one by one, and finite differences.

Dims: B batch, T frames, N positions, L tokens, V vocabulary.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from seedasr_jax import config
from seedasr_jax.losses import cross_entropy as module
from seedasr_jax.losses.cross_entropy import cross_entropy
from seedasr_jax.losses.ctc import ctc, feasible
from seedasr_jax.losses.masked_prediction import describe, histogram, masked_prediction
from seedasr_jax.parallel import layout
from seedasr_jax.parallel import mesh as meshes

RNG = np.random.default_rng(0)
both = jax.jit(jax.value_and_grad(ctc), static_argnums=5)
of_targets, has_room = jax.jit(jax.value_and_grad(cross_entropy)), jax.jit(feasible)


def test_cross_entropy_matches_pytorch():
    arrays, _ = tiny.golden("cross_entropy")
    total, gradient = of_targets(arrays["logits"], arrays["targets"], arrays["weights"])
    np.testing.assert_allclose(total, arrays["total"], rtol=1e-5)
    np.testing.assert_allclose(gradient, arrays["gradient"], atol=1e-5)


def test_cross_entropy_ignores_what_has_no_weight():
    arrays, _ = tiny.golden("cross_entropy")
    off = arrays["weights"] == 0
    spoiled = np.where(off[..., None], np.nan, arrays["logits"])
    targets = np.where(off, -7, arrays["targets"])
    total, gradient = of_targets(spoiled, targets, arrays["weights"])
    np.testing.assert_allclose(total, arrays["total"], rtol=1e-5)
    assert off.any() and not np.asarray(gradient)[off].any()


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("count", [1, 3, 4])
def test_a_vocabulary_in_chunks_is_the_vocabulary(count, devices):
    """40 of 48 rows are valid; rows without weight hold NaN."""
    sizes = (2, 2, 2, 1) if devices == 8 else (1, 1, 1, 1)
    mesh = meshes.make(config.Mesh(*sizes), jax.devices()[:devices])
    x = RNG.normal(size=(4, 6, 8)).astype(np.float32)
    kernel = RNG.normal(size=(8, 48)).astype(np.float32)
    targets, valid = RNG.integers(0, 40, (4, 6)), RNG.random((4, 6)) < 0.7

    def whole(x, kernel):
        logits = jnp.where(jnp.arange(48)[None, None] < 40, x @ kernel, -1e9)
        return jnp.where(valid, module.nll(logits, targets, valid), 0)

    def chunks(x, kernel):
        with layout.over(mesh):
            nll = module.nll_by_chunks(x, kernel, targets, valid, 40, count)
        return jnp.where(valid, nll, 0)

    def values(of, x):
        def total(x, kernel):
            nll = of(x, kernel)
            return jnp.sin(nll).sum(), nll

        gradients, nll = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))(x, kernel)
        return nll, *gradients

    spoiled = np.where(valid[..., None], x, np.float32(np.nan))
    for found, wanted in zip(values(chunks, spoiled), values(whole, x)):
        np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_the_gradient_of_a_vocabulary_in_chunks_is_rounded_once():
    """In bfloat16: by x as near to the exact one as that of all logits at once, which rounds it."""
    x = jnp.asarray(RNG.normal(size=(2, 6, 32)), jnp.bfloat16)
    kernel = jnp.asarray(RNG.normal(size=(32, 512)), jnp.bfloat16)
    targets, valid = RNG.integers(0, 512, (2, 6)), np.ones((2, 6), bool)

    def whole(x, kernel):
        logits = jnp.matmul(x, kernel, preferred_element_type=jnp.float32)
        return module.nll(logits, targets, valid).sum()

    def chunks(x, kernel):
        return module.nll_by_chunks(x, kernel, targets, valid, 512, 16).sum()

    exact = jax.grad(whole)(x.astype(jnp.float32), kernel.astype(jnp.float32))
    once, found = (jax.jit(jax.grad(of))(x, kernel) for of in (whole, chunks))
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found, exact.astype(jnp.bfloat16), rtol=2.0**-8, atol=1e-4)

    def off(gradient):
        return float(jnp.sqrt(jnp.mean((gradient.astype(jnp.float32) - exact) ** 2)))

    assert 0 < off(found) < 1.1 * off(once)


def test_parts_divide_a_vocabulary_and_small_ones_are_whole():
    assert [module.chunks(rows) for rows in (128, 1_792, 16_384)] == [1, 1, 1]
    for rows in (16_512, 32_000, 50_304, 128_256, 151_936, 152_064):
        count = module.chunks(rows)
        assert count > 1 and rows % count == 0 and rows // count <= module.CHUNK


def test_ctc_matches_pytorch():
    arrays, _ = tiny.golden("ctc")
    rest = arrays["frames"], arrays["ids"], arrays["ids_length"]
    each = [both(arrays["logits"], *rest, np.eye(4, dtype=np.float32)[b], 0)[0] for b in range(4)]
    np.testing.assert_allclose(each, arrays["nll"], rtol=1e-5)
    total, gradient = both(arrays["logits"], *rest, np.ones(4, np.float32), 0)
    np.testing.assert_allclose(total, arrays["nll"].sum(), rtol=1e-5)
    np.testing.assert_allclose(gradient, arrays["gradient"], atol=1e-4)


def collapse(path, blank):
    """What an alignment says: repeats merged, blanks dropped."""
    return tuple(v for v, _ in itertools.groupby(path) if v != blank)


@pytest.mark.parametrize("blank", [0, 2])
def test_ctc_is_the_sum_over_all_alignments(blank):
    logits = RNG.normal(0, 1, (1, 4, 3))
    logprobs = logits[0] - np.log(np.exp(logits[0]).sum(-1, keepdims=True))
    probs = {}
    for path in itertools.product(range(3), repeat=4):
        transcript = collapse(path, blank)
        prob = np.exp(sum(logprobs[t, v] for t, v in enumerate(path)))
        probs[transcript] = probs.get(transcript, 0) + prob
    np.testing.assert_allclose(sum(probs.values()), 1)
    one, frames = np.ones(1, np.float32), np.array([4])
    for transcript, prob in probs.items():
        ids = np.full((1, 4), blank)
        ids[0, : len(transcript)] = transcript
        length = np.array([len(transcript)])
        if transcript:
            assert has_room(ids, length, frames)
            total, _ = both(logits.astype(np.float32), frames, ids, length, one, blank)
            np.testing.assert_allclose(total, -np.log(prob), rtol=1e-4)
    everything = itertools.chain.from_iterable(
        itertools.product(set(range(3)) - {blank}, repeat=n) for n in range(1, 5)
    )
    for transcript in everything:  # and exactly these are feasible
        ids = np.full((1, 4), blank)
        ids[0, : len(transcript)] = transcript
        assert bool(np.asarray(has_room(ids, np.array([len(transcript)]), frames))[0]) == (
            transcript in probs
        )


def test_ctc_gradient_by_finite_differences():
    logits = RNG.normal(0, 1, (2, 6, 4)).astype(np.float32)
    rest = (
        np.array([6, 4]),
        np.array([[1, 1, 2], [3, 2, 0]]),
        np.array([3, 2]),
        np.array([1.0, 0.5], np.float32),
    )
    _, gradient = both(logits, *rest, 0)
    gradient = np.asarray(gradient)
    assert not gradient[1, 4:].any()
    for b, t, v in ((0, 0, 1), (0, 3, 0), (1, 3, 2), (1, 0, 3)):
        step = np.zeros_like(logits)
        step[b, t, v] = 1e-2
        up, down = (np.asarray(both(logits + s, *rest, 0)[0]) for s in (step, -step))
        slope = (up - down) / 2e-2
        np.testing.assert_allclose(gradient[b, t, v], slope, atol=2e-3)


def test_infeasible_rows_of_weight_0_give_no_nan():
    ids, lengths = np.array([[1, 1, 1], [1, 2, 0], [2, 0, 0]]), np.array([3, 2, 0])
    frames = np.array([4, 5, 5])
    can = has_room(ids, lengths, frames)
    np.testing.assert_array_equal(can, [False, True, False])
    logits = RNG.normal(0, 1, (3, 5, 4)).astype(np.float32)
    weights = np.asarray(can, np.float32)
    total, gradient = both(logits, frames, ids, lengths, weights, 0)
    alone, _ = both(logits[1:2], frames[1:2], ids[1:2], lengths[1:2], weights[1:2], 0)
    np.testing.assert_allclose(total, alone, rtol=1e-6)
    gradient = np.asarray(gradient)
    assert np.isfinite(gradient).all() and not gradient[0].any() and not gradient[2].any()
    spoiled = np.where((weights > 0)[:, None, None], logits, np.nan)
    again, steep = both(spoiled, frames, ids, lengths, weights, 0)
    np.testing.assert_array_equal(again, total)
    np.testing.assert_array_equal(steep, gradient)


@pytest.mark.parametrize("tokens", [0, 1])
def test_feasible_of_narrow_buckets(tokens):
    ids, lengths = np.ones((2, tokens), np.int32), np.array([tokens, 0])
    np.testing.assert_array_equal(has_room(ids, lengths, np.array([1, 1])), [tokens > 0, False])


def test_masked_prediction_sums_over_masked_frames_only():
    logits = RNG.normal(0, 2, (2, 5, 4)).astype(np.float32)
    labels = RNG.integers(0, 4, (2, 5))
    masked = np.array([[0, 1, 1, 0, 0], [0, 0, 0, 0, 1]], np.float32)
    spoiled = np.where(masked[..., None] > 0, logits, np.nan)
    total, hits = map(float, jax.jit(masked_prediction)(spoiled, labels, masked))
    exact = logits.astype(np.float64)
    nll = np.log(np.exp(exact).sum(-1)) - np.take_along_axis(exact, labels[..., None], 2)[..., 0]
    np.testing.assert_allclose(total, (nll * masked).sum(), rtol=1e-5)
    assert hits == ((logits.argmax(-1) == labels) * masked).sum()


def test_figures_of_a_codebook():
    labels, masked = (
        np.array([[0, 0, 2], [3, 1, 0]]),
        np.array([[1.0, 1, 1], [1, 0, 0]], np.float32),
    )
    counts = np.asarray(jax.jit(histogram, static_argnums=2)(labels, masked, 5))
    np.testing.assert_array_equal(counts, [2, 0, 1, 1, 0])
    found = describe(counts)
    entropy = -(0.5 * np.log(0.5) + 2 * 0.25 * np.log(0.25))
    assert found["used_codes"] == 3 / 5 and found["majority"] == 0.5
    np.testing.assert_allclose([found["entropy"], found["perplexity"]], [entropy, np.exp(entropy)])
    np.testing.assert_allclose(describe(np.full(7, 3))["perplexity"], 7)
    assert describe(np.zeros(7))["perplexity"] == 1  # no masked frame at all
