"""Mixture of experts: against a loop over experts, on one device and on many; what routers report.

Dims: B batch, N positions, K experts of a token, X experts, E width.
"""

import dataclasses
import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from seedasr_jax import config
from seedasr_jax.configs import common
from seedasr_jax.errors import ConfigError
from seedasr_jax.models import layers, moe
from seedasr_jax.models.decoder import Decoder
from seedasr_jax.parallel import layout, sharding
from seedasr_jax.parallel import mesh as meshes
from seedasr_jax.train import build, objectives

MOE = dict(experts=8, active=3, balance=0.01, z=0.001)
LM = {"model.decoder.moe": MOE, "model.decoder.ffn_dim": 12}
MESHES = [(1, 1, 1, 8), (1, 2, 2, 2), (2, 2, 2, 1)]


@pytest.fixture(scope="module")
def layer():
    return tiny.make(moe.MixtureFeedForward, tiny.decoder(ffn_dim=12, moe=MOE))


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(8, 6, 16)).astype(np.float32)


def loop(state, x, active):
    """Every expert on every token, a token at a time choosing what counts."""
    logits = np.asarray(x, np.float64) @ state["router"]["kernel"]
    probs = np.exp(logits - logits.max(-1, keepdims=True))
    probs /= probs.sum(-1, keepdims=True)
    y = np.zeros(x.shape)
    for at in np.ndindex(x.shape[:2]):
        chosen = np.argsort(-probs[at])[:active]
        for expert in chosen:
            gate, up = (x[at] @ state[name]["kernels"][expert] for name in ("gate", "up"))
            hidden = gate / (1 + np.exp(-gate)) * up
            share = probs[at][expert] / probs[at][chosen].sum()
            y[at] += share * (hidden @ state["down"]["kernels"][expert])
    return y


def dense(layer, x):
    """The same in JAX, for gradients: all experts on all tokens, weights of 0 for most."""
    probs = jax.nn.softmax(layer.router(x), -1)
    least = jnp.sort(probs, -1)[..., -layer.active][..., None]
    share = jnp.where(probs >= least, probs, 0)
    share = share / share.sum(-1, keepdims=True)
    gate, up = (jnp.einsum("BNE,XEF->BNXF", x, of()) for of in (layer.gate, layer.up))
    return jnp.einsum("BNXF,XFE,BNX->BNE", jax.nn.silu(gate) * up, layer.down(), share)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def both(call, graphdef, mesh, state, x):
    """What comes out of x, and gradients of parameters and x."""

    def loss(state, x):
        with layout.over(mesh):
            y = call(nnx.merge(graphdef, state), layout.all_positions(x))
        return (y * jnp.cos(jnp.arange(y.size).reshape(y.shape))).sum(), y

    (_, y), gradients = jax.value_and_grad(loss, (0, 1), has_aux=True)(state, x)
    return y, gradients


@jax.jit
def routed(layer, x, real):
    return layer(x, real)


def run(layer, x, mesh=None):
    """`both` of a layer on a mesh, and of `dense`, which is one program for all meshes."""
    graphdef, state = nnx.split(layer)
    wanted = both(dense, graphdef, None, *jax.tree.map(np.asarray, (state, x)))
    if mesh is not None:
        state = jax.device_put(state, sharding.of_params(state, mesh))
        x = jax.device_put(x, sharding.of_batch(mesh))

    def alone(module, x):  # a function of this call: it is traced as the module is now
        return module(x, None)[0]

    return both(alone, graphdef, mesh, state, x), wanted


def assert_close(found, wanted):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        scale = max(1.0, np.abs(other).max())
        np.testing.assert_allclose(np.asarray(one), other, atol=1e-5 * scale)


def test_it_is_a_loop_over_experts(layer, x):
    state = nnx.to_pure_dict(nnx.state(layer))
    y, figures = routed(layer, x, None)
    assert figures is None
    np.testing.assert_allclose(y, loop(jax.tree.map(np.asarray, state), x, 3), atol=1e-5)
    assert_close(*run(layer, x))


@pytest.mark.parametrize("mesh", MESHES)
def test_every_mesh_gives_the_same(layer, x, mesh):
    """And the same gradients, of all parameters and of the tokens."""
    assert_close(*run(layer, x, meshes.make(config.Mesh(*mesh))))


