"""LUISE: frame counts of the front ends, dropout by example.

Padding and neighbours stand in test_padding.py, parameter counts in test_sizes.py.

Dims: B batch, T mel frames, F mel bins, D width.
"""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from seedasr_jax.errors import ConfigError
from seedasr_jax.models import encoders
from seedasr_jax.models.luise import Luise

MEL = np.random.default_rng(0).normal(size=(2, 30, 8)).astype(np.float32)
LENGTH = np.array([30, 17], np.int32)


def call(model, *arguments):
    return jax.jit(lambda *a: model(*a))(*arguments)


@pytest.mark.parametrize("front, subsampling", [("conv", 4), ("conv", 8), ("stack", 8)])
def test_a_begun_stride_is_a_frame(front, subsampling):
    model = tiny.make(Luise, tiny.encoder(front=front, subsampling=subsampling), remat="none")
    x, length = jax.eval_shape(model, MEL, LENGTH)
    assert x.shape == (2, -(-30 // subsampling), 16)
    length = jax.jit(lambda *x: model.front(*x)[1])(MEL, LENGTH)
    np.testing.assert_array_equal(length, -(-LENGTH // subsampling))


def test_the_stacked_front_is_one_matrix_on_frames_side_by_side():
    front = tiny.make(Luise, tiny.encoder(subsampling=4), remat="none").front
    x, _ = call(front, MEL, LENGTH)
    side_by_side = np.pad(MEL[0], ((0, 2), (0, 0))).reshape(8, 32)
    np.testing.assert_allclose(x[0], side_by_side @ front.out.kernel[...], atol=1e-5)


def test_dropout_follows_the_example():
    model = tiny.make(Luise, tiny.encoder(dropout=0.3), remat="none")
    keys = jax.random.split(jax.random.key(0), 2)
    dropped, _ = call(model, MEL, LENGTH, keys)
    plain, _ = call(model, MEL, LENGTH)
    assert (dropped[0] != plain[0]).any() and not dropped[1, 5:].any()
    swapped, _ = call(model, MEL[::-1], LENGTH[::-1], keys[::-1])
    np.testing.assert_allclose(swapped[::-1], dropped, atol=1e-6)
    other, _ = call(model, MEL, LENGTH, jax.random.split(jax.random.key(1), 2))
    assert (other[0] != dropped[0]).any()


def test_dropout_of_0_needs_no_keys():
    model = tiny.make(Luise, tiny.encoder(), remat="none")
    keys = jax.random.split(jax.random.key(0), 2)
    given, without = (str(jax.make_jaxpr(model)(MEL, LENGTH, k)) for k in (keys, None))
    assert "random_bits" not in given and given.count("\n") == without.count("\n")


def test_bfloat16_stays_bfloat16():
    config = tiny.encoder(front="conv")

    def forward(mel, length):
        model = Luise(config, remat="block", dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
        return model(mel, length)

    assert jax.eval_shape(forward, MEL, LENGTH)[0].dtype == jnp.bfloat16


def test_an_encoder_that_counts_no_flops_is_named(monkeypatch):
    monkeypatch.setattr(Luise, "flops", staticmethod(encoders.Encoder.flops))
    settings = tiny.stage("ctc", ("encoder",), ("encoder",))
    with pytest.raises(ConfigError, match="'luise': expected a method flops, found none: give"):
        encoders.flops(settings.model, 100)
