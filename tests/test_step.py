"""One optimiser step: accumulation, mesh, bad batches, frozen parts; every kind of stage.

Dims: B batch, A micro-batches.
"""

import dataclasses

import jax
import numpy as np
import optax
import pytest
import tiny

from seedasr_jax import batch as batches
from seedasr_jax import config
from seedasr_jax.configs import common
from seedasr_jax.parallel import rules, sharding
from seedasr_jax.train import build
from seedasr_jax.train.state import TrainState
from seedasr_jax.train.step import make_train_step

HEARS = ("encoder", "ctc_head", "converter", "decoder")
DRAWS = {f"augment.{k}": v for k, v in tiny.ALL_DRAWS.items()} | {"model.encoder.dropout": 0.1}
DRAWS["stages.only.data.stretch"] = 1.2
CLOCK = {"model.small.speech_positions": "ctc_onsets", "model.small.transcript_position": 9}
TEXT = dict(kind="lm", parts=("decoder",), trains=("decoder",))
KINDS = {
    "lm": dict(objective=dict(copy=False, tail=0, sustained=False), **TEXT),
    "lm_copy": dict(objective=dict(copy=True, tail=2, sustained=True), **TEXT, **CLOCK),
    "ctc": dict(kind="ctc", parts=HEARS[:2], trains=HEARS[:2], **DRAWS),
    "ctc by the clock": dict(
        kind="ctc",
        parts=(*HEARS[:2], "phone_head"),
        trains=(*HEARS[:2], "phone_head"),
        objective=dict(labels="clock"),
        **(DRAWS | {"model.small.phones": 9}),
    ),
    "sft": dict(kind="sft", parts=HEARS, trains=HEARS[:3], objective=dict(ctc_weight=0.3), **CLOCK),
    "sft_lora": dict(
        kind="sft",
        parts=("encoder", "converter", "decoder"),
        trains=("converter", "lora"),
        objective=dict(ctc_weight=0.0),
        **{"model.lora.rank": 2, "optim.rates": dict(lora=3.0)},
    ),
    "rl": dict(
        kind="rl",
        parts=("encoder", "converter", "decoder"),
        trains=("encoder", "converter"),
        objective=dict(
            ce_weight=0.5, hypotheses=3, temperature=1.0, keyword_weight=3.0, unit="word"
        ),
    ),
}
LABELS = {"model.quantizer.codes": 12, "model.quantizer.layer": 1}
HIDE = dict(start=0.1, span=8, noise=0.1)
KINDS |= {
    "ssl1": dict(
        kind="ssl1",
        parts=("encoder", "ssl_head", "quantizer"),
        trains=("encoder", "ssl_head"),
        objective=HIDE,
        **(DRAWS | LABELS),
    ),
    "ssl2": dict(
        kind="ssl2",
        parts=("encoder", "ssl_head", "teacher", "codebook"),
        trains=("encoder", "ssl_head"),
        objective=HIDE,
        **LABELS,
    ),
    "kmeans": dict(
        kind="kmeans",
        parts=("teacher", "codebook"),
        trains=("codebook",),
        optim=common.kmeans(keep=0.8),
        **LABELS,
    ),
    "probe": dict(kind="probe", parts=("encoder", "probe"), trains=("probe",)),
}
MESH = config.Mesh(data=1, fsdp=4, tensor=2, expert=1)
STEPS = 20


def batch_of(stage, step):
    """Another batch each step, one row of weight 0 with rubbish in it."""
    batch = tiny.batch(8, seed=step)
    batch.weight[3] = 0
    batch.wave[3] *= 100
    if stage.kind == "lm":
        batch = dataclasses.replace(batch, wave=batch.wave[:, :0])
    if stage.objective.get("labels") == "clock":
        starts = np.sort(np.random.default_rng(step).uniform(0, 0.4, (8, 6)), 1).astype(np.float32)
        times = dict(starts=starts, phones=batch.ids, phone_starts=starts / 2)
        times = batches.Times(**times, phones_length=batch.ids_length)
        progress = np.full(8, step / STEPS, np.float32)
        batch = dataclasses.replace(batch, times=times, progress=progress)
    if stage.kind == "rl":  # as a rollout leaves it
        heard = [tiny.batch(8, seed=100 * step + n) for n in range(3)]
        batch = dataclasses.replace(
            batch,
            hyp=np.stack([b.ids for b in heard], 1),
            hyp_length=np.stack([b.ids_length for b in heard], 1),
            risk=np.random.default_rng(step).random((8, 3)).astype(np.float32),
        )
    return batch


def run(built, state, steps):
    """The losses of `steps` steps, and the last state."""
    step, losses = built.train_step(), []
    for number in range(steps):
        state, metrics = step(state, batch_of(built.stage, number))
        losses.append(float(metrics["loss"]))
    return losses, state, step


def copied(tree):
    """Leaves on the host: a step donates its state."""
    return [np.array(x) for x in jax.tree.leaves(tree)]


@pytest.fixture(scope="module", params=KINDS)
def trained(request):
    """A stage that took STEPS steps on one device."""
    stage = tiny.stage(**KINDS[request.param])
    built = build.build(stage, tiny.TOKENS, tiny.VOCABULARY, jax.devices()[:1])
    first, place = tiny.state(built), jax.devices()[0]
    start = jax.device_put(first.replace(rng=jax.random.key(stage.seed)), place)
    losses, last, step = run(built, start, STEPS)
    return stage, first, losses, last, step


