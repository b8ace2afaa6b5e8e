"""Perturbations: each has its stated effect, and none when it is off.

Dims: B batch, T frames, F mel bins.
"""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from seedasr_jax.audio import logmel, perturb
from seedasr_jax.train.objectives import shared

RATE = logmel.RATE


def neutral(rows, **changes):
    """A Channel that changes nothing but `changes`."""
    flat = jnp.zeros((rows, perturb.KNOTS))
    channel = perturb.Channel(
        tempo=jnp.ones(rows),
        warp=jnp.ones(rows),
        equaliser=flat,
        tail=jnp.zeros(rows),
        seconds=jnp.full(rows, 0.3),
        noise=jnp.zeros(rows),
        tilt=flat,
        key=jax.random.split(jax.random.key(0), rows),
    )
    return dataclasses.replace(channel, **{k: jnp.asarray(v) for k, v in changes.items()})


def draw(rows=300, seed=0, **augment):
    """A Channel of many examples."""
    options = tiny.augment(**augment)
    return jax.jit(lambda key: perturb.draw(key, jnp.arange(rows), options))(jax.random.key(seed))


colour = jax.jit(perturb.Channel.colour)
log_mel = jax.jit(logmel.log_mel, static_argnums=2)


def tone(hertz, samples=8_000):
    return np.sin(2 * np.pi * hertz * np.arange(samples) / RATE).astype(np.float32)


def test_off_is_no_channel():
    stage = types.SimpleNamespace(augment=tiny.augment(frequency_masks=2, time_masks=2))
    assert shared.Acoustic.channel(types.SimpleNamespace(stage=stage), None, None) is None


def test_a_neutral_channel_is_the_identity():
    batch = tiny.batch(4)
    plain, count = log_mel(batch.wave, batch.wave_length, tiny.FEATURES)
    same, frames = log_mel(batch.wave, batch.wave_length, tiny.FEATURES, neutral(4))
    np.testing.assert_array_equal(count, frames)
    np.testing.assert_allclose(same, plain, atol=1e-5)


