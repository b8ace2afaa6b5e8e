"""Log-mel against a float64 DFT by its definition, and what the normalisation promises.

Dims: B batch, S samples, T frames, F mel bins.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from seedasr_jax import config
from seedasr_jax.audio import logmel

FEATURES = config.LogMel("log_mel", mels=40, low_hz=20.0, high_hz=7_600.0, floor=1e-5, norm="bin")
log_mel = jax.jit(logmel.log_mel, static_argnums=2)


@pytest.fixture(scope="module")
def reference():
    arrays, _ = tiny.golden("log_mel")
    return arrays


def test_matches_the_reference(reference):
    mel, count = log_mel(reference["wave"], reference["length"], FEATURES)
    np.testing.assert_array_equal(count, reference["count"])
    np.testing.assert_allclose(mel, reference["out"], atol=1e-3)


def test_products_are_the_fft():
    """What TPUs compute, and all others."""
    windows = np.random.default_rng(0).normal(size=(2, 30, logmel.WINDOW)).astype(np.float32)
    expected = np.abs(np.fft.rfft(windows.astype(np.float64), logmel.FFT)) ** 2
    ways = jax.jit(lambda x: (logmel.by_products(x), logmel.by_fft(x)))
    for energies in ways(windows):
        np.testing.assert_allclose(energies, expected, rtol=1e-4, atol=1e-4 * expected.mean())


def test_every_bin_of_every_utterance_has_mean_0_and_variance_1(reference):
    mel, count = log_mel(reference["wave"], reference["length"], FEATURES)
    for row, frames in zip(np.asarray(mel, np.float64), count):
        np.testing.assert_allclose(row[:frames].mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(row[:frames].var(0), 1, atol=1e-3)
        assert not row[frames:].any()


def test_loudness_does_not_matter(reference):
    loud, _ = log_mel(reference["wave"], reference["length"], FEATURES)
    quiet, _ = log_mel(reference["wave"] * 0.01, reference["length"], FEATURES)
    np.testing.assert_allclose(quiet, loud, atol=1e-3)


def test_silence_and_nothing_are_finite():
    mel, count = log_mel(np.zeros((2, 1_600), np.float32), np.array([1_600, 0]), FEATURES)
    np.testing.assert_array_equal(count, [10, 0])
    np.testing.assert_array_equal(mel, np.zeros((2, 10, 40)))


@pytest.mark.parametrize("samples, frames", [(0, 0), (1, 1), (160, 1), (161, 2), (16_000, 100)])
def test_a_begun_hop_is_a_frame(samples, frames):
    assert logmel.num_frames(samples) == frames


def test_a_faster_voice_has_fewer_frames():
    np.testing.assert_array_equal(
        jax.jit(logmel.num_frames)(16_000, np.array([0.5, 1.0, 2.0], np.float32)), [200, 100, 50]
    )


def test_a_wave_without_rows_is_refused():
    with pytest.raises(ValueError, match="expected \\[B S\\]"):
        logmel.log_mel(jnp.zeros(160), jnp.zeros(1, jnp.int32), FEATURES)


def test_lengths_must_be_of_the_same_batch():
    with pytest.raises(ValueError, match="B = 2"):
        jax.eval_shape(
            lambda: logmel.log_mel(jnp.zeros((2, 160)), jnp.zeros(3, jnp.int32), FEATURES)
        )


def test_norms_take_their_statistics_over_bins_or_all():
    rng = np.random.default_rng(5)
    wave = rng.normal(0, 0.1, (2, 8000)).astype(np.float32)
    length = np.array([8000, 5000], np.int32)
    both, count = log_mel(wave, length, dataclasses.replace(FEATURES, norm="both"))
    parts = [
        log_mel(wave, length, dataclasses.replace(FEATURES, norm=norm))[0]
        for norm in ("bin", "level")
    ]
    np.testing.assert_allclose(both, np.concatenate(parts, -1), atol=1e-5)
    for row, frames in enumerate(np.asarray(count)):
        valid = np.asarray(parts[1])[row, :frames]
        assert abs(valid.mean()) < 1e-4 and abs(valid.std() - 1) < 1e-3
        assert valid.mean(0).std() > 0.05  # the spectrum's own shape is still there
