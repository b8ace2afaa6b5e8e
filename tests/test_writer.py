"""Saving states: in the background, and complete whatever instant a process is killed at."""

import dataclasses
import os
import random
import sys
import time

import forks
import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np
import pytest
import tiny
import workdirs

from seedasr_jax import checkpoint, config, inventory
from seedasr_jax.checkpoint import steps
from seedasr_jax.checkpoint import writer as writer_module
from seedasr_jax.errors import UserError
from seedasr_jax.parallel import mesh as meshes
from seedasr_jax.train.step import TrainState


@pytest.mark.parametrize("spread", [False, True])
def test_state_may_be_donated_as_soon_as_save_returns(tmp_path, spread):
    shape = (2, 500, 500)
    tree = {"encoder": {f"k{i}": jax.random.normal(jax.random.key(i), shape) for i in range(8)}}
    if spread:
        place = NamedSharding(meshes.make(config.Mesh(1, 4, 2, 1)), PartitionSpec(None, "fsdp"))
        tree = jax.device_put(tree, place)
    expected = checkpoint.parameters_hash(tree)
    step = jax.jit(lambda tree: jax.tree.map(lambda x: x * 0 - 7, tree), donate_argnums=0)
    step.lower(tree).compile()
    writer = checkpoint.Writer(tmp_path, keep=1)
    writer.save(1, workdirs.state().replace(params=tree, opt_state=()))
    for _ in range(3):
        tree = step(tree)
    jax.block_until_ready(tree)
    writer.wait()
    path = steps.find(tmp_path, 1)
    shapes = {n: x for n, x in steps.shapes(path).items() if n.startswith("params.")}
    found = steps.read(path, shapes)
    assert checkpoint.parameters_hash(checkpoint.nest(found)["params"]) == expected


def test_the_newest_steps_are_kept_and_known_to_be_durable(tmp_path):
    writer = checkpoint.Writer(tmp_path, keep=2)
    assert writer.durable() is None
    for step in (5, 10, 15, 20):
        writer.save(step, workdirs.state(seed=step), note={"hours": {"a": step / 4}})
        assert writer.durable() in (None, step - 5, step)
    writer.wait()
    assert writer.durable() == 20 == checkpoint.latest(tmp_path)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["15", "20"]
    assert checkpoint.note(tmp_path, 15) == {"hours": {"a": 3.75}}
    writer.save(20, workdirs.state(seed=99))  # saved already: the last step of a stage, say
    writer.wait()
    state = workdirs.state(seed=20)
    restored = checkpoint.restore(tmp_path, 20, state, workdirs.on_one_device(state))
    assert workdirs.bits(restored) == workdirs.bits(state)
    assert checkpoint.Writer(tmp_path, keep=2).durable() == 20


def test_transient_steps_are_not_counted_and_stay_while_they_are_the_newest(tmp_path):
    """A process that resumes knows which steps are transient."""

    def found():
        return sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir())

    def add(*steps):
        for step in steps:
            writer.save(step, workdirs.state(step=step), {"row": step}, transient=step % 10 > 0)
        writer.wait()
        return found()

    writer = checkpoint.Writer(tmp_path, keep=2)
    assert add(10, 13) == [10, 13]  # the row of 13 is in its note until it is scored
    assert add(16, 20) == [10, 20]
    assert add(25) == [10, 20, 25] and checkpoint.note(tmp_path, 25)["row"] == 25
    writer = checkpoint.Writer(tmp_path, keep=2, pinned=(10,))
    assert writer.durable() == 25 and add(30) == [10, 20, 30]
    assert add(40) == [10, 30, 40]


def test_unfinished_leftovers_are_not_checkpoints_and_are_removed(tmp_path):
    assert checkpoint.latest(tmp_path) is None
    workdirs.save(tmp_path, 3, workdirs.state())
    folder = tmp_path / "checkpoints"
    for leftover in ("9.orbax-checkpoint-tmp", "4.removed"):
        (folder / leftover / "state").mkdir(parents=True)
    assert checkpoint.latest(tmp_path) == 3
    checkpoint.Writer(tmp_path, keep=1)
    assert [p.name for p in folder.iterdir()] == ["3"]


def test_a_save_that_fails_is_reported_and_may_be_repeated(tmp_path):
    writer = checkpoint.Writer(tmp_path, keep=1)
    writer.save(1, workdirs.state())
    writer.wait()
    folder = tmp_path / "checkpoints"
    folder.rename(tmp_path / "away")
    folder.write_text("in the way")
    with pytest.raises(NotADirectoryError):
        writer.save(2, workdirs.state())
    folder.unlink()
    (tmp_path / "away").rename(folder)
    assert writer.durable() == 1
    writer.save(2, workdirs.state())
    writer.wait()
    assert checkpoint.latest(tmp_path) == 2


