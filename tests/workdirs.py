"""Workdirs with small finished stages: parameters are made, nothing is trained."""

import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding
import numpy as np
import optax
import tiny

from seedasr_jax import checkpoint, config
from seedasr_jax.checkpoint import steps, trees
from seedasr_jax.models.layers import LoraParam
from seedasr_jax.train.step import TrainState

TX = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))


class Encoder(nnx.Module):
    """Stands for an encoder: a list, a stacked kernel, a bias."""

    def __init__(self, width):
        self.kernels = nnx.List([_param((9, width), "patch", "channels") for _ in range(2)])
        self.kernel = _param((3, width, 8), "layers", "width", "encoder_mlp")
        self.bias = _param((8,), "norm")


class Decoder(nnx.Module):
    """Stands for a decoder with an adapter."""

    def __init__(self, width, lora):
        self.table = _param((128, width), "vocab", "embed")
        self.lora_a = self.lora_b = nnx.data(None)
        if lora:
            self.lora_a = LoraParam(jnp.zeros((width, 2)), axes=("embed", "rank"))
            self.lora_b = LoraParam(jnp.zeros((2, width)), axes=("rank", "embed"))


class Model(nnx.Module):
    """Stands for a recogniser."""

    def __init__(self, width=16, lora=False):
        self.encoder, self.decoder = Encoder(width), Decoder(width, lora)


def _param(shape, *axes):
    return nnx.Param(jnp.zeros(shape), axes=axes)


def draw(tree, seed):
    """The tree with random bits in float32, among them NaN of any payload, -0 and denormals."""
    rng = np.random.default_rng(seed)

    def bits(x):
        return jnp.asarray(rng.integers(0, 1 << 32, x.shape, np.uint32).view(np.float32))

    return jax.tree.map(bits, tree)


def params(seed=0, **options):
    """nnx.State of a model's parameters."""
    return draw(nnx.split(Model(**options))[1], seed)


def state(seed=0, step=0, **options):
    """A whole TrainState without frozen parts, every number drawn."""
    drawn = params(seed, **options)
    opt_state = TX.init(drawn)
    moments = [draw(moment, seed + i) for i, moment in enumerate((drawn, drawn), 1)]
    adam = opt_state[1][0]._replace(count=jnp.int32(step), mu=moments[0], nu=moments[1])
    opt_state = (opt_state[0], (adam, *opt_state[1][1:]))
    return TrainState(
        jnp.int32(step), jnp.int32(seed), drawn, nnx.State({}), opt_state, jax.random.key(seed)
    )


def bits(tree) -> dict:
    """{name: bytes} of every leaf: equal only if bit-identical."""

    def one(leaf):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        return str(leaf.dtype), leaf.shape, np.asarray(leaf).tobytes()

    return {name: one(leaf) for name, leaf in checkpoint.flat(tree).items()}


def vocabulary(folder):
    """A small word vocabulary in `folder`."""
    return tiny.vocabulary(["one two three four"], folder, size=40, kind="word")


def finish(workdir, name, tree, *, step=5, parents=(), frozen=(), **changes):
    """A finished stage NAME of a workdir whose own parameters are `tree`; returns its record."""
    folder = workdir / name
    tokens = vocabulary(workdir / "vocab")
    stage = tiny.stage("ctc", ("encoder", "ctc_head"), ("encoder", "ctc_head"))
    started = checkpoint.new_record(
        stage,
        config.digest([name, config.to_dict(stage, recipe_only=True)]),
        parents=dict(parents),
        frozen=dict(frozen),
        vocabulary=tokens.hash,
        reads={},
    )
    checkpoint.write(folder, started)
    zero = jnp.int32(step)
    whole = TrainState(zero, zero, tree, {}, optax.sgd(0.1).init(tree), jax.random.key(0))
    save(folder, step, whole)
    ended = dict(state="finished", step=step, position=step, hours={"synth:x": 1.5})
    ended |= dict(limits=checkpoint.Limits(0.4, 0.0, 0, 6, ()))
    hashes = {
        part: checkpoint.parameters_hash(checkpoint.select(tree, part))
        for part in checkpoint.parts(tree)
    }
    ended = dataclasses.replace(started, **(ended | {"hashes": hashes} | changes))
    checkpoint.write(folder, ended)
    return ended


def save(folder, step, state, **options):
    """A step of a stage, saved and durable."""
    writer = checkpoint.Writer(folder, keep=3)
    writer.save(step, state, **options)
    writer.wait()


def on_one_device(state):
    """Shardings of a state on one device."""
    return jax.tree.map(lambda _: SingleDeviceSharding(jax.devices()[0]), state)


def everything(folder, step=None) -> dict:
    """{name: bytes} of all leaves of a stage's checkpoint: moments, step and key too.

    `step`: default its newest.
    """
    path = steps.find(folder, steps.latest(folder) if step is None else step)
    return bits(trees.nest(steps.read(path, steps.shapes(path))))
