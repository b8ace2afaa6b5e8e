"""One optimiser step of every kind of stage: mesh, accumulation, padding, frozen parts.

Dims: B batch, A micro-batches.
"""

import dataclasses
import functools
import operator

from flax import nnx
import jax
import numpy as np
import pytest
import tiny

from seedasr_jax import config
from seedasr_jax.configs import common
from seedasr_jax.models.layers import LoraParam
from seedasr_jax.parallel import rules
from seedasr_jax.small.objectives import times
from seedasr_jax.train import build, rollout

DRAWS = {f"augment.{k}": v for k, v in tiny.ALL_DRAWS.items()}
DRAWS |= {"model.encoder.dropout": 0.1, "stages.only.data.stretch": 1.2}
ONE_LAYER = {"model.encoder.layers": 1, "model.decoder.layers": 1}
CLOCK = {"model.variant.speech_positions": "ctc_onsets", "model.variant.transcript_position": 9}
LABELS = {"model.quantizer.codes": 12, "model.quantizer.layer": 1}
MASK = dict(start=0.1, span=8, noise=0.1)
# What compiles longest, stands once: all draws; the encoder's gradient once per loss upon it.
KINDS = {
    "copying_lm": dict(
        kind="copying_lm",
        parts=("decoder",),
        trains=("decoder",),
        objective=dict(tail=2, sustained=True),
        **(CLOCK | ONE_LAYER),
    ),
    "clocked_ctc": dict(
        kind="clocked_ctc",
        parts=(*tiny.PARTS[:2], "phone_head"),
        trains=(*tiny.PARTS[:2], "phone_head"),
        **(DRAWS | {"model.variant.phones": 9}),
    ),
    "sft": dict(
        kind="sft",
        parts=tiny.PARTS,
        trains=(*tiny.PARTS[:3], "lora"),
        objective=dict(ctc_weight=0.3),
        **(CLOCK | ONE_LAYER),
        **{"model.lora.rank": 2, "optim.rates": dict(lora=3.0), "model.encoder.dropout": 0.1},
    ),
    "rl": dict(
        kind="rl",
        parts=("encoder", "converter", "decoder"),
        trains=("converter",),
        objective=dict(
            ce_weight=0.5, hypotheses=3, temperature=1.0, keyword_weight=3.0, unit="word"
        ),
        **ONE_LAYER,
    ),
    "ssl1": dict(
        kind="ssl1",
        parts=("encoder", "ssl_head", "quantizer"),
        trains=("encoder", "ssl_head"),
        objective=MASK,
        **(LABELS | ONE_LAYER),
    ),
    "ssl2": dict(
        kind="ssl2",
        parts=("encoder", "ssl_head", "teacher", "codebook"),
        trains=("ssl_head",),
        objective=MASK,
        **LABELS,
    ),
    "kmeans": dict(
        kind="kmeans",
        parts=("teacher", "codebook"),
        trains=("codebook",),
        optim=common.kmeans(keep=0.8),
        **(LABELS | ONE_LAYER),
    ),
    "probe": dict(kind="probe", parts=("encoder", "probe"), trains=("probe",)),
}
DRAWN = {
    "copying_lm",
    "clocked_ctc",
    "sft",
    "ssl1",
    "ssl2",
}  # kinds with random draws in their loss
MESH = config.Mesh(data=1, fsdp=4, tensor=2, expert=1)
STEPS = 12


def batch_of(stage, step):
    """Another batch each step, one row of weight 0 with rubbish in it."""
    batch = tiny.batch(8, seed=step)
    batch.weight[3] = 0
    batch.wave[3] *= 100
    if stage.kind == "copying_lm":
        progress = times.Progress(np.full(8, step / STEPS, np.float32))
        batch = dataclasses.replace(batch, wave=batch.wave[:, :0], extra=progress)
    if stage.kind == "clocked_ctc":
        starts = np.sort(np.random.default_rng(step).uniform(0, 0.4, (8, 6)), 1).astype(np.float32)
        known = dict(starts=starts, phones=1 + batch.ids % 8, phone_starts=starts / 2)
        progress = np.full(8, step / STEPS, np.float32)
        known = times.Times(progress, **known, phones_length=batch.ids_length)
        batch = dataclasses.replace(batch, extra=known)
    if stage.kind == "rl":  # as a rollout leaves it
        drawn = [tiny.batch(8, seed=100 * step + n) for n in range(3)]
        nbest = rollout.NBest(
            np.stack([b.ids for b in drawn], 1),
            np.stack([b.ids_length for b in drawn], 1),
            np.random.default_rng(step).random((8, 3)).astype(np.float32),
        )
        batch = dataclasses.replace(batch, extra=nbest)
    return batch