def test_nothing_is_dropped_where_all_choose_the_same(layer, x):
    """The worst case: every choice lies on one shard."""
    graphdef, state = nnx.split(layer)
    router = state["router"]["kernel"]
    first = np.broadcast_to(np.arange(8) < 3, router.shape).astype(np.float32)
    state["router"]["kernel"] = router.replace(first)
    same = nnx.merge(graphdef, state)
    with_one_mind = abs(x)  # logits of the first three are above 0
    found, wanted = run(same, with_one_mind, meshes.make(config.Mesh(1, 1, 1, 8)))
    assert_close(found[0], wanted[0])
    _, figures = routed(same, with_one_mind, np.ones((8, 6), bool))
    np.testing.assert_allclose(figures.load, [[1 / 3] * 3 + [0] * 5] * 8, atol=1e-6)


def test_rows_that_no_mesh_divides(layer, x):
    """Decoding may have fewer utterances than devices."""
    found, wanted = run(layer, x[:3], None)
    assert_close(found, wanted)
    mesh = meshes.make(config.Mesh(1, 2, 2, 2))
    graphdef, state = nnx.split(layer)
    state = jax.device_put(state, sharding.of_params(state, mesh, gathered=True))

    @jax.jit
    def call(state, x):
        with layout.over(mesh, gathered=True):
            return nnx.merge(graphdef, state)(x, None)[0]

    made = call.lower(state, x[:3, :1]).compile()
    wanted = np.asarray(found[0])[:, :1]
    np.testing.assert_allclose(made(state, x[:3, :1]), wanted, atol=1e-5)
    assert "all-gather" not in made.as_text()  # gathered before


@pytest.mark.parametrize("mesh", [None, (1, 2, 1, 4)])
def test_tokens_that_make_up_a_tile_of_a_tpu_change_nothing(layer, x, mesh, monkeypatch):
    monkeypatch.setattr(layout, "platform", lambda: "tpu")
    rows = []
    ragged = moe.product
    monkeypatch.setattr(moe, "product", lambda x, *rest: rows.append(len(x)) or ragged(x, *rest))
    found, wanted = run(layer, x, mesh and meshes.make(config.Mesh(*mesh)))
    assert set(rows) == {3 * 128}  # of 8 x 6 tokens, or half of them, with 3 experts each
    assert_close(found, wanted)


def test_tiles_are_as_tall_as_what_an_expert_has():
    experts, active = 128, 8
    for tokens, tile in ((128, 128), (2048, 128), (2049, 256), (4096, 256), (100_000, 512)):
        assert moe.tall(tokens * active, experts) == tile


@pytest.mark.parametrize(
    "rows, sizes, tile", [(512, (0, 512, 0), 512), (1024, (70, 0, 600), 256), (256, (3, 9, 1), 128)]
)
def test_the_kernel_of_tpus_is_a_ragged_product(rows, sizes, tile):
    """Interpreted: forward and both gradients, of the rows of groups; behind them may lie NaN."""
    rng, real = np.random.default_rng(2), np.arange(rows)[:, None] < sum(sizes)
    x, kernels = (
        rng.normal(size=shape).astype(np.float32) for shape in ((rows, 128), (3, 128, 256))
    )

    @functools.partial(jax.jit, static_argnums=0)
    def run(call, x):
        def loss(x, kernels):
            y = jnp.where(real, call(x, kernels, jnp.array(sizes, jnp.int32)), 0)
            return (y * jnp.cos(jnp.arange(y.size).reshape(y.shape))).sum(), y

        (_, y), (of_x, of_kernels) = jax.value_and_grad(loss, (0, 1), has_aux=True)(x, kernels)
        return y, jnp.where(real, of_x, 0), of_kernels

    spoiled, clean = (np.where(real, x, np.float32(behind)) for behind in (np.nan, 0))
    found = run(functools.partial(moe._megablox, tile=tile, interpret=True), spoiled)
    assert_close(found, run(jax.lax.ragged_dot, clean))


