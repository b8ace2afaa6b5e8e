"""Stage checkpoints: bit for bit, on any mesh, whatever instant a process is killed at."""

import dataclasses
import hashlib
import json
import os
import random
import struct
import sys
import time

from flax import nnx
import forks
import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding
import numpy as np
import optax
import pytest
import tiny
import workdirs

from seedasr_jax import checkpoint, config, inventory
from seedasr_jax.checkpoint import hashes, record, steps
from seedasr_jax.errors import ConfigError, UserError
from seedasr_jax.parallel import mesh as meshes
from seedasr_jax.parallel import sharding
from seedasr_jax.train.state import TrainState


def save(folder, step, state, **options):
    writer = checkpoint.Writer(folder, keep=3)
    writer.save(step, state, **options)
    writer.close()


def places(state, *sizes):
    """Shardings of a state on a mesh of these sizes."""
    mesh = meshes.make(config.Mesh(*sizes))
    params = sharding.of_params(state.params, mesh)
    everywhere = sharding.replicated(mesh)
    opt_state = sharding.like_params(state.opt_state, state.params, params, mesh)
    return dataclasses.replace(
        state,
        step=everywhere,
        skipped=everywhere,
        params=params,
        opt_state=opt_state,
        rng=everywhere,
    )


def on_one_device(state):
    return jax.tree.map(lambda _: SingleDeviceSharding(jax.devices()[0]), state)


def test_any_mesh_gives_the_same_bits(tmp_path):
    state = workdirs.state(seed=3, step=7)
    spread = jax.device_put(state, places(state, 1, 4, 2, 1))
    save(tmp_path, 7, spread)
    abstract = jax.eval_shape(lambda: state)
    for where in (places(state, 1, 2, 4, 1), places(state, 8, 1, 1, 1), on_one_device(state)):
        restored = checkpoint.restore(tmp_path, 7, abstract, where)
        assert workdirs.bits(restored) == workdirs.bits(state)
        for name, leaf in checkpoint.flat(restored).items():
            assert leaf.sharding == checkpoint.flat(where)[name], name
        assert isinstance(restored.params, nnx.State)
        assert jax.tree.structure(restored) == jax.tree.structure(state)


def test_names_on_disk_know_nothing_of_flax_or_optax_classes(tmp_path):
    save(tmp_path, 1, workdirs.state())
    of_params = {"encoder.kernels.0", "encoder.kernels.1", "encoder.kernel", "encoder.bias"}
    of_params |= {"decoder.table"}
    expected = {"step", "skipped", "rng", "opt_state.1.0.count"}
    for head in ("params", "opt_state.1.0.mu", "opt_state.1.0.nu"):
        expected |= {f"{head}.{name}" for name in of_params}
    assert set(steps.shapes(steps.find(tmp_path, 1))) == expected


def test_frozen_is_neither_saved_nor_touched(tmp_path):
    state = workdirs.state().replace(frozen={"decoder": {"table": jnp.ones(3)}})
    save(tmp_path, 1, state)
    assert not any("frozen" in name for name in steps.shapes(steps.find(tmp_path, 1)))
    kept = object()
    restored = checkpoint.restore(
        tmp_path, 1, state.replace(frozen={"decoder": {"table": kept}}), on_one_device(state)
    )
    assert restored.frozen["decoder"]["table"] is kept


def test_bfloat16_and_empty_optimiser(tmp_path):
    params = {"encoder": {"kernel": jnp.arange(7, dtype=jnp.bfloat16)}}
    state = workdirs.state().replace(params=params, opt_state=optax.sgd(0.1).init(params))
    save(tmp_path, 1, state)
    restored = checkpoint.restore(tmp_path, 1, state, on_one_device(state))
    assert workdirs.bits(restored) == workdirs.bits(state)


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
    writer.close()
    path = steps.find(tmp_path, 1)
    shapes = {n: x for n, x in steps.shapes(path).items() if n.startswith("params.")}
    found = steps.read(path, shapes)
    assert checkpoint.parameters_hash(checkpoint.nest(found)["params"]) == expected


def test_writer_keeps_the_newest_and_says_when_they_are_durable(tmp_path):
    writer = checkpoint.Writer(tmp_path, keep=2)
    assert writer.finished() is None
    for step in (5, 10, 15, 20):
        writer.save(step, workdirs.state(seed=step), note={"hours": {"a": step / 4}})
        assert writer.finished() in (None, step - 5, step)
    writer.wait()
    assert writer.finished() == 20 == checkpoint.latest(tmp_path)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["15", "20"]
    assert checkpoint.note(tmp_path, 15) == {"hours": {"a": 3.75}}
    writer.save(20, workdirs.state(seed=99))  # saved already: the last step of a stage, say
    writer.close()
    state = workdirs.state(seed=20)
    restored = checkpoint.restore(tmp_path, 20, state, on_one_device(state))
    assert workdirs.bits(restored) == workdirs.bits(state)
    assert checkpoint.Writer(tmp_path, keep=2).finished() == 20


