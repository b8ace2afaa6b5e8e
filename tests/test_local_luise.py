"""LUISE whose lower layers have no attention."""

import jax
import numpy as np
import pytest
import tiny

from seedasr_jax import config, small
from seedasr_jax.errors import ConfigError

MEL = np.random.default_rng(0).normal(size=(2, 30, 8)).astype(np.float32)
LENGTH = np.array([30, 17], np.int32)


def options(**changes):
    """Three layers, of which the last attends."""
    own = config.to_dict(tiny.encoder(layers=3)) | dict(kind="local_luise", attending=1)
    return config.build(own | changes, config.Encoder)


def test_only_the_last_layers_attend():
    assert isinstance(options(), small.options.LocalLuise)
    model = tiny.make(options().maker(), options(), remat="none")
    layers, _ = jax.jit(lambda x, n: model.every_layer(x, n))(MEL, LENGTH)
    top, _ = jax.jit(lambda x, n: model(x, n))(MEL, LENGTH)
    second, _ = jax.jit(lambda x, n: model.layer(x, n, 2))(MEL, LENGTH)
    np.testing.assert_allclose(layers[2], top, atol=1e-6)
    np.testing.assert_allclose(layers[1], second, atol=1e-6)
    changed = MEL.copy()
    changed[:, 0] += 1  # a convolution over 5 frames sees it nearby, attention everywhere
    other, _ = jax.jit(lambda x, n: model.every_layer(x, n))(changed, LENGTH)
    np.testing.assert_array_equal(layers[1][:, 6:], other[1][:, 6:])
    assert (layers[2][0, 6:] != other[2][0, 6:]).any()


def test_attention_is_in_layers_that_there_are():
    for attending in (0, 3):
        with pytest.raises(ConfigError, match=r"encoder\.attending: expected"):
            config.check(options(attending=attending), "encoder")


def test_its_flops_are_those_of_luise_without_the_attention_of_lower_layers():
    def count(encoder, lowest=0):
        return encoder.maker().flops(encoder, 1_000, 2, lowest)

    local, whole = options(), tiny.encoder(layers=3)
    assert count(local, 2) < count(local) < count(whole)
    assert count(local) - count(local, 2) == count(whole) - count(whole, 2)
