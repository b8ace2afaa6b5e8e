"""One training in one, two and four processes: the same bits, the same files. Minutes: --processes.

N processes x D devices, over which every stage's mesh lies. Of every kind there is a stage in one
and in two; one of them goes on in four.
"""

import ast
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys

import faults
import jax
import launched
import numpy as np
import pytest
import recordings
import tiny
import tones
import workdirs

from seedasr_jax import checkpoint
from seedasr_jax.configs import common
from seedasr_jax.decode import greedy
from seedasr_jax.launch import run
from seedasr_jax.workdir import read_rows as read

EVERY = pathlib.Path(__file__).parent / "every_kind_recipe.py"
LAYOUTS = ((1, 8), (2, 4))
SCORED = {"probe", "ctc", "sft", "context_sft", "rl"}  # three of them by the LLM
KINDS = {"ssl1", "probe", "kmeans", "ssl2", "ctc", "lm", "sft", "context_sft", "rl"}


@pytest.fixture(scope="module")
def every(tmp_path_factory):
    """{N: folder} of a stage of every kind on 8 devices of N processes."""
    folder = tmp_path_factory.mktemp("every")
    manifest = tones.write(folder / "data", 12)
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    recordings.manifest(manifest, [r | {"keywords": r["text"].split()[:1]} for r in rows])
    recordings.manifest(manifest.with_name("speech.jsonl"), [{"audio": r["audio"]} for r in rows])
    for processes, devices in LAYOUTS:
        flags = [f"--config={EVERY}:{manifest}", "--workdir=workdir"]
        launched.run(folder / str(processes), processes, devices, *flags)
    return {processes: folder / str(processes) for processes, _ in LAYOUTS}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_parameters_are_the_same_bits_on_any_processes(every, kind):
    one, two = (folder / "workdir" / kind for folder in every.values())
    state, rows = workdirs.everything(one), faults.rows(one / "metrics.jsonl")
    assert any(name.startswith("params.") for name in state)
    assert [row["step"] for row in rows] == [1, 2, 3]
    scores = [any(key.startswith("eval/") for key in row) for row in rows]
    assert scores == [False, False, kind in SCORED]
    assert workdirs.everything(two) == state
    assert faults.rows(two / "metrics.jsonl") == rows
    assert checkpoint.read(two).hashes == checkpoint.read(one).hashes
    assert checkpoint.read(two).parents == checkpoint.read(one).parents


def test_hypotheses_stand_beside_their_own_utterances():
    """Processes whose rows interleave in the global batch, as the devices of a pod's hosts do."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    script = str(pathlib.Path(__file__).with_name("interleaved.py"))
    started = [
        subprocess.Popen(
            [sys.executable, script, address, str(index)],
            env=faults.environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    printed = [process.communicate(timeout=300)[0].splitlines()[-1] for process in started]
    parts = ("encoder", "ctc_head")
    model = tiny.model(parts)
    found = jax.jit(greedy.ctc)(model, tiny.batch(8))
    ids, length = np.asarray(found.ids)[:, 0], np.asarray(found.length)[:, 0]
    wanted = [tuple(row[:count].tolist()) for row, count in zip(ids, length)]
    assert len(set(wanted)) > 4
    assert [ast.literal_eval(line) for line in printed] == [wanted, wanted]


def test_stages_are_of_every_kind(every):
    stages = json.loads((every[1] / "workdir/config.json").read_text())["stages"]
    assert {stage["kind"] for stage in stages.values()} == KINDS


def test_each_utterance_is_read_once(every):
    whole = read(every[1] / "reads-0.jsonl")
    assert len(whole) == len(KINDS) * 3
    assert all(len(set(row["ids"])) == 8 for row in whole[::3])  # a first batch: no row twice
    share(whole, every[2], 2)


def share(whole, folder, processes):
    """Processes of a job have read, each its part, what one reads alone."""
    parts = [read(folder / f"reads-{n}.jsonl") for n in range(processes)]
    assert {len(part) for part in parts} == {len(whole)}
    for row, *own in zip(whole, *parts):
        assert [len(each["ids"]) for each in own] == [8 // processes] * processes
        for key in ("places", "ids"):
            assert [one for each in own for one in each[key]] == row[key]


@pytest.mark.parametrize("processes", [1, 2])
def test_the_log_names_every_process(every, processes):
    named(every[processes], processes)


def named(folder, processes):
    """The logs of a job name its processes."""
    members = launched.members(launched.log(folder))
    assert [member[:2] for member in members] == [(n, processes) for n in range(processes)]
    assert len({pid for _, _, pid in members}) == processes
    for index in range(processes):
        assert launched.members(folder / f"workdir/logs/process-{index}.log") == members


# A stage that is started in one number of processes and goes on in another.

STEPS = 30
CHANGES = {
    "run.log_every": 1,
    "run.save_every": 5,
    "run.keep": 10,
    "run.tensorboard": False,
    "stages.ctc.steps": STEPS,
    "stages.ctc.optim.lr": 1e-3,
    "stages.ctc.eval.every": 0,
}


NOTED = ("compiled_once", "reads")


def flags(manifest, imports=("compiled_once",), **own):
    """`own`: more changes, or others than CHANGES has; each flag may stand once."""
    own = {key.replace("__", "."): value for key, value in own.items()}
    changes = (CHANGES | {"imports": (*common.SMALL, *imports)} | own).items()
    config = f"--config={tones.RECIPE}:{manifest}"
    return [config, "--stage=ctc", "--workdir=workdir", *(f"--config.{k}={v}" for k, v in changes)]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Of tones; one recording is missing."""
    folder = tmp_path_factory.mktemp("data")
    path = tones.write(folder, 40)
    (folder / "audio-0/t033.wav").unlink()
    return path


