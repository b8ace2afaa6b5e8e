"""Devices of the small recipes, each against a loop in Python.

Dims: B batch, T frames, K splice, U slots, V vocabulary, E width.
"""

import dataclasses
import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import outside_decoder  # noqa: F401  (registers its kind)
import pytest
import tiny

from seedasr_jax import config
from seedasr_jax.configs import common
from seedasr_jax.errors import ConfigError
from seedasr_jax.small.models import decoder as reading
from seedasr_jax.small.models import devices
from seedasr_jax.train import objectives

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("splice", [1, 2, 3])
def test_the_clock_counts_onsets(splice):
    logits = RNG.normal(size=(3, 7, 3)).astype(np.float32)
    length = np.array([7, 4, 1])
    clock = devices.onset_clock(jnp.asarray(logits), jnp.asarray(length), splice, 1)
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
        return devices.onset_clock(logits, jnp.array([3]), 1, 0).astype(jnp.float32).sum()

    assert not jax.grad(clocked)(jnp.asarray(RNG.normal(size=(1, 3, 4)), jnp.float32)).any()


def test_expected_pieces_are_a_mean_by_probability():
    rng = np.random.default_rng(0)
    logits, table = rng.normal(size=(2, 3, 5)), rng.normal(size=(5, 4))
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    found = devices.expected_pieces(logits.astype(np.float32), table.astype(np.float32))
    np.testing.assert_allclose(found, weights @ table, rtol=1e-5, atol=1e-6)


def test_a_mean_converter_starts_as_the_mean_of_what_it_splices():
    converter = devices.MeanConverter(3, 4, splice=2, dtype=jnp.float32, rngs=nnx.Rngs(0))
    x = np.random.default_rng(1).normal(size=(2, 5, 4)).astype(np.float32)
    found, length = converter(x, np.array([5, 3], np.int32))
    assert length.tolist() == [3, 2]
    np.testing.assert_allclose(found[0, 0], x[0, :2].mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[0, 2], x[0, 4] / 2, rtol=1e-5, atol=1e-6)  # half is padding
    np.testing.assert_allclose(found[1, 1], x[1, 2] / 2, rtol=1e-5, atol=1e-6)


def test_a_reader_mixes_the_token_before_and_flags_what_is_in_context():
    make = functools.partial(reading.Reader, 4, scale=2.0, dtype=jnp.float32, rngs=nnx.Rngs(0))
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
    key, parts = f"model.variant.{name}", ("encoder", "ctc_head")
    with pytest.raises(ConfigError, match=rf"{key}: expected one of frames, ctc_\w+"):
        tiny.stage("ctc", parts, parts, **{key: "onset"})


def test_a_decoder_of_another_kind_needs_another_variant():
    decoder = tiny.decoder(kind="capped", cap=1.0)
    stage = tiny.stage("lm", ("decoder",), ("decoder",))
    variant = config.build(common.small(), config.Variant)
    model = dataclasses.replace(stage.model, decoder=decoder, variant=variant)
    with pytest.raises(ConfigError, match=r"expected 'transformer', found 'capped': .*'paper'"):
        objectives.needs(dataclasses.replace(stage, model=model))


def test_a_converter_suits_what_it_reads():
    key = "model.variant.converter_input"
    options = {"objective": dict(ctc_weight=0.3), key: "ctc_posteriors"}
    stage = tiny.stage("sft", tiny.PARTS, tiny.PARTS, **options)
    with pytest.raises(ConfigError, match=f"converter.kind: expected 'mean' where {key}"):
        objectives.needs(stage)


def test_spelling_says_how_much_texts_share():
    has = reading.spelling(["bell", "vell", "corn", "", "三"])
    alike = has @ has.T
    np.testing.assert_allclose(np.diag(alike), [1, 1, 1, 0, 1], atol=1e-6)
    # Five of eight: e, l, el, ll, and the end behind l.
    assert alike[0, 1] == pytest.approx(5 / 8, abs=1e-6)
    assert alike[0, 2] == 0 and alike[0, 4] == 0


def test_pieces_that_are_spelled_alike_start_alike_and_no_longer_than_others():
    table = jax.random.normal(jax.random.key(0), (8, 512)) * 512**-0.5
    texts = ("bell", "vell", "corn", "", "三")
    made = reading.spelled_alike(table, texts, jax.random.key(1))
    kept = jnp.array([3, 5, 6, 7])  # a piece of nothing, and no pieces
    np.testing.assert_array_equal(made[kept], table[kept])
    length = jnp.linalg.norm(made, axis=1)
    np.testing.assert_allclose(length, 1.0, atol=0.15)
    unit = made / length[:, None]
    assert 0.2 < unit[0] @ unit[1] < 0.45  # half of 5/8
    assert abs(unit[0] @ unit[2]) < 0.15