def test_a_save_that_fails_in_the_background_is_reported_and_may_be_repeated(tmp_path, monkeypatch):
    class Full:
        def on_complete(self, callback):
            del callback  # of a success

        def result(self):
            raise ValueError("RESOURCE_EXHAUSTED: Failed to write [os_error_code='28']")

    writer = checkpoint.Writer(tmp_path, keep=1)
    writer.save(1, workdirs.state())
    writer.wait()
    with monkeypatch.context() as patch:
        patch.setattr(writer_module.ocp, "save_async", lambda *_, **__: Full())
        writer.save(2, workdirs.state())
    with pytest.raises(OSError, match=r"No space left.*checkpoints"):
        writer.save(3, workdirs.state())
    assert writer.durable() == 1 == checkpoint.latest(tmp_path)
    writer.save(2, workdirs.state())
    writer.wait()
    assert writer.durable() == 2 == checkpoint.latest(tmp_path)


def test_a_save_that_wrote_nothing_is_an_error(tmp_path):
    """Orbax treats a path as a pattern when it collects the files of processes, and only warns."""
    writer = checkpoint.Writer(tmp_path / "run[1]", keep=1)
    writer.save(1, workdirs.state())
    with pytest.raises(UserError, match=r"run\[1\]/checkpoints/1: expected arrays"):
        writer.wait()
    assert writer.durable() is None and checkpoint.latest(tmp_path / "run[1]") is None


def test_the_error_of_a_failed_save_is_reported_once(tmp_path, monkeypatch):
    """Pending writes find the event loop of Orbax closed, each in a C++ thread."""
    reported = []
    monkeypatch.setattr(sys, "excepthook", lambda *found: reported.append(str(found[1])))
    for _ in range(2):
        checkpoint.Writer(tmp_path, keep=1)
    for words in ("Event loop is closed", "another"):
        sys.excepthook(RuntimeError, RuntimeError(words), None)
    assert reported == ["another"]


def test_array_without_elements_is_refused(tmp_path):
    params = {"encoder": {"kernel": jnp.zeros((0, 4))}}
    with pytest.raises(ValueError, match=r"params\.encoder\.kernel has no elements"):
        workdirs.save(tmp_path, 1, workdirs.state().replace(params=params))


def _numbers(step):
    """Every number of a state at this step, by an independent rule."""
    rng = np.random.default_rng(step)
    return {f"k{i}": rng.normal(size=(64, 40)).astype(np.float32) for i in range(6)}


def _small_state(step):
    params = {"encoder": jax.device_put(_numbers(step))}
    number = jax.device_put(np.int32(step))
    return TrainState(number, number, params, {}, (), jax.random.key(0))


def _save_for_ever(folder):
    """Saves without pause from the newest step on, and writes stage.json after each step."""
    stage = tiny.stage("ctc", ("encoder", "ctc_head"), ("encoder", "ctc_head"))
    started = checkpoint.new_record(
        stage, "0" * 64, parents={}, frozen={}, vocabulary="v", reads={}
    )
    step = checkpoint.latest(folder) or 0
    writer = checkpoint.Writer(folder, keep=2)
    while True:
        step += 1
        writer.save(step, _small_state(step), note={"step": step})
        durable = writer.durable()
        if durable is not None:
            checkpoint.write(folder, dataclasses.replace(started, step=durable))


def test_a_kill_at_any_instant_leaves_a_whole_state(tmp_path, monkeypatch):
    context = forks.context(__name__)
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))
    rng, seen, newest = random.Random(0), [], 0
    for _ in range(12):
        child = context.Process(target=_save_for_ever, args=(tmp_path,), daemon=True)
        child.start()
        deadline = time.monotonic() + 60
        while (checkpoint.latest(tmp_path) or 0) <= newest and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.1))
        child.kill()
        child.join()
        leftovers = [p.name for p in (tmp_path / "checkpoints").iterdir() if not p.name.isdigit()]
        seen += leftovers
        step = checkpoint.latest(tmp_path)
        assert step > newest, "nothing was saved"
        newest = step
        for step in steps.complete(tmp_path):
            state = _small_state(0)
            restored = checkpoint.restore(tmp_path, step, state, workdirs.on_one_device(state))
            assert int(restored.step) == step == checkpoint.note(tmp_path, step)["step"]
            for name, expected in _numbers(step).items():
                np.testing.assert_array_equal(restored.params["encoder"][name], expected)
        if (tmp_path / "stage.json").exists():
            assert checkpoint.read(tmp_path).step <= newest
    assert seen, "no kill fell into a save: the test shows nothing"


def test_a_step_removed_during_inspection_is_skipped(tmp_path, monkeypatch):
    for step in (3, 4):
        workdirs.save(tmp_path, step, workdirs.state())
    mark = inventory.mark

    def removed(path):
        if "/4/" in str(path):
            raise FileNotFoundError(path)
        return mark(path)

    monkeypatch.setattr(inventory, "mark", removed)
    assert inventory.newest(tmp_path) == (3, [])