@pytest.fixture(scope="module")
def one(manifest, tmp_path_factory):
    """In one process of two devices."""
    folder = tmp_path_factory.mktemp("one")
    launched.run(folder, 1, 2, *flags(manifest, NOTED))
    return folder


@pytest.fixture(scope="module")
def killed(manifest, tmp_path_factory):
    """In two processes of one device: first the job was killed, then one of them, then none."""
    folder = tmp_path_factory.mktemp("killed")
    paced = flags(manifest, ("compiled_once", "paced"))  # time to strike in

    def pids():
        return [pid for _, _, pid in launched.members(launched.log(folder))]

    job = launched.start(folder, 2, 1, *paced)
    launched.says(folder, f"ctc 7/{STEPS}")
    job.kill()  # it can tell nobody
    job.wait()
    launched.until(lambda: all(map(launched.gone, pids())), folder)

    job = launched.start(folder, 2, 1, "--restart=1", *paced)
    launched.says(folder, f"ctc 12/{STEPS}")
    assert len(pids()) == 4
    os.kill(pids()[3], signal.SIGKILL)
    assert job.wait() == 0, launched.log(folder).read_text()
    launched.says(folder, "process 1 ended with -9")
    assert len(pids()) == 6  # started again, once
    assert all(map(launched.gone, pids()))
    return folder


def test_what_was_killed_ends_with_the_same_bits(one, killed):
    one, other = (folder / "workdir/ctc" for folder in (one, killed))
    assert workdirs.everything(one) == workdirs.everything(other)
    for name in ("metrics.jsonl", "skipped.jsonl"):
        assert faults.rows(one / name) == faults.rows(other / name) != []


def test_too_many_bad_rows_end_all_processes_with_one_error(manifest, tmp_path):
    """One of them has the bad row; the job started again ends as it did before."""
    strict = "--config.stages.ctc.data.max_bad_fraction=0.0"
    logs, ended = [tmp_path / f"workdir/logs/process-{n}.log" for n in range(2)], []
    for _ in range(2):
        job = launched.start(tmp_path, 2, 1, *flags(manifest), strict)
        assert job.wait() == 1
        lines = [line for log in logs for line in log.read_text().splitlines()]
        ended.append({line for line in lines if "data.max_bad_fraction = 0 allows" in line})
    assert len(ended[0]) == 1 and ended[0] == ended[1]
    assert len(read(tmp_path / "workdir/ctc/skipped.jsonl")) == 1