def test_what_routers_report(layer, x):
    """Each example's figures are those of its own tokens, computed here alone."""
    real = np.arange(6)[None] < np.array([6, 6, 4, 1, 0, 3, 2, 6])[:, None]
    spoiled = np.where(real[..., None], x, np.nan)
    figures = jax.tree.map(np.asarray, routed(layer, spoiled, real)[1])
    assert np.isfinite(figures.balance).all() and figures.load[4].sum() == 0  # it has no token
    for row in np.flatnonzero(real.any(1)):
        logits = x[row][real[row]].astype(np.float64) @ np.asarray(layer.router.kernel[...])
        probs = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        chosen = np.argsort(-probs, -1)[:, :3]
        load = np.bincount(chosen.reshape(-1), minlength=8) / chosen.size
        balance = 8 * (load * probs.mean(0)).sum()
        np.testing.assert_allclose(figures.load[row], load, atol=1e-6)
        np.testing.assert_allclose(figures.balance[row], balance, rtol=1e-5)
        wanted = (np.log(np.exp(logits).sum(-1)) ** 2).mean()
        np.testing.assert_allclose(figures.z[row], wanted, rtol=1e-5)


def test_even_routers_have_a_balance_of_one():
    logits = np.zeros((1, 8, 8), np.float32)
    chosen = (np.arange(8)[:, None] + np.arange(2)[None]) % 8
    even = logits + np.float32(1 / 8)
    figures = jax.jit(moe.routing)(logits, even, chosen[None], np.ones((1, 8), bool))
    np.testing.assert_allclose(figures.balance, 1, rtol=1e-6)
    np.testing.assert_allclose(figures.load, np.full((1, 8), 1 / 8), rtol=1e-6)


def test_cached_steps_are_the_teacher_forced_pass():
    settings = tiny.decoder(ffn_dim=12, moe=MOE)
    options = dict(lora=config.Lora(rank=0, alpha=16.0), remat="none")
    decoder = tiny.make(Decoder, settings, tiny.VOCABULARY, **options)
    embedded = np.random.default_rng(1).normal(size=(2, 7, 16)).astype(np.float32)
    positions, real = np.broadcast_to(np.arange(7), (2, 7)), np.ones((2, 7), bool)
    wanted, figures = jax.jit(lambda *x: decoder(*x))(embedded, positions, real)
    assert figures.load.shape == (2, 2, 8) and figures.z.shape == (2, 2)  # layers, examples
    prefill = jax.jit(lambda *x: decoder.prefill(*x, 1, 3))
    step = jax.jit(lambda *x: decoder.decode_step(*x))
    cache, wanted = prefill(embedded[:, :4], positions[:, :4], real[:, :4]), np.asarray(wanted)
    for part in (slice(4, 5), slice(5, 6), slice(6, 7)):
        y, cache = step(embedded[:, part], positions[:, part], cache)
        np.testing.assert_allclose(y, wanted[:, part], atol=1e-5)


def step(stage, batch, mesh):
    """Terms and parameters after a step, and the stage's objective."""
    devices = jax.devices()[: int(np.prod(mesh))]
    stage = dataclasses.replace(stage, mesh=config.Mesh(*mesh))
    built = build.build(stage, tiny.TOKENS, tiny.VOCABULARY, devices=devices)
    state = tiny.state(built).replace(rng=jax.random.key(0))
    state = jax.device_put(state, built.sharding)
    state, terms = built.train_step()(state, sharding.put_batch(batch, built.mesh))
    return jax.tree.map(np.asarray, (terms, state.params)), built.objective


@pytest.fixture(scope="module")
def lm():
    stage = tiny.stage("lm", ("decoder",), ("decoder",), **LM)
    return stage, tiny.batch()


def test_a_step_is_the_same_on_every_mesh(lm):
    one, objective = step(*lm, (1, 1, 1, 1))
    other, _ = step(*lm, (1, 2, 2, 2))
    assert_close(other, one)
    terms = one[0]
    routers = terms["experts"]
    added = 0.01 * routers["balance"] + 0.001 * routers["z"]
    (plain, _), _ = step(dataclasses.replace(lm[0], model=without_losses(lm[0])), lm[1], (1,) * 4)
    np.testing.assert_allclose(terms["loss"], plain["loss"] + added, rtol=1e-5)
    np.testing.assert_allclose(routers["load"].sum(-1), 1, rtol=1e-5)
    logged = objective.summary(terms)["experts"]
    assert sorted(logged["load"]) == [f"{expert:03}" for expert in range(8)]
    np.testing.assert_allclose(sum(logged["load"].values()), 8, rtol=1e-5)  # 1 each, if even
    assert logged["load_max"] >= max(logged["load"].values())
    assert 0 <= logged["load_min"] <= min(logged["load"].values())