def test_a_stage_learns_what_trains_and_leaves_the_rest(trained):
    stage, first, losses, last, _ = trained
    assert np.isfinite(losses).all() and np.mean(losses[-3:]) < losses[0]
    frozen = copied(first.frozen)
    assert bool(frozen) == (stage.kind in ("sft", "rl", "ssl2", "kmeans", "probe"))
    for before, after in zip(frozen, copied(last.frozen)):
        np.testing.assert_array_equal(before, after)
    moved = [(a != b).any() for a, b in zip(copied(first.params), copied(last.params))]
    assert np.mean(moved) > 0.9
    assert last.step == STEPS and last.skipped == 0


def test_eight_devices_are_one(trained):
    stage, first, losses, _, _ = trained
    stage = dataclasses.replace(stage, mesh=MESH)
    built = build.build(stage, tiny.TOKENS, tiny.VOCABULARY)
    state = first.replace(rng=jax.random.key(stage.seed))
    state = jax.device_put(state, built.sharding)
    spread = [x.sharding.spec for x in jax.tree.leaves(state.params)]
    assert any(rules.FSDP in spec for spec in spread) and any("tensor" in spec for spec in spread)
    ours, _, _ = run(built, state, STEPS)
    np.testing.assert_allclose(ours, losses, rtol=1e-5)


def test_a_bad_batch_changes_nothing_but_the_count(trained):
    stage, _, _, last, step = trained
    batch = batch_of(stage, 0)
    state = jax.tree.map(lambda x: x.copy(), last)
    if stage.kind == "lm":  # no wave to spoil: a parameter, as after an overflow
        leaves, tree = jax.tree.flatten(state.params)
        state = state.replace(params=tree.unflatten([leaves[0] * np.nan, *leaves[1:]]))
    else:
        batch.wave[0] = np.nan
    before = copied((state.params, state.opt_state))
    after, metrics = step(state, batch)
    assert not np.isfinite(metrics["grad_norm"])
    assert after.step == STEPS + 1 and after.skipped == 1
    for one, two in zip(before, copied((after.params, after.opt_state))):
        np.testing.assert_array_equal(one, two)


def test_a_fresh_state_is_the_same_on_a_mesh():
    stage = tiny.stage(**KINDS["lm"])
    one = build.build(stage, tiny.TOKENS, tiny.VOCABULARY, jax.devices()[:1])
    many = build.build(
        dataclasses.replace(stage, mesh=MESH), tiny.TOKENS, tiny.VOCABULARY, jax.devices()
    )
    for a, b in zip(jax.tree.leaves(one.fresh().params), jax.tree.leaves(many.fresh().params)):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.fixture(scope="module")
def plain_steps():
    """Steps of plain gradient descent at rate 1 by A: what a parameter loses is its gradient."""
    draws = {"model.encoder.dropout": 0.2, "augment.tempo": (0.9, 1.1)}
    # The encoder is frozen here: its backward pass is half of what there is to compile.
    stage = tiny.stage("sft", HEARS, HEARS[1:], objective=dict(ctc_weight=0.3), **draws)
    built = build.build(stage, tiny.TOKENS, tiny.VOCABULARY, jax.devices()[:1])
    place = sharding.replicated(built.mesh)
    first = tiny.state(built)
    tx = optax.sgd(1.0)

    def make(accum):
        step = make_train_step(built.graphdef, built.objective, tx, place, place, accum)

        def call(batch, number=0):
            zero, number = np.zeros((), np.int32), np.asarray(number, np.int32)
            rng, opt_state = jax.random.key(0), tx.init(first.params)
            params = jax.tree.map(np.copy, (first.params, first.frozen))
            state = TrainState(number, zero, *params, opt_state, rng)
            after, metrics = step(jax.device_put(state, place), batch)
            gradients = jax.tree.map(np.subtract, first.params, after.params)
            return jax.tree.leaves(gradients), metrics

        return call

    return {accum: make(accum) for accum in (1, 2, 4)}


@pytest.fixture(scope="module")
def uneven():
    """Lengths and weights that differ between micro-batches, seconds with room for tokens."""
    batch = tiny.batch(8)
    batch.weight[[1, 5]] = 0
    return batch


@pytest.mark.parametrize("accum", [2, 4])
def test_accumulation_changes_nothing(plain_steps, uneven, accum):
    wanted, metrics = plain_steps[1](uneven)
    gradients, ours = plain_steps[accum](uneven)
    for name in ("loss", "text", "ctc", "grad_norm"):
        np.testing.assert_allclose(ours[name], metrics[name], rtol=1e-6)
    for one, two in zip(gradients, wanted):
        np.testing.assert_allclose(one, two, atol=1e-6 * float(metrics["grad_norm"]))


def test_padding_and_rows_of_weight_0_change_no_gradient(plain_steps, uneven):
    wanted, metrics = plain_steps[1](uneven)
    spoiled = tiny.garbage(uneven)
    other = tiny.batch(8, seed=9)
    for name in ("prompt", "context", "ids", "wave"):
        getattr(spoiled, name)[[1, 5]] = getattr(other, name)[[1, 5]]
    gradients, ours = plain_steps[1](spoiled)
    assert ours["loss"] == metrics["loss"] and ours["weights"] == metrics["weights"]
    for one, two in zip(gradients, wanted):
        np.testing.assert_array_equal(one, two)


def test_a_step_draws_anew_and_weights_count_tokens(plain_steps, uneven):
    _, metrics = plain_steps[1](uneven)
    assert metrics["weights"]["text"] == (uneven.weight * (uneven.ids_length + 1)).sum()
    assert metrics["weights"]["ctc"] <= (uneven.weight * uneven.ids_length).sum()
    moved = dataclasses.replace(uneven, position=uneven.position + 8)
    assert plain_steps[1](moved)[1]["loss"] != metrics["loss"]  # other rows, other draws
    assert plain_steps[1](uneven, 1)[1]["loss"] != metrics["loss"]  # and in another step
