"""One training in one, two and four processes: the same bits, the same files. Minutes: --processes.

N processes x D devices, over which every stage's mesh lies.
"""

import json
import os
import pathlib
import shutil
import signal

import faults
import launched
import pytest
import recordings
import tones
import workdirs

from seedasr_jax import checkpoint
from seedasr_jax.launch import run
from seedasr_jax.train.metrics import read

EVERY = pathlib.Path(__file__).parent / "every_kind_recipe.py"
LAYOUTS = ((1, 8), (2, 4), (4, 2))
KINDS = {"ssl1", "probe", "kmeans", "ssl2", "ctc", "lm", "sft", "context_sft", "rl"}


@pytest.fixture(scope="module")
def every(tmp_path_factory):
    """{N: folder} of a stage of every kind on 8 devices of N processes."""
    folder = tmp_path_factory.mktemp("every")
    manifest = tones.write(folder / "data", 40)
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    recordings.manifest(manifest, [r | {"keywords": r["text"].split()[:1]} for r in rows])
    recordings.manifest(manifest.with_name("speech.jsonl"), [{"audio": r["audio"]} for r in rows])
    for processes, devices in LAYOUTS:
        flags = [f"--config={EVERY}:{manifest}", "--workdir=workdir"]
        launched.run(folder / str(processes), processes, devices, *flags)
    return {processes: folder / str(processes) for processes, _ in LAYOUTS}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_parameters_are_the_same_bits_on_any_processes(every, kind):
    one, *others = (folder / "workdir" / kind for folder in every.values())
    state, rows = workdirs.everything(one), faults.rows(one / "metrics.jsonl")
    assert any(name.startswith("params.") for name in state)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    for other in others:
        assert workdirs.everything(other) == state
        assert faults.rows(other / "metrics.jsonl") == rows
        assert checkpoint.read(other).hashes == checkpoint.read(one).hashes
        assert checkpoint.read(other).parents == checkpoint.read(one).parents


def test_stages_are_of_every_kind(every):
    stages = json.loads((every[1] / "workdir/config.json").read_text())["stages"]
    assert {stage["kind"] for stage in stages.values()} == KINDS


def test_each_utterance_is_read_once(every):
    whole = read(every[1] / "reads-0.jsonl")
    assert len(whole) == len(KINDS) * 4
    for processes, _ in LAYOUTS[1:]:
        parts = [read(every[processes] / f"reads-{n}.jsonl") for n in range(processes)]
        assert {len(part) for part in parts} == {len(whole)}
        for row, *shares in zip(whole, *parts):
            assert [len(share["ids"]) for share in shares] == [8 // processes] * processes
            for key in ("places", "ids"):
                assert [one for share in shares for one in share[key]] == row[key]


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_the_log_names_every_process(every, processes):
    members = launched.members(launched.log(every[processes]))
    assert [member[:2] for member in members] == [(n, processes) for n in range(processes)]
    assert len({pid for _, _, pid in members}) == processes
    for index in range(processes):
        log = every[processes] / f"workdir/logs/process-{index}.log"
        assert launched.members(log) == members


# A stage on 2 processes of one device each, from which others go on.

STEPS = 30
CHANGES = {
    "run.log_every": 1,
    "run.save_every": 5,
    "run.keep": 10,
    "stages.ctc.steps": STEPS,
    "stages.ctc.optim.lr": 1e-3,
    "stages.ctc.eval.every": STEPS,
}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Of tones; one recording is missing."""
    folder = tmp_path_factory.mktemp("data")
    path = tones.write(folder, 40)
    (folder / "audio-0/t033.wav").unlink()
    return path


def flags(manifest):
    changes = [f"--config.{key}={value}" for key, value in CHANGES.items()]
    config = f"--config={tones.RECIPE}:{manifest}"
    return [config, "--stage=ctc", "--workdir=workdir", *changes]


@pytest.fixture(scope="module")
def two(manifest, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    launched.run(folder, 2, 1, *flags(manifest))
    return folder


def here(manifest, folder):
    """The same in the process of the tests, on its eight devices."""
    graph = tones.graph(manifest, **{k.replace(".", "__"): v for k, v in CHANGES.items()})
    assert run.train(graph, folder / "workdir", only="ctc") == 0


def cut(source, folder, step):
    """A copy of a finished job as it was when `step` was its newest checkpoint."""
    shutil.copytree(source, folder)
    stage = folder / "workdir/ctc"
    for path in (stage / "checkpoints").iterdir():
        if int(path.name) > step:
            shutil.rmtree(path)
    record = json.loads((stage / "stage.json").read_text())
    (stage / "stage.json").write_text(json.dumps(record | {"state": "running"}))
    return folder


def losses(folder, step):
    """Of the 20 steps from there on."""
    rows = read(folder / "workdir/ctc/metrics.jsonl")
    return [row["loss"] for row in rows if step < row["step"] <= step + 20]


def goes_on(one, other, step):
    expected = losses(one, step)
    assert len(set(expected)) == 20
    assert losses(other, step) == pytest.approx(expected, rel=1e-5)
    skipped = [faults.rows(f / "workdir/ctc/skipped.jsonl") for f in (one, other)]
    assert skipped[0] == skipped[1] != []


def test_saved_by_one_and_two_processes_restored_by_four_and_back(two, manifest, tmp_path):
    four = cut(two, tmp_path / "four", 5)
    launched.run(four, 4, 2, *flags(manifest))
    goes_on(two, four, 5)
    assert "ctc: resumed at step 5" in launched.log(four).read_text()

    back = cut(four, tmp_path / "back", 10)
    launched.run(back, 2, 1, *flags(manifest))
    goes_on(four, back, 10)

    one = cut(four, tmp_path / "one", 10)
    here(manifest, one)
    goes_on(four, one, 10)

    fresh = tmp_path / "fresh"
    here(manifest, fresh)
    again = cut(fresh, tmp_path / "again", 5)
    launched.run(again, 4, 2, *flags(manifest))
    goes_on(fresh, again, 5)


def test_a_killed_process_ends_the_job_and_the_same_command_goes_on(two, manifest, tmp_path):
    def pids():
        return [pid for _, _, pid in launched.members(launched.log(tmp_path))]

    job = launched.start(tmp_path, 2, 1, *flags(manifest))
    launched.says(tmp_path, f"ctc 7/{STEPS}")
    job.kill()  # it can tell nobody
    job.wait()
    launched.until(lambda: all(map(launched.gone, pids())), tmp_path)

    job = launched.start(tmp_path, 2, 1, "--restart=1", *flags(manifest))
    launched.says(tmp_path, f"ctc 12/{STEPS}")
    assert len(pids()) == 4
    os.kill(pids()[3], signal.SIGKILL)
    launched.says(tmp_path, "starting again")
    assert all(map(launched.gone, pids()[:4]))
    launched.until(lambda: len(pids()) == 6, tmp_path)
    launched.says(tmp_path, "process 1 ended with -9")
    os.kill(pids()[4], signal.SIGKILL)
    assert job.wait(60) == 1  # one restart was allowed
    assert all(map(launched.gone, pids()))

    launched.run(tmp_path, 2, 1, *flags(manifest))
    one, other = (folder / "workdir/ctc" for folder in (two, tmp_path))
    assert workdirs.everything(one) == workdirs.everything(other)
    for name in ("metrics.jsonl", "skipped.jsonl"):
        assert faults.rows(one / name) == faults.rows(other / name)