def test_passing_steps_count_for_nothing_and_stay_while_they_are_the_newest(tmp_path):
    """Known by a process that goes on, too."""

    def found():
        return sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir())

    def add(*steps):
        for step in steps:
            writer.save(step, workdirs.state(step=step), {"row": step}, passing=step % 10 > 0)
        writer.wait()
        return found()

    writer = checkpoint.Writer(tmp_path, keep=2)
    assert add(10, 13) == [10, 13]  # the row of 13 is in its note until it is scored
    assert add(16, 20) == [10, 20]
    assert add(25) == [10, 20, 25] and checkpoint.note(tmp_path, 25)["row"] == 25
    writer = checkpoint.Writer(tmp_path, keep=2, pinned=(10,))
    assert writer.finished() == 25 and add(30) == [10, 20, 30]
    assert add(40) == [10, 30, 40]


def test_unfinished_leftovers_are_no_checkpoints_and_go_away(tmp_path):
    assert checkpoint.latest(tmp_path) is None
    save(tmp_path, 3, workdirs.state())
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
    assert writer.finished() == 1
    writer.save(2, workdirs.state())
    writer.close()
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
        patch.setattr(steps.ocp, "save_async", lambda *_, **__: Full())
        writer.save(2, workdirs.state())
    with pytest.raises(OSError, match=r"No space left.*checkpoints"):
        writer.save(3, workdirs.state())
    assert writer.finished() == 1 == checkpoint.latest(tmp_path)
    writer.save(2, workdirs.state())
    writer.close()
    assert writer.finished() == 2 == checkpoint.latest(tmp_path)


def test_a_save_that_wrote_nothing_is_none(tmp_path):
    """Orbax takes a path as a pattern where it looks for what the processes wrote, and warns."""
    writer = checkpoint.Writer(tmp_path / "run[1]", keep=1)
    writer.save(1, workdirs.state())
    with pytest.raises(UserError, match=r"run\[1\]/checkpoints/1: expected arrays"):
        writer.wait()
    assert writer.finished() is None and checkpoint.latest(tmp_path / "run[1]") is None


def test_of_a_save_that_fails_nothing_is_said_twice(tmp_path, monkeypatch):
    """Writes that were under way find the event loop of Orbax closed, each in a thread of C++."""
    said = []
    monkeypatch.setattr(sys, "excepthook", lambda *found: said.append(str(found[1])))
    for _ in range(2):
        checkpoint.Writer(tmp_path, keep=1)
    for words in ("Event loop is closed", "another"):
        sys.excepthook(RuntimeError, RuntimeError(words), None)
    assert said == ["another"]


def test_array_without_elements_is_refused(tmp_path):
    params = {"encoder": {"kernel": jnp.zeros((0, 4))}}
    with pytest.raises(ValueError, match=r"params\.encoder\.kernel has no elements"):
        save(tmp_path, 1, workdirs.state().replace(params=params))


def test_restore_names_what_does_not_fit(tmp_path):
    state = workdirs.state()
    save(tmp_path, 1, state)
    everywhere = on_one_device(state)
    with pytest.raises(UserError, match=r"no checkpoint of step 2; found: 1"):
        checkpoint.restore(tmp_path, 2, state, everywhere)
    with pytest.raises(UserError, match=r"found: none; `seedasr train`"):
        checkpoint.restore(tmp_path / "other", 2, state, everywhere)
    wider = workdirs.state(width=32)
    with pytest.raises(
        ConfigError,
        match=r"params\.\S+: expected float32\[128, 32\], found float32\[128, 16\].*--from",
    ):
        checkpoint.restore(tmp_path, 1, wider, everywhere)
    more = workdirs.state(lora=True)
    with pytest.raises(ConfigError, match=r"holds no \S*lora_a"):
        checkpoint.restore(tmp_path, 1, more, everywhere)
    with pytest.raises(ConfigError, match=r"opt_state\.1\.0\.\S+ has no place"):
        checkpoint.restore(tmp_path, 1, state.replace(opt_state=()), everywhere)
    other = state.replace(rng=jax.random.key(0, impl="rbg"))
    with pytest.raises(ConfigError, match=r"rng: expected uint32\[4\], found uint32\[2\]"):
        checkpoint.restore(tmp_path, 1, other, everywhere)


# A process that is killed.


def _numbers(step):
    """What every number of a state at this step is, by an independent rule."""
    rng = np.random.default_rng(step)
    return {f"k{i}": rng.normal(size=(64, 40)).astype(np.float32) for i in range(6)}