def run(built, state, steps=STEPS):
    """What steps report, the last state, and the step."""
    step, reports = built.train_step(), []
    for number in range(steps):
        state, metrics = step(state, batch_of(built.stage, number))
        reports.append(jax.tree.map(np.asarray, metrics))
    return reports, state, step


def by_part(*states):
    """{part: parameters} of each state; adapters are the part `lora`."""
    for state in states:
        parts = {}
        for path, param in nnx.to_flat_state(state):
            part = "lora" if isinstance(param, LoraParam) else path[0]
            parts.setdefault(part, []).append(param)
        yield parts


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
    reports, last, step = run(built, start)
    return stage, first, reports, last, step


@pytest.fixture(scope="module")
def once_more(trained):
    """once_more(batch, number): a step from the last state, (metrics, state); it stays as it is."""
    *_, last, step = trained

    def call(batch, number=STEPS):
        state = jax.tree.map(lambda x: x.copy(), last)
        state = state.replace(step=jax.device_put(np.int32(number), state.step.sharding))
        state, metrics = step(state, batch)
        return jax.tree.map(np.asarray, metrics), state

    return call


def test_a_stage_learns_what_trains_and_leaves_the_rest(trained, once_more):
    stage, first, reports, last, _ = trained
    assert np.isfinite([report["loss"] for report in reports]).all()
    assert once_more(batch_of(stage, 0), 0)[0]["loss"] < reports[0]["loss"]
    frozen = copied(first.frozen)
    assert bool(frozen) == (stage.kind in ("sft", "rl", "ssl2", "kmeans", "probe"))
    for before, after in zip(frozen, copied(last.frozen)):
        np.testing.assert_array_equal(before, after)
    moved = [(a != b).any() for a, b in zip(copied(first.params), copied(last.params))]
    assert np.mean(moved) > 0.9
    assert last.step == STEPS and last.skipped == 0


def test_norms_and_rates_of_each_part_are_reported(trained, once_more):
    stage, _, _, last, _ = trained
    metrics, after = once_more(batch_of(stage, STEPS))
    before, after = ({p: copied(s[p]) for p in s} for s in by_part(last.params, after.params))
    assert metrics["update_norm"].keys() == metrics["param_norm"].keys() == {*stage.trains}
    for part in stage.trains:
        values = after[part]
        moved = [new - old for new, old in zip(values, before[part])]
        norms = {"param_norm": values, "update_norm": moved}
        for name, wanted in norms.items():
            wanted = np.sqrt(sum((x.astype(np.float64) ** 2).sum() for x in wanted))
            np.testing.assert_allclose(metrics[name][part], wanted, rtol=2e-3)
    rates, o = {}, stage.optim
    if stage.kind != "kmeans":
        past = (STEPS - o.warmup) / (stage.steps - o.warmup)
        lr = o.lr * (o.final + (1 - o.final) * (1 + np.cos(np.pi * past)) / 2)
        rates = {part: lr * (3 if part == "lora" else 1) for part in stage.trains}
    assert metrics["learning_rate"].keys() == rates.keys()
    for part, rate in rates.items():
        np.testing.assert_allclose(metrics["learning_rate"][part], rate, rtol=1e-5)