def without_losses(stage):
    experts = dataclasses.replace(stage.model.decoder.moe, balance=0.0, z=0.0)
    decoder = dataclasses.replace(stage.model.decoder, moe=experts)
    return dataclasses.replace(stage.model, decoder=decoder)


def test_accumulation_and_padding_rows_change_no_routers_loss(lm):
    """Rows of weight 0, whatever tokens they hold, beside examples of different lengths."""
    stage, batch = lm
    weight = np.array([1, 1, 0, 1, 1, 1, 0, 1], np.float32)
    whole, _ = step(stage, dataclasses.replace(batch, weight=weight), (1, 1, 1, 1))
    ids = np.where(weight[:, None] > 0, batch.ids, batch.ids[:1])
    other = dataclasses.replace(batch, weight=weight, ids=ids)
    run = dataclasses.replace(stage.run, accum=4)
    parts, _ = step(dataclasses.replace(stage, run=run), other, (1, 1, 1, 1))
    assert_close(parts, whole)


def test_a_frozen_decoders_routers_are_reported_and_not_minimised():
    parts = ("encoder", "converter", "decoder")
    few = {"model.encoder.layers": 1, "model.decoder.layers": 1}
    stage = tiny.stage("sft", parts, parts[1:2], objective=dict(ctc_weight=0.0), **LM, **few)
    batch = tiny.batch()
    (terms, _), _ = step(stage, batch, (1, 1, 1, 1))
    quiet = dataclasses.replace(stage, model=without_losses(stage))
    (other, _), _ = step(quiet, batch, (1, 1, 1, 1))
    assert terms["loss"] == other["loss"] and terms["grad_norm"] == other["grad_norm"]
    assert terms["experts"]["balance"] > 0


def test_work_is_that_of_the_active_experts():
    sparse = tiny.decoder(ffn_dim=12, moe=MOE)
    dense = tiny.decoder(ffn_dim=36)
    more = Decoder.flops(sparse, 10) - Decoder.flops(dense, 10)
    assert more == 2 * 2 * 10 * 16 * 8  # the routers of two layers


def test_more_active_experts_than_there_are():
    with pytest.raises(ConfigError, match="1 to experts = 8, found 9"):
        config.check(tiny.decoder(moe=MOE | dict(active=9)), "decoder")


def test_the_published_30b_a3b_is_built_without_memory():
    settings = config.build(common.qwen3_30b_a3b(), config.Decoder)
    options = dict(lora=config.Lora(0, 16.0), remat="block", dtype=jnp.bfloat16)
    model = nnx.eval_shape(lambda: Decoder(settings, 0, **options, rngs=nnx.Rngs(0)))
    leaves = nnx.to_flat_state(nnx.state(model))
    sizes = {path: np.prod(param.shape) for path, param in leaves}
    np.testing.assert_allclose(sum(sizes.values()) / 1e9, 30.5, rtol=0.005)
    owned = sum(size for path, size in sizes.items() if path[-1] == "kernels")
    active = sum(sizes.values()) - owned * (128 - 8) / 128
    np.testing.assert_allclose(active / 1e9, 3.3, rtol=0.02)
    used = jax.eval_shape(lambda state: layers.as_used(state, jnp.bfloat16), nnx.state(model))
    exact = {path[-2] for path, x in nnx.to_flat_state(used) if x.dtype == jnp.float32}
    assert {name for name in exact if "norm" not in name} == {"router"}


def test_objectives_without_experts_report_none():
    stage = tiny.stage("lm", ("decoder",), ("decoder",))
    terms = {"loss": 1.0}
    assert objectives.make(stage, tiny.TOKENS, tiny.VOCABULARY).summary(terms) is terms
