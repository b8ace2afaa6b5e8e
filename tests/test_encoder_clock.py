"""Clocks of front ends and encoders: integers, arrays and what a model gives are the same.

The rule of LUISE, and one beside it: tests/outside_encoder.py.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import outside_encoder_options as options
import pytest
import tiny

from seedasr_jax.errors import ConfigError
from seedasr_jax.models import converters, encoders, names, parts
from seedasr_jax.train import objectives

SAMPLES = (1, 159, 160, 161, 6_400, 7_999, 8_000, 8_001, 15_999, 16_000, 16_001, 17_280, 40_000)
FRONTEND = options.Energies("energies", hop=80, width=8)
OWN = dataclasses.asdict(options.Thirteen("thirteen", FRONTEND, layers=1, width=16, patch=16))


def model(kind):
    """A tiny model's config."""
    changes = {} if kind == "luise" else {"model.encoder": OWN}
    return tiny.stage("ctc", ("encoder", "ctc_head"), ("encoder",), **changes).model


@pytest.mark.parametrize("kind", ["luise", "thirteen"])
def test_integers_arrays_and_the_model_agree(kind):
    settings = model(kind)
    clock = encoders.clock(settings)
    wanted = [clock.frames(samples) for samples in SAMPLES]
    assert all(type(frames) is int for frames in wanted)
    lengths = np.array(SAMPLES, np.int32)
    np.testing.assert_array_equal(jax.jit(clock.frames)(lengths), wanted)
    encoder = tiny.make(settings.encoder.maker(), settings.encoder, remat="none")

    @jax.jit
    def run(wave, length):
        return encoder(*encoder.frontend(wave, length))

    for buffer in (6_400, 40_000):
        length = np.minimum(lengths, buffer)
        x, frames = run(jnp.ones((len(lengths), buffer)), length)
        assert x.shape[1] == clock.buffer(buffer)
        most = np.minimum(clock.frames(length), clock.buffer(buffer))
        np.testing.assert_array_equal(frames, most)
    tokens = [converters.tokens(settings, frames) for frames in wanted]
    np.testing.assert_array_equal(converters.tokens(settings, np.array(wanted)), tokens)


def test_a_rule_of_whole_seconds():
    clock = encoders.clock(model("thirteen"))
    found = {samples: clock.frames(samples) for samples in SAMPLES}
    assert found[1] == found[8_000] == 7  # at least 100 features
    assert found[16_000] == 13 and found[16_001] == 14 and found[40_000] == 33
    np.testing.assert_allclose([clock.seconds(n) for n in (0, 12, 13, 26)], [0, 0.96, 1, 2])


def test_a_frame_of_luise_is_40_ms_and_a_faster_voice_has_fewer():
    clock = encoders.clock(model("luise"))
    assert clock.seconds(25) == 1
    assert clock.frames(16_000, 0.5) == 50
    tempo = np.array([0.5, 1.25], np.float32)
    np.testing.assert_array_equal(jax.jit(clock.frames)(16_000, tempo), [50, 20])


def test_masked_prediction_refuses_frames_of_no_whole_number_of_features():
    settings = dict(objective=dict(start=0.1, span=4, noise=0.1), **{"model.encoder": OWN})
    stage = tiny.stage("ssl1", ("encoder", "ssl_head", "quantizer"), ("encoder",), **settings)
    with pytest.raises(ConfigError, match="whole number of features per frame"):
        objectives.needs(stage)
    with pytest.raises(ConfigError, match="whole number of features per frame"):
        parts.lookup(names.QUANTIZER).make(stage.model, 0, rngs=None)
