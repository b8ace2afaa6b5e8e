"""Optimiser: schedules, rates by part, and which parameters decay."""

import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from seedasr_jax import config
from seedasr_jax.configs import common
from seedasr_jax.parallel import sharding
from seedasr_jax.train import build, optim


def settings(**changes):
    base = common.adamw(1.0, warmup=10, final=0.1, weight_decay=0.0, clip=0.0)
    return config.build(base | changes, config.Optim)


@pytest.mark.parametrize(
    "decay, half, end", [("cosine", 0.55, 0.1), ("linear", 0.55, 0.1), ("constant", 1.0, 1.0)]
)
def test_schedules(decay, half, end):
    rate = optim.schedule(settings(decay=decay), steps=110)
    np.testing.assert_allclose([rate(s) for s in (0, 5, 10)], [0.1, 0.55, 1.0], rtol=1e-5)
    np.testing.assert_allclose([rate(60), rate(110), rate(500)], [half, end, end], rtol=1e-5)


def test_no_warmup_starts_at_the_peak():
    assert optim.schedule(settings(warmup=0), 100)(0) == 1.0


@pytest.fixture(scope="module")
def params():
    """Of every part, adapters too."""
    return nnx.state(tiny.model(**{"model.lora.rank": 2, "model.encoder.front": "conv"}))


def updates(params, gradient, **changes):
    """One update by part and path: {("part", "path"): array}."""
    tx = optim.make(settings(warmup=0, decay="constant", **changes), 10)
    grads = jax.tree.map(gradient, params)
    out, _ = jax.jit(tx.update)(grads, tx.init(params), params)
    return {
        (optim.part_of(path, param), "/".join(map(str, path))): np.asarray(param[...])
        for path, param in nnx.to_flat_state(out)
    }


def test_decay_touches_matrices_only(params):
    found = updates(params, jnp.zeros_like, weight_decay=0.5)
    decayed = {path for (_, path), value in found.items() if value.any()}
    for _, path in found:
        matrix = path.split("/")[-1] in ("kernel", "table", "lora_a", "lora_b") or (
            "/kernels/" in path
        )
        assert (path in decayed) == matrix, path
    values = {"/".join(map(str, path)): p[...] for path, p in nnx.to_flat_state(params)}
    for path in decayed:
        both = [v for (_, name), v in found.items() if name == path]
        np.testing.assert_allclose(both[0], -0.5 * values[path], rtol=1e-5)
    assert len(decayed) > 20


def test_rates_by_part(params):
    rates = dict(encoder=0.25, lora=4.0, converter=0.0)
    plain = updates(params, jnp.ones_like)
    scaled = updates(params, jnp.ones_like, rates=rates)
    assert {part for part, _ in plain} == {"encoder", "ctc_head", "converter", "decoder", "lora"}
    for (part, path), value in plain.items():
        wanted = rates.get(part, 1.0) * value
        np.testing.assert_allclose(scaled[part, path], wanted, rtol=1e-6)


def test_adapters_are_a_part_of_their_own(params):
    parts = {}
    for path, param in nnx.to_flat_state(params):
        parts.setdefault(optim.part_of(path, param), set()).add(str(path[-1]))
    assert parts["lora"] == {"lora_a", "lora_b"} and not parts["lora"] & parts["decoder"]


def test_adam_and_clipping_follow_their_formulas():
    """Two steps on one vector."""
    tx = optim.make(settings(warmup=0, decay="constant", clip=1.0, b1=0.9, b2=0.99, eps=1e-8), 10)
    leaf = nnx.State({"encoder": {"kernel": nnx.Param(jnp.zeros(2))}})
    state = tx.init(leaf)
    m = v = np.zeros(2)
    for step, raw in enumerate(([3.0, 4.0], [0.1, -0.2]), 1):
        grads = jax.tree.map(lambda _: jnp.array(raw), leaf)
        out, state = tx.update(grads, state, leaf)
        clipped = np.array(raw) / max(1.0, np.linalg.norm(raw))
        m, v = 0.9 * m + 0.1 * clipped, 0.99 * v + 0.01 * clipped**2
        wanted = -(m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.99**step)) + 1e-8)
        np.testing.assert_allclose(jax.tree.leaves(out)[0], wanted, rtol=1e-4)


