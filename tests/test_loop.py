"""The loop with a step that only counts: what is logged, evaluated, saved, and when it stops."""

import dataclasses
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from seedasr_jax import batch as batches
from seedasr_jax.errors import UserError
from seedasr_jax.launch.progress import Progress
from seedasr_jax.parallel import mesh as meshes
from seedasr_jax.train import loop
from seedasr_jax.train.metrics import Metrics
from seedasr_jax.train.step import TrainState
from seedasr_jax.workdir import read_rows as read


class Hooks:
    """Writes down what the loop calls."""

    def __init__(self, stop_at=None, stop_scoring_at=None, **more):
        self.saved, self.evaluated, self.shown, self.calls = [], [], [], 0
        self.stop_at, self.stop_scoring_at, self.more = stop_at, stop_scoring_at, more
        self.rows = {}  # as they were saved
        self.transient = []  # steps that save_every did not ask for

    def save(self, step, state, row, transient):
        self.saved.append((step, int(state.step)))
        self.transient += [step] * transient
        self.rows[step] = json.loads(json.dumps(row))

    def stopping(self):
        self.calls += 1
        return self.calls == self.stop_at

    def evaluate(self, step, state):
        assert self.saved[-1:] == [(step, int(state.step))] or not self.calls
        self.evaluated.append(step)
        if step == self.stop_scoring_at:
            raise loop.Stopped
        return {"eval": {"dev": {"error_rate": 50.0}}}

    def summary(self, terms):
        return terms

    def hooks(self):
        return loop.Hooks(
            save=self.save,
            evaluate=self.evaluate,
            stopping=self.stopping,
            progress=lambda step, speed, terms: self.shown.append((step, speed > 0)),
            **self.more,
            summary=self.summary,
        )


def run(folder, hooks, *, start=0, steps=10, bad=(), unwritten=None, **changes):
    """Trains to `steps` with a step whose loss is the batch's first position."""
    changes = {"run.log_every": 4, "run.save_every": 3, "eval.every": 5} | changes
    stage = tiny.stage("ctc", ("encoder", "ctc_head"), ("encoder",), **changes)
    stage = dataclasses.replace(stage, steps=steps)

    def train_step(state, batch):
        skipped = state.skipped + (int(state.step) in bad)
        state = state.replace(step=state.step + 1, skipped=skipped)
        return state, {
            "loss": batch.position[0].astype(jnp.float32),
            "weights": {"ctc": jnp.ones(())},
        }

    def stream():
        for step in itertools.count(start):
            batch = batches.zeros(8, 0, 0, 0, 1)
            batch = dataclasses.replace(batch, position=np.arange(8, dtype=np.int32) + step)
            yield batch, f"rows of {step}"

    state = TrainState(jnp.int32(start), jnp.int32(0), {}, {}, (), jax.random.key(0))
    mesh = meshes.make(dataclasses.replace(stage.mesh, data=-1, fsdp=1))
    with Metrics(folder, start, tensorboard=False) as metrics:
        where = mesh, hooks.hooks(), unwritten
        return loop.run(train_step, state, stream(), metrics, stage, *where)


