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
    one, *others = (folder / "workdir" / kind for folder in every.values())
    state, rows = workdirs.everything(one), faults.rows(one / "metrics.jsonl")
    assert any(name.startswith("params.") for name in state)
    assert [row["step"] for row in rows] == [1, 2, 3]
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
    assert len(whole) == len(KINDS) * 3
    assert all(len(set(row["ids"])) == 8 for row in whole[::3])  # a first batch: no row twice
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


# A stage in one number of processes, from whose checkpoints others go on.

STEPS, CUT = 25, 5
CHANGES = {
    "run.log_every": 1,
    "run.save_every": CUT,
    "run.keep": 10,
    "run.tensorboard": False,
    "stages.ctc.steps": STEPS,
    "stages.ctc.optim.lr": 1e-3,
    "stages.ctc.eval.every": 0,
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


def train(folder, processes, manifest, *more):
    """In so many processes of one device; alone in that of the tests, on its eight."""
    if processes > 1:
        launched.run(folder, processes, 1, *flags(manifest), *more)
        return
    graph = tones.graph(manifest, **{k.replace(".", "__"): v for k, v in CHANGES.items()})
    assert run.train(graph, folder / "workdir", only="ctc") == 0


@pytest.fixture(scope="module")
def two(manifest, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    train(folder, 2, manifest)
    return folder


def cut(source, folder):
    """A copy of a finished job as it was when CUT was its newest checkpoint."""
    shutil.copytree(source, folder)
    stage = folder / "workdir/ctc"
    for path in (stage / "checkpoints").iterdir():
        if int(path.name) > CUT:
            shutil.rmtree(path)
    (stage / "metrics.jsonl").unlink()  # what stands there later is new
    record = json.loads((stage / "stage.json").read_text())
    (stage / "stage.json").write_text(json.dumps(record | {"state": "running"}))


def losses(folder):
    """{step: loss} of the 20 steps from CUT on."""
    rows = read(folder / "workdir/ctc/metrics.jsonl")
    return {row["step"]: row["loss"] for row in rows if row["step"] > CUT}


def test_checkpoints_go_on_in_any_number_of_processes(two, manifest, tmp_path):
    one, four = tmp_path / "1", tmp_path / "4"
    train(one, 1, manifest)
    train(four, 4, manifest)
    saved = {1: one, 2: two, 4: four}
    wide = ["--config.mesh.tensor=2"]  # both processes hold all rows
    for before, after, more in ((4, 1, []), (4, 2, wide), (1, 4, []), (2, 4, [])):
        folder = tmp_path / f"{before}-{after}"
        cut(saved[before], folder)
        train(folder, after, manifest, *more)
        assert read(folder / "workdir/ctc/metrics.jsonl")[0]["step"] == CUT + 1
        expected = losses(saved[before])
        assert len(set(expected.values())) == 20
        assert losses(folder) == pytest.approx(expected, rel=1e-5), (before, after)
        skipped = [faults.rows(f / "workdir/ctc/skipped.jsonl") for f in (saved[before], folder)]
        assert skipped[0] == skipped[1] != []


def test_a_killed_process_ends_the_job_and_the_same_command_goes_on(two, manifest, tmp_path):
    def pids():
        return [pid for _, _, pid in launched.members(launched.log(tmp_path))]

    paced = [*flags(manifest), "--config.imports=('paced',)"]  # time to strike in
    job = launched.start(tmp_path, 2, 1, *paced)
    launched.says(tmp_path, f"ctc 7/{STEPS}")
    job.kill()  # it can tell nobody
    job.wait()
    launched.until(lambda: all(map(launched.gone, pids())), tmp_path)

    job = launched.start(tmp_path, 2, 1, "--restart=1", *paced)
    launched.says(tmp_path, f"ctc 12/{STEPS}")
    assert len(pids()) == 4
    os.kill(pids()[3], signal.SIGKILL)
    launched.says(tmp_path, "process 1 ended with -9")
    assert job.wait() == 0, launched.log(tmp_path).read_text()
    assert len(pids()) == 6  # started again, once
    assert all(map(launched.gone, pids()))
    one, other = (folder / "workdir/ctc" for folder in (two, tmp_path))
    assert workdirs.everything(one) == workdirs.everything(other)
    for name in ("metrics.jsonl", "skipped.jsonl"):
        assert faults.rows(one / name) == faults.rows(other / name)
