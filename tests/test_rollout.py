"""Reinforcement learning: what a rollout puts into a batch, and what the objective makes of it.

Dims: B batch, N hypotheses, L tokens.
"""

import dataclasses
from typing import ClassVar

from flax import nnx
import jax
import numpy as np
import pytest
import tiny

from seedasr_jax import config
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.errors import ConfigError
from seedasr_jax.losses import mwer
from seedasr_jax.parallel import sharding
from seedasr_jax.text.conventions import Convention, Conventions
from seedasr_jax.text.weighted import weighted_errors
from seedasr_jax.train import build, rollout

PARTS = ("encoder", "converter", "decoder")
OPTIONS = dict(ce_weight=0.5, hypotheses=3, temperature=1.0, keyword_weight=3.0, unit="word")
ROWS = [Row("a", text="T4 T5", keywords=("t5",)), Row("b", text="t7 t8"), Row("c", text="t9")]


class Letters:
    """A tokenizer: id 7 is t7."""

    start_id = eos_id = tiny.TOKENS.start
    special: ClassVar[dict[str, int]] = {}

    def separate(self, text):
        return [text] if text else []

    def encode(self, text):
        return [ord(text[0]) % 5]

    def decode(self, ids):
        return " ".join(f"t{i}" for i in ids)


def built_for(devices=1, **options):
    mesh = config.Mesh(data=1, fsdp=1, tensor=1, expert=1)
    if devices > 1:
        mesh = config.Mesh(data=2, fsdp=2, tensor=2, expert=1)
    options = OPTIONS | options
    stage = dataclasses.replace(tiny.stage("rl", PARTS, PARTS[:2], objective=options), mesh=mesh)
    return build.build(stage, tiny.TOKENS, tiny.VOCABULARY, jax.devices()[:devices])


def state_of(built, step=0):
    state = tiny.state(built).replace(rng=jax.random.key(5), step=np.asarray(step, np.int32))
    return jax.device_put(state, built.sharding)


@pytest.fixture(scope="module")
def built():
    return built_for()


@pytest.fixture(scope="module")
def rolled(built):
    """A rollout of a small batch whose row 1 weighs nothing."""
    batch = tiny.batch(4)
    batch.weight[1] = 0
    roll = built.objective.prepare(built.graphdef, built.mesh, Letters())
    rows = [ROWS[0], None, ROWS[1], ROWS[2]]

    def call(step=0, batch=batch):
        return roll(state_of(built, step), batch, rows)

    return batch, rows, call, call()


def test_a_rollout_fills_hypotheses_and_their_errors(rolled):
    batch, rows, _, out = rolled
    assert out.extra.ids.shape == (4, 3, 6) and out.extra.ids.dtype == np.int32
    assert out.extra.length.shape == out.extra.risk.shape == (4, 3)
    assert out.extra.length.max() <= 6
    assert not out.extra.risk[1].any() and not out.extra.length[1].any()
    for row in (0, 2, 3):
        for n in range(3):
            text = Letters().decode(out.extra.ids[row, n, : out.extra.length[row, n]])
            wanted = weighted_errors(
                rows[row].text.lower(), text, keywords=rows[row].keywords, weight=3.0, unit="word"
            )
            np.testing.assert_allclose(out.extra.risk[row, n], wanted.rate, rtol=1e-6)
    for name in ("wave", "ids", "weight", "position"):
        assert getattr(out, name) is getattr(batch, name)


def test_errors_are_counted_by_the_language_of_the_row():
    risk = rollout.weighted_risk(Conventions(Convention("basic@2", "word")), 1.0)
    reference, hypothesis = "今天天气非常好啊", "今天天气非常好呀"
    rates = [
        risk(Row("a", text=reference, language=tag), hypothesis) for tag in ("zh", "yue", "", "sr")
    ]
    assert rates == [1 / 8, 1 / 8, 1.0, 1.0]
    assert risk(Row("a", text="3-4", language="es"), "34") == 1.0


def test_a_rollout_is_a_function_of_state_and_batch(rolled):
    _, _, call, out = rolled
    again, later = call(), call(step=1)
    np.testing.assert_array_equal(again.extra.ids, out.extra.ids)
    np.testing.assert_array_equal(again.extra.risk, out.extra.risk)
    assert (later.extra.ids != out.extra.ids).any()  # another step, other draws


def test_draws_follow_the_position(rolled):
    batch, _, call, out = rolled
    moved = dataclasses.replace(batch, position=batch.position + 4)
    assert (call(batch=moved).extra.ids != out.extra.ids).any()


def test_without_heat_it_is_the_n_best(built):
    batch = tiny.batch(2)
    beam = built_for(temperature=0.0)
    roll = beam.objective.prepare(beam.graphdef, beam.mesh, Letters())
    out = roll(state_of(beam), batch, ROWS[:2])
    assert mwer.distinct(out.extra.ids, out.extra.length).all()


def test_eight_devices_roll_as_one(rolled):
    batch, rows, _, out = rolled
    spread = built_for(8)
    roll = spread.objective.prepare(spread.graphdef, spread.mesh, Letters())
    ours = roll(state_of(spread), batch, rows)
    np.testing.assert_array_equal(ours.extra.ids, out.extra.ids)
    np.testing.assert_array_equal(ours.extra.risk, out.extra.risk)


def test_rows_of_a_global_array_come_back(built):
    x = np.arange(16, dtype=np.float32).reshape(8, 2)
    for mesh in (built.mesh, built_for(8).mesh):
        placed = sharding.put_batch(x, mesh)
        np.testing.assert_array_equal(sharding.take_rows(placed), x)