def test_eight_devices_and_two_micro_batches_are_one(trained):
    stage, first, wanted, _, _ = trained
    run_2 = dataclasses.replace(stage.run, accum=2)
    stage = dataclasses.replace(stage, mesh=MESH, run=run_2)
    built = build.build(stage, tiny.TOKENS, tiny.VOCABULARY)
    state = first.replace(rng=jax.random.key(stage.seed))
    state = jax.device_put(state, built.sharding)
    spread = [x.sharding.spec for x in jax.tree.leaves((state.params, state.frozen))]
    assert any(rules.FSDP in spec for spec in spread) and any("tensor" in spec for spec in spread)
    found, _, _ = run(built, state)
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours["loss"], theirs["loss"], rtol=1e-5)
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4), ours, theirs)


def test_a_bad_batch_changes_nothing_but_the_count(trained):
    stage, _, _, last, step = trained
    batch = batch_of(stage, 0)
    state = jax.tree.map(lambda x: x.copy(), last)
    if stage.kind == "copying_lm":  # no wave to spoil: a parameter, as after an overflow
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
    assert not any(copied(metrics["update_norm"]))
    rates = copied(metrics["learning_rate"])
    _, metrics = step(after, batch)  # a step that was skipped does not advance the schedule
    np.testing.assert_array_equal(copied(metrics["learning_rate"]), rates)


def test_padding_and_rows_of_weight_0_change_nothing(trained, once_more):
    stage = trained[0]
    batch = batch_of(stage, STEPS)
    wanted, state = once_more(batch)
    spoiled, other = tiny.garbage(batch), tiny.batch(8, seed=9)
    for name in ("prompt", "context", "ids", "ids_length"):
        getattr(spoiled, name)[3] = getattr(other, name)[3]
    if stage.kind != "copying_lm":
        spoiled.wave[3] = other.wave[3]
    found, after = once_more(spoiled)
    jax.tree.map(np.testing.assert_array_equal, found, wanted)
    for one, two in zip(copied(after.params), copied(state.params)):
        np.testing.assert_array_equal(one, two)


def test_a_step_draws_anew_by_step_and_row(trained, once_more):
    stage, batch = trained[0], batch_of(trained[0], STEPS)
    moved = dataclasses.replace(batch, position=batch.position + 8)
    losses = {float(once_more(batch, STEPS)[0]["loss"])}
    losses |= {float(once_more(moved, STEPS)[0]["loss"]), float(once_more(batch, 3)[0]["loss"])}
    assert len(losses) == (3 if stage.kind in DRAWN else 1)


def test_weights_count_what_the_loss_takes(trained):
    """Tokens, frames that are masked: over the whole batch, rows of weight 0 left out."""
    stage, _, reports, _, _ = trained
    for number, report in enumerate(reports):
        batch, weights = batch_of(stage, number), report["weights"]
        tokens = (batch.weight * batch.ids_length).sum()
        assert {"text", "ctc", "masked", "frames"} & weights.keys()
        if "text" in weights:
            assert weights["utterances"] == batch.weight.sum()
            if stage.kind != "copying_lm":  # whose transcripts are made of lists
                assert weights["text"] == tokens + batch.weight.sum()  # with the end
        if "ctc" in weights:
            assert 0 < weights["ctc"] <= tokens
        if "codes" in report:  # a histogram of the frames that the loss takes
            (weight,) = weights.values()
            assert report["codes"].sum() == weight > 10


def test_a_fresh_state_is_the_same_on_a_mesh_and_what_is_given_is_not_drawn():
    stage = tiny.stage(**KINDS["probe"])
    one = build.build(stage, tiny.TOKENS, tiny.VOCABULARY, jax.devices()[:1])
    many = build.build(
        dataclasses.replace(stage, mesh=MESH), tiny.TOKENS, tiny.VOCABULARY, jax.devices()
    )
    fresh, given = one.fresh(), jax.tree.map(lambda x: np.zeros(1), many.abstract.frozen)
    drawn = many.drawn(many.abstract.replace(frozen=given))
    assert all(map(operator.is_, *map(jax.tree.leaves, (drawn.frozen, given))))
    assert one.drawn(fresh) is fresh
    for a, b in zip(jax.tree.leaves(fresh.params), jax.tree.leaves(drawn.params)):
        np.testing.assert_allclose(a, b, rtol=1e-6)