def adafactor(gradients, eps):
    """Updates of a matrix [R C] by algorithm 4 of arXiv 1804.04235, without momentum and scale."""
    rows, columns = np.zeros(gradients[0].shape[0]), np.zeros(gradients[0].shape[1])
    for step, gradient in enumerate(gradients, 1):
        keep = 1 - step**-0.8
        square = gradient.astype(np.float64) ** 2 + eps
        rows = keep * rows + (1 - keep) * square.mean(1)
        columns = keep * columns + (1 - keep) * square.mean(0)
        update = gradient / np.sqrt(np.outer(rows, columns) / rows.mean())
        yield update / max(1.0, np.sqrt((update**2).mean()))


def test_adafactor_is_the_papers():
    base = common.adafactor(1.0, warmup=0, decay="constant", weight_decay=0.0, clip=0.0)
    tx = optim.make(config.build(base, config.Optim), 10)
    drawn = np.random.default_rng(0).normal(size=(3, 128, 160)).astype(np.float32)

    def tree(x):
        return nnx.State({"decoder": {"kernel": nnx.Param(jnp.asarray(x), axes=("embed", "mlp"))}})

    params = tree(drawn[0])
    state, advance = tx.init(params), jax.jit(tx.update)
    sizes = sorted(x.shape for x in jax.tree.leaves(state))
    assert (128,) in sizes and (160,) in sizes and (128, 160) not in sizes
    for gradient, wanted in zip(drawn, adafactor(drawn, 1e-30), strict=True):
        found, state = advance(tree(gradient), state, params)
        np.testing.assert_allclose(found["decoder"]["kernel"][...], -wanted, rtol=1e-4, atol=1e-5)


def test_adafactor_state_is_sharded_as_its_parameters():
    """Rows and columns too; and a step is that of one device."""
    changes = {"model.decoder.width": 128, "model.decoder.ffn_dim": 256}
    changes |= {"model.decoder.layers": 1}
    stage = tiny.stage("lm", ("decoder",), ("decoder",), **changes)
    base = common.adafactor(1e-2, warmup=0, momentum=0.9)
    stage = dataclasses.replace(stage, optim=config.build(base, config.Optim))
    batch, results = tiny.batch(), []
    for mesh in ((1, 1, 1, 1), (1, 2, 2, 2)):
        one = dataclasses.replace(stage, mesh=config.Mesh(*mesh))
        devices = jax.devices()[: int(np.prod(mesh))]
        built = build.build(one, tiny.TOKENS, tiny.VOCABULARY, devices=devices)
        state = jax.device_put(tiny.state(built).replace(rng=jax.random.key(0)), built.sharding)
        opt = jax.tree.leaves(state.opt_state)
        state, _ = built.train_step()(state, sharding.put_batch(batch, built.mesh))
        results.append(jax.tree.map(np.asarray, state.params))
    whole = [x.shape for x in opt if x.size > 1_000 and x.sharding.is_fully_replicated]
    assert not whole
    factored = [x for x in opt if x.shape == (1, 256)]  # columns of gate and up, rows of down
    assert factored and all("tensor" in x.sharding.spec for x in factored)
    for one, other in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


@pytest.mark.parametrize("name, clip", [("adamw", 1.0), ("adafactor", 0.0), ("adafactor", 1.0)])
def test_layers_that_learn_apart_have_the_updates_of_each_alone(name, clip):
    """Two steps; in the second, one layer's gradient is a hundred times as long as another's."""
    changes = dict(warmup=0, decay="constant", weight_decay=0.0, clip=clip)
    settings = config.build(getattr(common, name)(1.0, **changes), config.Optim)
    rng, shapes = np.random.default_rng(0), {"kernel": (3, 128, 160), "bias": (3, 160)}
    lengths = np.array([[0.01, 0.01, 0.01], [0.01, 0.1, 1.0]], np.float32)
    drawn = [
        {
            key: rng.normal(size=size).astype(np.float32) * own.reshape(3, *[1] * (len(size) - 1))
            for key, size in shapes.items()
        }
        for own in lengths
    ]

    def updates(gradients, apart):
        tx = optim.make(settings, 10, apart=apart)
        trees = [
            nnx.State({"probe": {key: nnx.Param(jnp.asarray(x)) for key, x in one.items()}})
            for one in gradients
        ]
        state, advance = tx.init(trees[0]), jax.jit(tx.update)
        for tree in trees:
            found, state = advance(tree, state, trees[0])
        return {key: found["probe"][key][...] for key in shapes}

    together = updates(drawn, True)
    for layer in range(3):
        alone = updates([{key: x[layer] for key, x in one.items()} for one in drawn], False)
        for key in shapes:
            np.testing.assert_allclose(together[key][layer], alone[key], rtol=1e-5, atol=1e-6)
    coupled = updates(drawn, False)
    assert not np.allclose(coupled["kernel"], together["kernel"], rtol=1e-3)