# The objective.


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("hypotheses", 1, "at least 2"),  # a list of one teaches nothing
        ("temperature", -1.0, "at least 0"),
        ("keyword_weight", -1.0, "at least 0"),
        ("unit", "words", "Did you mean word"),
        ("ce_wait", 1.0, "ce_weight"),
    ],
)
def test_options_that_cannot_be(option, value, words):
    with pytest.raises(ConfigError, match=words):
        built_for(**{option: value})


@pytest.fixture(scope="module")
def loss(built):
    """loss(batch) -> terms and weights of the tiny model."""
    state = tiny.state(built)

    @jax.jit
    def call(params, frozen, batch):
        rng = jax.random.key(0)
        weights = built.objective.weigh(batch, rng)
        model = nnx.merge(built.graphdef, params, frozen)
        return built.objective.loss(model, batch, weights, rng)[1], weights

    return lambda batch: jax.tree.map(np.asarray, call(state.params, state.frozen, batch))


@pytest.fixture(scope="module")
def forced(built):
    """forced(batch, ids, length): log-probability [B] of a transcript each, its end too."""
    state = tiny.state(built)

    @jax.jit
    def logits(params, frozen, batch, ids, length):
        model = nnx.merge(built.graphdef, params, frozen)
        x, frames = built.objective.encode(model, batch, jax.random.key(0))
        prefix = model.prefix(batch, model.convert(x, frames))
        return model.decoder.logits(model.teacher_forced(prefix, ids, length)[0])

    def call(batch, ids, length):
        out = []
        for row, each in enumerate(logits(state.params, state.frozen, batch, ids, length)):
            scores = np.asarray(each, np.float64)
            scores -= np.log(np.exp(scores).sum(-1, keepdims=True))
            said = [*ids[row, : length[row]], tiny.TOKENS.eos]
            out.append(sum(scores[k, v] for k, v in enumerate(said)))
        return np.array(out)

    return call


def test_the_loss_is_equation_2(forced, loss, rolled):
    _, _, _, batch = rolled
    nbest = batch.extra
    nbest.ids[3, 2], nbest.length[3, 2] = nbest.ids[3, 0], nbest.length[3, 0]  # twice
    terms, weights = loss(batch)
    lists = [forced(batch, batch.extra.ids[:, n], batch.extra.length[:, n]) for n in range(3)]
    logprobs, errors, risk = np.stack(lists, 1), 0.0, 0.0
    kept = np.asarray(mwer.distinct(batch.extra.ids, batch.extra.length))
    for row in (0, 2, 3):
        chosen = np.flatnonzero(kept[row])
        p, w = np.exp(logprobs[row, chosen]), np.float64(batch.extra.risk[row, chosen])
        p /= p.sum()
        errors += (p * (w - w.mean())).sum() / len(chosen) / 3
        risk += (p * w).sum() / 3
    live = batch.weight > 0
    nll = -forced(batch, batch.ids, batch.ids_length)[live].sum()
    text = nll / (batch.ids_length + 1)[live].sum()
    flat = sum(len(set(batch.extra.risk[row, kept[row]].tolist())) == 1 for row in (0, 2, 3))
    np.testing.assert_allclose(terms["no_gradient"], flat / 3, rtol=1e-6)
    assert weights["utterances"] == 3 and not kept[3, 2]
    np.testing.assert_allclose(terms["mwer"], errors, atol=1e-5)
    np.testing.assert_allclose(terms["risk"], risk, rtol=1e-4)
    np.testing.assert_allclose(terms["text"], text, rtol=1e-4)
    np.testing.assert_allclose(terms["loss"], errors + 0.5 * text, rtol=1e-4)


def test_rows_of_weight_0_and_padding_count_nothing(loss, rolled):
    batch = rolled[3]
    terms, weights = loss(batch)
    spoiled = tiny.garbage(dataclasses.replace(batch, extra=jax.tree.map(np.copy, batch.extra)))
    spoiled.wave[1], spoiled.extra.length[1], spoiled.extra.risk[1] = np.nan, 4, np.nan
    behind = np.arange(6)[None, None] >= batch.extra.length[..., None]
    spoiled.extra.ids[behind] = 13
    again, same = loss(spoiled)
    assert again == terms and same == weights


def test_n_best_lists_without_a_gradient_are_counted_and_reported_once(loss, rolled):
    """Equal risks, or one hypothesis twice; a row of weight 0 counts nothing."""
    batch = jax.tree.map(np.copy, rolled[3])
    batch.extra.ids[:], batch.extra.length[:], batch.extra.risk[:] = (
        np.arange(18).reshape(1, 3, 6),
        6,
        [[0, 0, 1]],
    )
    assert loss(batch)[0]["no_gradient"] == 0
    batch.extra.risk[0], batch.extra.risk[1] = 0.5, 0.5
    batch.extra.ids[3], batch.extra.risk[3] = 7, [0, 1, 1]
    terms, weights = loss(batch)
    np.testing.assert_allclose(terms["no_gradient"], 2 / 3, rtol=1e-6)
    objective = built_for().objective
    seen, said = None, []
    for _ in range(12):
        seen, line = objective.watch(seen, terms | {"weights": weights})
        said += [line] * bool(line)
    other, _ = objective.watch(None, terms | {"weights": weights})
    assert seen[1] == 36 and other[1] == 3  # it keeps nothing itself
    assert len(said) == 1 and "67 % of 33 N-best lists" in said[0] and "temperature=0" in said[0]