def _small_state(step):
    params = {"encoder": jax.device_put(_numbers(step))}
    number = jax.device_put(np.int32(step))
    return TrainState(number, number, params, {}, (), jax.random.key(0))


def _save_for_ever(folder):
    """Saves as fast as it can, from the newest step on, and writes stage.json behind."""
    stage = tiny.stage("ctc", ("encoder", "ctc_head"), ("encoder", "ctc_head"))
    started = checkpoint.begin(stage, "0" * 64, parents={}, frozen={}, vocabulary="v", reads={})
    step = checkpoint.latest(folder) or 0
    writer = checkpoint.Writer(folder, keep=2)
    while True:
        step += 1
        writer.save(step, _small_state(step), note={"step": step})
        durable = writer.finished()
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
        for step in steps._steps(tmp_path / "checkpoints"):
            state = _small_state(0)
            restored = checkpoint.restore(tmp_path, step, state, on_one_device(state))
            assert int(restored.step) == step == checkpoint.note(tmp_path, step)["step"]
            for name, expected in _numbers(step).items():
                np.testing.assert_array_equal(restored.params["encoder"][name], expected)
        if (tmp_path / "stage.json").exists():
            assert checkpoint.read(tmp_path).step <= newest
    assert seen, "no kill fell into a save: the test shows nothing"


def test_a_step_removed_while_it_is_looked_at_is_passed_over(tmp_path, monkeypatch):
    for step in (3, 4):
        save(tmp_path, step, workdirs.state())
    mark = inventory._mark

    def removed(path):
        if "/4/" in str(path):
            raise FileNotFoundError(path)
        return mark(path)

    monkeypatch.setattr(inventory, "_mark", removed)
    assert inventory.newest(tmp_path) == (3, [])


# Records and hashes.


def a_record():
    stage = tiny.stage("ctc", ("encoder", "ctc_head"), ("encoder", "ctc_head"), **{"run.accum": 2})
    parents = {"encoder": {"checkpoint": "ssl@10", "hash": "ab"}}
    rest = dict(frozen={}, vocabulary="v", reads={"synth:a": "c0"})
    return stage, checkpoint.begin(stage, "ff", parents=parents, **rest)


def test_record_round_trip(tmp_path):
    stage, started = a_record()
    checkpoint.write(tmp_path / "ctc", started)
    found = checkpoint.read(tmp_path / "ctc")
    assert found == started
    assert found.stage == stage  # recipe and run settings together
    assert config.to_dict(found.recipe) == config.to_dict(stage, recipe_only=True)
    assert found.run["mesh"] == config.to_dict(stage.mesh)
    assert [p.name for p in (tmp_path / "ctc").iterdir()] == ["stage.json"]
    keys = {"format_version", "state", "kind", "recipe", "recipe_hash", "parents", "vocabulary"}
    keys |= {"step", "position", "hours", "versions", "frozen"}
    assert keys <= json.loads((tmp_path / "ctc/stage.json").read_text()).keys()
    assert found.versions["jax"] == jax.__version__


def test_record_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    _, started = a_record()
    checkpoint.write(tmp_path, started)

    def dies(file):
        raise KeyboardInterrupt

    monkeypatch.setattr(record.os, "fsync", dies)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.write(tmp_path, dataclasses.replace(started, step=9))
    assert checkpoint.read(tmp_path) == started
    monkeypatch.undo()
    with (tmp_path / "stage.json").open() as reader:  # who has it open reads the old one to its end
        checkpoint.write(tmp_path, dataclasses.replace(started, step=9))
        assert json.load(reader)["step"] == 0
    assert checkpoint.read(tmp_path).step == 9


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda r: r | {"format_version": 99}, r"reads 3; install a newer one"),
        (lambda r: r | {"format_version": 1}, r"reads it is c03a92d.* new --workdir"),
        (lambda r: {k: v for k, v in r.items() if k != "step"}, r"stage\.json\.step is missing"),
        (lambda r: r | {"step": "9"}, r"stage\.json\.step: expected int, found '9'"),
        (lambda r: [r], r"expected a JSON object, found a list"),
    ],
)
def test_damaged_records(tmp_path, spoil, message):
    _, started = a_record()
    checkpoint.write(tmp_path, started)
    path = tmp_path / "stage.json"
    path.write_text(json.dumps(spoil(json.loads(path.read_text()))))
    with pytest.raises(UserError, match=message):
        checkpoint.read(tmp_path)
    path.write_text("{")
    with pytest.raises(UserError, match="expected a JSON object"):
        checkpoint.read(tmp_path)


