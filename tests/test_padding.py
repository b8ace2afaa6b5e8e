"""An example's result depends neither on its neighbours nor on its padding: every layer, one table.

A layer is a function (x [B T ...], length [B]) -> (y [B T' ...], length' [B]). Losses take part
by their gradient. Each is tried with NaN at padding, beside neighbours of NaN, and alone in a
longer T.

Dims: B batch, T positions.
"""

import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from seedasr_jax import config, shapes
from seedasr_jax.audio import logmel, masking, perturb
from seedasr_jax.losses.cross_entropy import cross_entropy, nll
from seedasr_jax.losses.ctc import ctc
from seedasr_jax.losses.masked_prediction import masked_prediction
from seedasr_jax.losses.mwer import sequence_logprobs
from seedasr_jax.models import conformer, luise
from seedasr_jax.models.attention import RelativeAttention
from seedasr_jax.models.converter import Converter
from seedasr_jax.models.decoder import Decoder
from seedasr_jax.models.head import Head
from seedasr_jax.models.probe import Probe
from seedasr_jax.quantize.kmeans import KMeans
from seedasr_jax.quantize.random_projection import RandomProjection
from seedasr_jax.small.models import devices

MODULES, FUNCTIONS = {}, {}
WIDTH = 16


def same_length(call):
    """Of a layer that keeps T: call(module, x, length) -> y."""
    return lambda module, x, length: (call(module, x, length), length)


def lengthened(module, x, length):
    """A layer that says its own length."""
    return module(x, length)


def attend(module, x, length):
    return module(x, shapes.valid(length, x.shape[1]))


def decode(module, x, length):
    positions = jnp.broadcast_to(jnp.arange(x.shape[1])[None], x.shape[:2])
    return module.logits(module(x, positions, shapes.valid(length, x.shape[1]))[0])


def every_layer(encoder, mel, length):
    """[B T/R L*D]: layers side by side, the examples first."""
    layers, length = encoder.every_layer(mel, length)
    return jnp.concatenate(list(layers), -1), length


def probe(module, x, length):
    """Logits of both layers, the second of which is another view of x."""
    both = module(jnp.stack([x, jnp.flip(x, -1)]), lambda logits: logits)
    return jnp.concatenate(list(both), -1), length


def add(name, call, kind, *arguments, width=WIDTH, **options):
    """Adds a module to the table."""
    MODULES[name] = (call, lambda: tiny.make(kind, *arguments, **options), (12, width))


ENCODER = tiny.encoder()
CONV_4 = tiny.encoder(front="conv")
LORA = config.Lora(rank=2, alpha=4.0)
add("front_conv", lengthened, luise.StridedFront, CONV_4, 8, width=8)
add("front_stack", lengthened, luise.StackedFront, ENCODER, 8, width=8)
add("attention", same_length(attend), RelativeAttention, WIDTH, 2, clip=0, bias=True)
add("attention_clipped", same_length(attend), RelativeAttention, WIDTH, 2, clip=3, bias=True)
add("convolution", same_length(lengthened), conformer.Convolution, ENCODER)
add(
    "conformer",
    same_length(lambda block, x, length: block(x, length, None)[0]),
    conformer.ConformerBlock,
    ENCODER,
)
add("luise", lengthened, luise.Luise, CONV_4, width=8, remat="none")
add("luise_clipped", lengthened, luise.Luise, tiny.encoder(clip=2), width=8, remat="block")
add("luise_layers", every_layer, luise.Luise, ENCODER, width=8, remat="none")
add("ssl_head", same_length(lambda head, x, _: head(x)), Head, WIDTH, 12)
add("probe", probe, Probe, 2, WIDTH, tiny.VOCABULARY, remat="none")
MODULES["random_projection"] = (
    lengthened,
    lambda: tiny.drawn(lambda rngs: RandomProjection(8, size=4, codes=32, width=5, rngs=rngs)),
    (12, 8),
)
MODULES["kmeans"] = (
    lambda module, x, length: (module.distances(x), module(x, length)[1]),
    lambda: tiny.drawn(lambda rngs: KMeans(WIDTH, codes=12)),
    (12, WIDTH),
)
add("converter", lengthened, Converter, WIDTH, 6, splice=3)
add("ctc_head", same_length(lambda head, x, _: head(x)), Head, WIDTH, tiny.VOCABULARY)
add(
    "decoder",
    same_length(decode),
    Decoder,
    tiny.decoder(),
    tiny.VOCABULARY,
    lora=LORA,
    remat="none",
)
add(
    "decoder_llama",
    same_length(decode),
    Decoder,
    tiny.decoder(qk_norm=False, tied=False),
    tiny.VOCABULARY,
    lora=LORA,
    remat="none",
)


add(
    "decoder_experts",
    same_length(decode),
    Decoder,
    tiny.decoder(moe=dict(experts=4, active=2, balance=0.0, z=0.0)),
    tiny.VOCABULARY,
    lora=LORA,
    remat="none",
)


def function(shape):
    """Adds a function to the table."""

    def add(call):
        FUNCTIONS[call.__name__] = (call, shape)
        return call

    return add


@function((1_920,))
def log_mel(x, length):
    return logmel.log_mel(x, length * 160 - 70, tiny.FEATURES)


@function((1_920,))
def log_mel_with_channel(x, length):
    """Every lever but the noise, which is drawn along T."""
    options = tiny.augment(**(tiny.ALL_DRAWS | dict(noise=0.0, reverb=1.0)))
    channel = perturb.draw(jax.random.key(0), jnp.full(len(x), 3), options)
    return logmel.log_mel(x, length * 160 - 70, tiny.FEATURES, channel)