def test_a_bad_development_file_ends_all_processes_with_one_error(manifest, tmp_path):
    """Found in the middle of training, by the one that reads it; so is a mistake at the start."""
    rows = [json.loads(line) | {"duration": None} for line in manifest.read_text().splitlines()[:8]]
    (manifest.parent / "noise.wav").write_bytes(b"no sound")
    rows[5]["audio"] = "noise.wav"
    noisy = recordings.manifest(manifest.with_name("noisy.jsonl"), rows)
    logs = [tmp_path / f"workdir/logs/process-{n}.log" for n in range(2)]
    for name, code, text in (
        (noisy, 1, "t005: unreadable audio"),
        (noisy.with_name("none.jsonl"), 1, "none.jsonl: no such manifest"),
    ):
        scored = f"--config.stages.ctc.eval.tasks=('manifest:{name}',)"
        often = flags(manifest, stages__ctc__eval__every=2)
        job = launched.start(tmp_path, 2, 1, *often, scored)
        assert job.wait() == code
        lines = [[x for x in log.read_text().splitlines() if text in x] for log in logs]
        assert len(lines[0]) == 1 and lines[0] == lines[1], launched.log(tmp_path).read_text()


def test_two_processes_copy_what_another_training_will_remove(one, manifest, tmp_path):
    source = f"{one}/workdir/ctc@5"
    more = [f"--config.stages.ctc.init.encoder={source}"]
    more += ["--config.stages.ctc.trains=('ctc_head',)", "--config.stages.ctc.optim.warmup=1"]
    launched.run(tmp_path, 2, 1, *flags(manifest, NOTED, stages__ctc__steps=2), *more)
    assert "will remove step 5" in launched.log(tmp_path).read_text()
    frozen = checkpoint.read(tmp_path / "workdir/ctc").frozen["encoder"]
    assert frozen["checkpoint"].startswith("frozen/encoder-")
    copied = checkpoint.open_checkpoint(tmp_path / "workdir" / frozen["checkpoint"]).load("encoder")
    opened = checkpoint.open_checkpoint(source)
    assert workdirs.bits(copied) == workdirs.bits(opened.load("encoder"))
    assert frozen["hash"] == opened.content_hash("encoder")


def cut(source, folder, step):
    """A copy of a finished job as it was when `step` was its newest checkpoint, without logs."""
    shutil.copytree(source, folder)
    for path in (launched.log(folder), *folder.glob("reads-*"), *folder.glob("workdir/logs/*")):
        path.unlink()
    stage = folder / "workdir/ctc"
    for path in (stage / "checkpoints").iterdir():
        if not path.name.isdecimal() or int(path.name) > step:  # 5.damaged: killed while saving
            shutil.rmtree(path)
    (stage / "metrics.jsonl").unlink()  # what stands there later is new, or was saved with `step`
    record = json.loads((stage / "stage.json").read_text())
    (stage / "stage.json").write_text(json.dumps(record | {"state": "running"}))
    return folder


def agrees(source, folder, step):
    """Whether a job that went on from `step` has the losses of its source for 20 steps more."""
    logs = [read(each / "workdir/ctc/metrics.jsonl") for each in (source, folder)]
    assert logs[1][0]["step"] == step
    steps = range(step + 1, step + 21)
    expected, found = ({r["step"]: r["loss"] for r in rows if r["step"] in steps} for rows in logs)
    assert len(set(expected.values())) == 20
    assert found == pytest.approx(expected, rel=1e-5)
    skipped = [faults.rows(each / "workdir/ctc/skipped.jsonl") for each in (source, folder)]
    assert skipped[0] == skipped[1] != []


def test_checkpoints_go_on_in_more_processes_and_in_fewer(one, killed, manifest, tmp_path):
    """Of one in two, of two in four, of four in one."""
    two = cut(one, tmp_path / "one-two", 5)
    wide = "--config.mesh.tensor=2"  # both processes hold all rows
    launched.run(two, 2, 1, *flags(manifest), wide)
    agrees(one, two, 5)

    four = cut(killed, tmp_path / "two-four", 5)
    launched.run(four, 4, 1, *flags(manifest, NOTED))
    agrees(killed, four, 5)
    named(four, 4)
    share(read(one / "reads-0.jsonl")[5:], four, 4)

    back = cut(four, tmp_path / "four-one", 10)  # in the process of the tests, on its eight devices
    graph = tones.graph(manifest, **{k.replace(".", "__"): v for k, v in CHANGES.items()})
    assert run.train(graph, back / "workdir", only="ctc") == 0
    agrees(four, back, 10)