def test_more_keys_may_stand_beside(tmp_path):
    _, started = a_record()
    checkpoint.write(tmp_path, started)
    path = tmp_path / "stage.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"later": 1}))
    assert checkpoint.read(tmp_path) == started


def stated_hash(tree, blocks):
    """The stated formula; {name: blocks in the order of the grid}."""
    digests = {
        name: sum(
            int.from_bytes(
                hashlib.sha256(struct.pack("<Q", number) + block.tobytes()).digest(), "little"
            )
            for number, block in enumerate(blocks[name])
        )
        for name in blocks
    }
    lines = [
        f"{name} {leaf.dtype} {leaf.shape} {digests[name] % 2**256:064x}\n"
        for name, leaf in sorted(tree.items())
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def test_parameters_hash_is_the_stated_formula_on_any_mesh():
    rng = np.random.default_rng(0)
    tree = {
        "z.stack": rng.normal(size=(2, 96, 256)).astype(np.float32),  # blocks of 1 x 48 x 64
        "a.half": np.asarray(jnp.arange(3 * 6000, dtype=jnp.bfloat16).reshape(3, 6000)),
        "b": np.int32(3),
    }
    stack = tree["z.stack"].reshape(2, 2, 48, 4, 64).transpose(0, 1, 3, 2, 4).reshape(-1, 48, 64)
    half = tree["a.half"].reshape(3, 4, 1500).swapaxes(0, 1)
    expected = stated_hash(tree, {"z.stack": stack, "a.half": half, "b": [tree["b"]]})
    assert checkpoint.parameters_hash(tree) == expected
    axes = {"z.stack": ("data", "fsdp", "tensor"), "a.half": (None, "fsdp"), "b": ()}
    for sizes in ((1, 1, 1, 1), (1, 8, 1, 1), (2, 2, 2, 1), (1, 4, 1, 1), (1, 3, 2, 1)):
        mesh = meshes.make(config.Mesh(*sizes), jax.devices()[: np.prod(sizes)])
        spread = {
            name: jax.device_put(leaf, NamedSharding(mesh, PartitionSpec(*axes[name])))
            for name, leaf in tree.items()
        }
        assert checkpoint.parameters_hash(spread) == expected, sizes  # 3: blocks are cut


def test_processes_exchange_sums_and_the_blocks_that_they_share(monkeypatch):
    leaf = np.arange(96 * 256, dtype=np.float32).reshape(96, 256)  # blocks of 48 x 64
    expected = checkpoint.parameters_hash({"a": leaf})
    told = []
    for rows in (slice(0, 60), slice(60, 96)):  # of two processes

        def shards(_, rows=rows):
            yield hashes._bytes([rows.start, 0], leaf[rows])

        monkeypatch.setattr(hashes, "_shards", shards)
        monkeypatch.setattr(hashes.processes, "gathered", lambda own: told.extend(own) or own)
        checkpoint.parameters_hash({"a": leaf})
    assert len(json.dumps(told)) < 4 * leaf[48:].nbytes  # of a leaf only what is cut, as hex
    monkeypatch.setattr(hashes.processes, "gathered", lambda _: json.loads(json.dumps(told)))
    assert checkpoint.parameters_hash({"a": leaf}) == expected


@pytest.mark.parametrize(
    "other",
    [
        {"a": np.zeros((2, 3), np.float32), "b": np.ones(6, np.float32)},
        {"c": np.zeros(6, np.float32), "b": np.ones(6, np.float32)},
        {"a": np.zeros(6, np.int32), "b": np.ones(6, np.float32)},
        {"a": -np.zeros(6, np.float32), "b": np.ones(6, np.float32)},
        {"a": np.ones(6, np.float32), "b": np.zeros(6, np.float32)},
    ],
)
def test_parameters_hash_sees_name_type_shape_and_bits(other):
    one = {"a": np.zeros(6, np.float32), "b": np.ones(6, np.float32)}
    assert checkpoint.parameters_hash(other) != checkpoint.parameters_hash(one)


def test_parts_and_fill():
    params = workdirs.params(lora=True)
    assert set(checkpoint.parts(params)) == {"encoder", "decoder", "lora"}
    assert set(checkpoint.select(params, "lora")) == {"decoder.lora_a", "decoder.lora_b"}
    other = workdirs.params(seed=1, lora=True)
    mixed = checkpoint.fill(params, checkpoint.nest(checkpoint.select(other, "decoder")))
    for part, source in (("encoder", params), ("lora", params), ("decoder", other)):
        expected = workdirs.bits(checkpoint.select(source, part))
        assert workdirs.bits(checkpoint.select(mixed, part)) == expected
    with pytest.raises(KeyError, match="ctc_head"):
        checkpoint.fill(params, {"ctc_head": {"kernel": 1}})