def test_intervals_and_the_last_step(tmp_path):
    hooks = Hooks()
    assert int(run(tmp_path, hooks).step) == 10
    assert hooks.saved == [(3, 3), (5, 5), (6, 6), (9, 9), (10, 10)]
    assert hooks.transient == [5]  # scored alone; the last one stays
    assert hooks.evaluated == [5, 10]
    assert hooks.shown == [(4, True), (8, True), (10, True)]
    rows = read(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == [4, 5, 8, 10]
    assert [row.get("loss") for row in rows] == [3.0, None, 7.0, 9.0]  # of the batch of that step
    assert [row.get("eval/dev/error_rate") for row in rows] == [None, 50.0, None, 50.0]
    assert rows[0]["weights/ctc"] == 1.0
    assert rows[0]["skipped"] == 0.0
    assert rows[0]["host/peak_memory_gib"] > 0


def test_never_evaluates_but_at_the_end(tmp_path):
    hooks = Hooks()
    run(tmp_path, hooks, **{"eval.every": 0})
    assert hooks.evaluated == [10]


def test_resumes_with_the_batch_of_its_step(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    run(whole, Hooks())
    run(parts, Hooks(), steps=6)
    run(parts, Hooks(), start=6)

    def rows(folder):
        found = [r for r in read(folder / "metrics.jsonl") if r["step"] != 6]  # its last one then
        return [{k: v for k, v in row.items() if not k.startswith("host/")} for row in found]

    assert rows(whole) == rows(parts)


def test_a_batch_is_prepared_with_the_state_of_its_step(tmp_path):
    seen = []

    def prepare(state, batch, rows):
        seen.append((int(state.step), rows))
        return dataclasses.replace(batch, position=batch.position * 10)

    run(tmp_path, Hooks(prepare=prepare), start=6)
    assert seen == [(step, f"rows of {step}") for step in range(6, 10)]
    assert [row["loss"] for row in read(tmp_path / "metrics.jsonl")] == [70.0, 90.0]


def test_what_is_watched_is_handed_from_one_logged_step_to_the_next(tmp_path):
    handed = []

    def watch(seen, terms):
        handed.append((seen, float(terms["loss"])))
        return len(handed)

    run(tmp_path, Hooks(watch=watch))
    assert handed == [(None, 3.0), (1, 7.0), (2, 9.0)]


def test_nothing_is_left_to_do(tmp_path):
    hooks = Hooks()
    assert int(run(tmp_path, hooks, start=10).step) == 10
    assert hooks.saved == hooks.evaluated == []


def test_stops_after_the_step_under_way_and_saves(tmp_path):
    hooks = Hooks(stop_at=4)
    with pytest.raises(loop.Stopped):
        run(tmp_path, hooks)
    assert hooks.saved == [(3, 3), (4, 4)] and hooks.transient == [4]


@pytest.mark.parametrize("step", [5, 10])
def test_what_was_saved_and_not_scored_is_scored_first(tmp_path, step):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    options = {"run.log_every": 1}
    run(whole, Hooks(), **options)
    first, then = Hooks(stop_scoring_at=step), Hooks()
    with pytest.raises(loop.Stopped):
        run(parts, first, **options)
    assert first.saved[-1] == (step, step)
    assert [row["step"] for row in read(parts / "metrics.jsonl")] == list(range(1, step))
    run(parts, then, start=step, unwritten=first.rows[step], **options)
    assert then.evaluated == [5, 10][[5, 10].index(step) :]
    rows = [read(folder / "metrics.jsonl") for folder in (whole, parts)]
    clean = [[{k: v for k, v in r.items() if "host/" not in k} for r in each] for each in rows]
    assert clean[0] == clean[1]
    assert rows[1][step - 1]["host/steps_per_second"] > 0  # measured before


def test_a_stop_at_the_last_step_is_no_stop(tmp_path):
    hooks = Hooks(stop_at=10)
    assert int(run(tmp_path, hooks).step) == 10
    assert hooks.saved[-1] == (10, 10)


def test_gives_up_on_gradients_that_are_not_finite(tmp_path):
    hooks = Hooks()
    with pytest.raises(UserError, match=r"10 of 12 steps.*optim\.lr"):
        run(tmp_path, hooks, steps=40, bad=range(2, 30), **{"eval.every": 0})
    assert hooks.saved[-1][0] == 9  # what is broken is not saved
    few = Hooks()
    run(tmp_path, few, steps=40, bad=range(2, 11))
    assert few.saved[-1] == (40, 40)


class Collapsing(Hooks):
    """Gives up at the second logged step; until then logs a scalar of its own."""

    def summary(self, terms):
        if self.shown:
            raise UserError("the labels collapsed")
        return {"figure": terms["loss"] + 1}


def test_gives_up_where_the_terms_say_so(tmp_path):
    hooks = Collapsing()
    with pytest.raises(UserError, match="collapsed"):
        run(tmp_path, hooks, **{"eval.every": 0})
    (row,) = read(tmp_path / "metrics.jsonl")  # the next would have been step 8
    assert row["figure"] == 4.0 and "loss" not in row
    assert hooks.saved == [(3, 3), (6, 6)]


class Terminal:
    """A stream that says that it is a terminal, or not."""

    def __init__(self, terminal):
        self.terminal, self.text = terminal, ""

    def isatty(self):
        return self.terminal

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_progress_has_the_time_left():
    plain = Terminal(False)
    progress = Progress("ctc", 4_000, plain)
    progress(400, 0.5, {"loss": 1.23456})
    progress(4_000, 0.5, {"loss": 1.0})
    progress(100, 0.0, {"loss": 1.0})
    first, last, unknown = plain.text.splitlines()
    assert first == "ctc 400/4000  loss 1.2346  0.5 steps/s  ETA 2:00:00"
    assert last.endswith("ETA 00:00")
    assert unknown.endswith("ETA ?")


def test_progress_is_a_bar_on_a_terminal():
    terminal = Terminal(True)
    progress = Progress("ctc", 10, terminal)
    progress(5, 1.0, {"loss": 1.0})
    assert terminal.text.startswith("\r[############............]")
    assert "\n" not in terminal.text
    progress(10, 1.0, {"loss": 1.0})
    assert terminal.text.endswith("\n")


def test_metrics_are_json_that_others_read(tmp_path):
    run(tmp_path, Hooks())
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        assert all(type(value) in (int, float) for value in json.loads(line).values())