def test_tempo_changes_the_frames_and_not_the_pitch():
    wave, length = jnp.asarray(np.stack([tone(1_000)] * 3)), jnp.full(3, 4_000)
    tempo = jnp.array([0.8, 1.0, 1.25])
    energies, count = logmel.spectrum(wave, length, tempo)
    np.testing.assert_array_equal(count, np.ceil(4_000 / (160 * np.array([0.8, 1, 1.25]))))
    assert (np.asarray(energies[:, 3]).argmax(-1) == 1_000 * logmel.FFT // RATE).all()


def test_tempo_moves_events_in_time():
    wave = np.zeros((2, 8_000), np.float32)
    wave[:, 4_000] = 1  # a click after 25 frames
    energies, _ = logmel.spectrum(jnp.asarray(wave), jnp.full(2, 8_000), jnp.array([0.8, 1.25]))
    clicks = np.flatnonzero(energies[0].sum(-1)), np.flatnonzero(energies[1].sum(-1))
    assert abs(clicks[0].mean() - 25 / 0.8) < 2 and abs(clicks[1].mean() - 25 / 1.25) < 2


@pytest.mark.parametrize("warp", [0.85, 1.0, 1.2])
def test_warp_moves_a_tone(warp):
    features = dataclasses.replace(tiny.FEATURES, mels=40, high_hz=7_600.0)
    bank = np.asarray(logmel.filters(features, jnp.array([warp]))[0])
    centres = np.linspace(*(2_595 * np.log10(1 + f / 700) for f in (20, 7_600)), 42)[1:-1]
    centres = 700 * (10 ** (centres / 2_595) - 1)
    for hertz in (1_000, 2_500):
        measured = centres[bank[hertz * logmel.FFT // RATE].argmax()]
        np.testing.assert_allclose(measured, hertz / warp, rtol=0.06)


def test_equaliser_is_in_decibels_between_its_knots():
    knots = np.array([[3.0, -6.0, 0.0, 2.0, 10.0]])
    x = np.random.default_rng(0).uniform(1, 2, (1, 6, 9))
    out = colour(neutral(1, equaliser=knots), jnp.asarray(x), jnp.array([6]))
    gain = np.interp(np.linspace(0, 4, 9), np.arange(5), knots[0])
    np.testing.assert_allclose(10 * np.log10(out / x), np.broadcast_to(gain, x.shape), atol=1e-4)


@pytest.mark.parametrize("seconds", [0.1, 0.4])
def test_reverberation_decays_by_60_db_in_t60(seconds):
    x = jnp.zeros((1, 60, 2)).at[0, 5].set(1.0)
    out = colour(neutral(1, tail=[0.5], seconds=[seconds]), x, jnp.array([60]))
    out = np.asarray(out)[0, :, 0]
    assert not out[:5].any() and out[5] == 1
    np.testing.assert_allclose(out[6], 0.5, rtol=1e-5)
    later = 6 + round(100 * seconds)
    np.testing.assert_allclose(out[later] / out[6], 1e-6, rtol=1e-3)
    np.testing.assert_allclose(np.diff(np.log10(out[6:later])), -6 / (100 * seconds), rtol=1e-3)


def test_echoes_past_the_end_do_not_raise_the_noise():
    """The noise itself is another in a longer bucket: its mean over many draws is compared."""
    rows, count = 100, jnp.full(100, 10)
    quiet = neutral(rows, tail=np.full(rows, 0.5), seconds=np.full(rows, 0.6))
    noisy = dataclasses.replace(quiet, noise=jnp.full(rows, 0.1))
    levels = []
    for frames in (10, 80):
        x = jnp.zeros((rows, frames, 4)).at[:, :10].set(1.0)
        noise = colour(noisy, x, count) - colour(quiet, x, count)
        levels.append(noise[:, :10].mean())
    np.testing.assert_allclose(levels[0], levels[1], rtol=0.05)


@pytest.mark.parametrize("decibels", [0.0, 15.0])
def test_noise_is_as_far_below_the_speech_as_requested(decibels):
    rows = 100
    channel = draw(rows, noise=1.0, noise_snr_db=(decibels, decibels))
    channel = dataclasses.replace(channel, equaliser=jnp.zeros((rows, perturb.KNOTS)))
    speech = np.random.default_rng(0).exponential(1.0, (rows, 40, 16)).astype(np.float32)
    noise = np.asarray(colour(channel, jnp.asarray(speech), jnp.full(rows, 40))) - speech
    ratio = 10 * np.log10(speech.mean((1, 2)) / noise.mean((1, 2)))
    assert abs(ratio.mean() - decibels) < 0.3 and ratio.std() < 1


def test_probabilities_and_spans_are_kept():
    channel = draw(
        tempo=(0.9, 1.2), warp=(0.8, 1.1), noise=0.25, reverb=0.75, reverb_seconds=(0.2, 0.3)
    )
    for value, low, high in ((channel.tempo, 0.9, 1.2), (channel.warp, 0.8, 1.1)):
        assert low <= value.min() < low + 0.02 and high - 0.02 < value.max() <= high
    assert channel.seconds.min() >= 0.2 and channel.seconds.max() <= 0.3
    assert abs((channel.noise > 0).mean() - 0.25) < 0.08
    assert abs((channel.tail > 0).mean() - 0.75) < 0.08
    assert not channel.equaliser.any()


def test_speed_is_a_tape():
    channel = draw(speed=(0.8, 1.3))
    np.testing.assert_allclose(channel.tempo * channel.warp, 1, rtol=1e-6)
    assert channel.tempo.std() > 0.1


def test_draws_follow_the_position_alone():
    options = tiny.augment(**tiny.ALL_DRAWS)
    made = jax.jit(lambda seed, position: perturb.draw(jax.random.key(seed), position, options))
    some, others = made(3, jnp.array([5, 2, 9])), made(3, jnp.array([9, 5]))
    for a, b in zip(jax.tree.leaves(some), jax.tree.leaves(others)):
        if not jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(a[jnp.array([2, 0])], b)
    assert len(np.unique(some.tempo)) == 3
    again = made(4, jnp.array([5, 2, 9]))
    assert (again.tempo != some.tempo).all()
