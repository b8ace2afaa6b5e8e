"""`launch local`: what is refused before a process starts, and two processes that stop as one.

test_processes.py has what takes minutes.
"""

import signal
import types

import launched
import numpy as np
import pytest
import tones

from seedasr_jax import checkpoint, config
from seedasr_jax.errors import ConfigError
from seedasr_jax.launch import cli, signals
from seedasr_jax.launch.places import local
from seedasr_jax.parallel import mesh as meshes
from seedasr_jax.parallel import sharding


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--processes=0"], "--processes: expected at least 1, found 0"),
        (["--processes=2", "--devices=0"], "--devices: expected at least 1, found 0"),
        (["--processes=2", "--restart=-1"], "--restart: expected at least 0, found -1"),
        (
            ["--processes=3"],
            "stage 'lm' on 3 processes of 1 devices: a bucket of 8 utterances is not divisible by"
            " mesh.data x mesh.fsdp x mesh.expert x run.accum = 3; the nearest that is: 9",
        ),
        (
            ["--processes=2", "--devices=4", "--config.mesh.data=3"],
            "stage 'lm' on 2 processes of 4 devices: mesh {'data': 3, 'fsdp': 1, 'tensor': 1,"
            " 'expert': 1} takes 3 devices, found 8",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_starts(flags, said, tmp_path, capsys):
    workdir = tmp_path / "workdir"
    command = ["launch", "local", *flags, f"--config={tones.RECIPE}:none.jsonl"]
    assert cli.main([*command, f"--workdir={workdir}"]) == 2
    assert said in capsys.readouterr().err
    assert not workdir.exists()


def test_an_empty_workdir_is_refused(tmp_path, capsys):
    command = ["launch", "local", "--processes=2", f"--workdir={tmp_path}/workdir"]
    assert cli.main(command) == 2
    assert "name a recipe with --config" in capsys.readouterr().err


def test_rows_that_lie_unevenly_on_processes_are_refused():
    nine = {f"stages__{name}__data__buckets": ((0.8, 4, 9),) for name in ("lm", "ctc", "sft")}
    graph = tones.graph("none.jsonl", mesh__tensor=2, **nine)
    with pytest.raises(ConfigError, match="divides the 3 devices of a process"):
        local.check(graph, 2, 3)
    local.check(graph, 3, 2)
    local.check(graph, 6, 1)


@pytest.mark.parametrize(
    "sizes", [(8, 1, 1, 1), (2, 2, 2, 1), (1, 2, 2, 2), (2, 1, 1, 4), (1, 1, 8, 1)]
)
def test_a_process_reads_the_rows_that_jax_puts_on_it(sizes):
    mesh = meshes.make(config.Mesh(*sizes))
    rows = sharding.of_batch(mesh).devices_indices_map((8,))
    for devices in (1, 2, 4, 8):
        shares = sharding.shares(np.arange(8).reshape(sizes) // devices)
        assert set(shares) == set(range(8 // devices))
        for number, device in enumerate(mesh.devices.flat):
            share, count = shares[number // devices]
            first, end, _ = rows[device][0].indices(8)
            assert share * 8 // count <= first < end <= (share + 1) * 8 // count


def test_what_the_exit_codes_of_processes_mean(monkeypatch):
    class Ended:
        def __init__(self, code):
            self.code = code

        def poll(self):
            return self.code

        def send_signal(self, _):
            pass

    class Stops:
        """Leaves when it is asked to."""

        answer = None

        def poll(self):
            return self.answer

        def send_signal(self, number):
            self.answer = signals.CODES[number]

    def code(*codes, came=0):
        relay = local.Relay()
        relay.came = came
        return local._wait([Ended(code) for code in codes], relay)

    for left in (75, 130):  # as one process alone was asked
        relay, others = local.Relay(), [Stops(), Stops()]
        assert local._wait([Ended(left), *others], relay) == left
        assert [other.answer for other in others] == [left, left]
        assert not relay.came  # the job was not asked: it is tried again
    monkeypatch.setattr(local, "_GRACE", 0.0)
    assert code(75, None) == 75

    assert code(0, 0) == 0
    assert code(75, 75) == 75
    assert code(None, 2) == code(1, 2) == code(-9, 2) == 2
    assert code(1, 3) == 3
    assert code(1, 76) == 76
    assert code(None, -9) == code(1, -9) == code(-6, 1) == 1
    assert code(-15, None, came=signal.SIGTERM) == 75
    assert code(-2, None, came=signal.SIGINT) == 130
    assert code(-1, None, came=signal.SIGHUP) == 75
    assert code(-9, None, came=signal.SIGTERM) == 1


def test_a_process_is_read_whatever_becomes_of_its_log(monkeypatch):
    lines = [b"one\n", b"two\n", b"three\n"]
    left = iter(lines)
    with open("/dev/full", "wb", buffering=0) as full:
        monkeypatch.setattr(local.sys, "stderr", types.SimpleNamespace(buffer=full))
        local._show(left, full)
        monkeypatch.undo()
    assert not list(left)


@pytest.mark.parametrize(
    ("restart", "codes", "last"),
    [
        (0, [1], 1),
        (0, [75, 75, 0], 0),
        (0, [75, 76], 76),
        (1, [76, 75, 0], 0),
        (2, [1, 75, 76, 1], 1),
        (1, [1, 0], 0),
        (5, [2], 2),
        (5, [3], 3),
        (5, [130], 130),
    ],
)
def test_what_is_tried_again(restart, codes, last, tmp_path, monkeypatch):
    tries = []

    def answer(commands, *_):
        assert len(commands) == 2
        tries.append(commands[1])
        return codes[len(tries) - 1]

    monkeypatch.setattr(local, "_try", answer)
    command = ["launch", "local", "--processes=2", f"--restart={restart}", "--from=ctc"]
    command += [f"--config={tones.RECIPE}:none.jsonl", f"--workdir={tmp_path}/workdir"]
    assert cli.main([*command, "--config.seed=7"]) == last
    assert len(tries) == len(codes)
    assert all("--config.seed=7" in each for each in tries)
    assert ["--from=ctc" in each for each in tries] == [True] + [False] * (len(codes) - 1)


def test_two_processes_save_and_stop_at_the_same_step(tmp_path):
    manifest = tones.write(tmp_path / "data", 16)
    flags = [f"--config={tones.RECIPE}:{manifest}", "--stage=lm", f"--workdir={tmp_path}/workdir"]
    flags += ["--config.stages.lm.steps=5000", "--config.run.save_every=5000"]
    flags += ["--config.run.tensorboard=False"]
    flags += ["--config.imports=('compiled_once',)"]
    job = launched.start(tmp_path / "job", 2, 1, *flags)
    launched.says(tmp_path / "job", "lm 8/5000")
    members = launched.members(launched.log(tmp_path / "job"))
    assert [member[:2] for member in members] == [(0, 2), (1, 2)]
    pids = [pid for _, _, pid in members]
    assert len({*pids, job.pid}) == 3
    job.send_signal(signal.SIGTERM)
    assert job.wait(60) == 75
    assert all(map(launched.gone, pids))
    folder = tmp_path / "workdir/lm"
    record = checkpoint.read(folder)
    assert record.state == "running"
    assert 8 <= record.step < 5000
    assert checkpoint.latest(folder) == record.step
    logs = [tmp_path / f"workdir/logs/process-{index}.log" for index in (0, 1)]
    assert [launched.members(log) for log in logs] == [members, members]
    assert all("saving, then stopping" in log.read_text() for log in logs)