@function((12, 8))
def spec_augment(x, length):
    position = jnp.full(len(x), 3)
    options = tiny.augment(**tiny.ALL_DRAWS)
    return masking.spec_augment(x, length, jax.random.key(0), position, options), length


@function((12, 8))
def spans_and_noise(x, length):
    rng, position = jax.random.key(0), jnp.full(len(x), 3)
    hidden = masking.spans(length, x.shape[1], rng, position, start=0.1, span=3)
    return masking.noise(x, hidden, rng, position, 0.1), length


@function((12, 5))
def masked_prediction_gradient(x, length):
    labels = jnp.full(x.shape[:2], 2)
    weights = shapes.valid(length, x.shape[1]).astype(jnp.float32)
    return jax.grad(lambda x: masked_prediction(x, labels, weights)[0])(x), length


@function((12, 5))
def onset_clock(x, length):
    return devices.onset_clock(x, length, 2, 0), -(-length // 2)


@function((12, 5))
def ctc_gradient(x, length):
    """The label behind the real ones repeats the last: garbage, too."""
    ids = jnp.broadcast_to(jnp.array([[1, 2, 2]]), (len(x), 3))
    labels, weights = jnp.full(len(x), 2), jnp.ones(len(x))
    return jax.grad(ctc)(x, length, ids, labels, weights, 0), length


@function((12, 5))
def cross_entropy_gradient(x, length):
    targets = jnp.full(x.shape[:2], 2)
    weights = shapes.valid(length, x.shape[1]).astype(jnp.float32)
    return jax.grad(cross_entropy)(x, targets, weights), length


@function((12, 5))
def sequence_logprobs_gradient(x, length):
    def total(x):
        real = shapes.valid(length, x.shape[1])
        found = nll(x, jnp.full(x.shape[:2], 2), real)
        return jnp.sin(sequence_logprobs(found, real)).sum()

    return jax.grad(total)(x), length


@dataclasses.dataclass
class Case:
    """A layer, its input, and what it gives."""

    run: callable  # (x, length) -> (y, length')
    x: np.ndarray
    length: np.ndarray
    per_unit: int  # positions of x for one of length

    def __post_init__(self):
        self.out, self.out_length = self.run(self.x, self.length)

    def padding(self):
        """[B T ...] bool, true at padding."""
        at = np.arange(self.x.shape[1]) // self.per_unit
        pad = at[None] >= self.length[:, None]
        return np.broadcast_to(pad.reshape(pad.shape + (1,) * (self.x.ndim - 2)), self.x.shape)

    def rows(self, out):
        """The real part of each example."""
        return [np.asarray(row[:n]) for row, n in zip(out, self.out_length)]


@pytest.fixture(scope="module", params=[*MODULES, *FUNCTIONS])
def case(request):
    rng, per_unit = np.random.default_rng(0), 1
    if request.param in MODULES:
        call, create, shape = MODULES[request.param]
        graphdef, state = nnx.split(create())
        jitted = jax.jit(lambda state, x, n: call(nnx.merge(graphdef, state), x, n))

        def run(x, length):
            return jitted(state, x, length)

    else:
        call, shape = FUNCTIONS[request.param]
        run = jax.jit(call)
        per_unit = 160 if len(shape) == 1 else 1
    x = rng.normal(size=(3, *shape)).astype(np.float32)
    return Case(run, x, np.array([9, 12, 5], np.int32), per_unit)


def test_padding_is_not_read(case):
    for garbage in (np.nan, 1e4):
        out, _ = case.run(np.where(case.padding(), np.float32(garbage), case.x), case.length)
        for found, wanted in zip(case.rows(out), case.rows(case.out)):
            assert wanted.size and np.isfinite(wanted).all()
            np.testing.assert_array_equal(found, wanted)


def test_neighbours_are_not_read(case):
    for row in range(3):
        x = np.full_like(case.x, np.nan)
        x[row] = case.x[row]
        out, _ = case.run(x, np.where(np.arange(3) == row, case.length, 12).astype(np.int32))
        np.testing.assert_array_equal(case.rows(out)[row], case.rows(case.out)[row])


def test_alone_and_in_a_longer_bucket(case):
    more = ((0, 0), (0, 12 * case.per_unit)) + ((0, 0),) * (case.x.ndim - 2)
    x = np.pad(np.where(case.padding(), np.float32(0), case.x), more, constant_values=7.0)
    for row in range(3):
        out, length = case.run(x[row : row + 1], case.length[row : row + 1])
        assert length[0] == case.out_length[row]
        wanted = case.rows(case.out)[row]
        size = max(1.0, np.abs(wanted[np.abs(wanted) < 1e8]).max())
        np.testing.assert_allclose(out[0, : length[0]], wanted, rtol=0, atol=3e-6 * size)


@pytest.mark.parametrize("name", ["luise", "conformer", "converter", "decoder"])
def test_no_gradient_comes_from_padding(name):
    call, create, shape = MODULES[name]
    graphdef, state = nnx.split(create())
    x = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    length = np.array([9, 12, 5], np.int32)

    @jax.jit
    @jax.grad
    def gradient(state, x):
        y, count = call(nnx.merge(graphdef, state), x, length)
        return jnp.sin(shapes.zero_padding(y[..., :6], count)).sum()

    pad = np.arange(12)[None, :, None] >= length[:, None, None]
    clean, spoiled = (gradient(state, np.where(pad, np.float32(v), x)) for v in (0, np.nan))
    for one, two in zip(jax.tree.leaves(clean), jax.tree.leaves(spoiled)):
        assert np.isfinite(one).all()
        np.testing.assert_array_equal(one, two)
