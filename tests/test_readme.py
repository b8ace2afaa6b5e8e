"""Every command of the README, run as it stands there, in a process of its own: --full."""

import json
import pathlib
import re
import shlex

import faults
import numpy as np
import pytest

from seedasr_jax.audio import files
from seedasr_jax.data_pipelines.synth.digits import DIGITS

ROOT = pathlib.Path(__file__).resolve().parent.parent
# A training is cut short, of a small model in one shape; everything else runs as written.
FEW = ["--config.scale_steps=0.005", "--config.eval.tokens=4", "--config.run.cache=cache"]
FEW += ["--config.model.encoder.layers=1", "--config.model.decoder.layers=1"]
FEW += ["--config.imports=('small_corpora',)", "--config.stages.ctc.eval.tasks=()"]
FEW += [f"--config.stages.{name}.data.buckets=((5.6,8,8),)" for name in ("ctc", "sft")]
FEW += ["--config.stages.sft.eval.tasks=('manifest:train.jsonl?part=dev',)"]
SHORT = {"train": FEW, "launch": [*FEW, "--stage=lm"]}


def commands(planned=False):
    """The `seedasr` lines of the README's blocks, in order: plans, or all others.

    Plans need the TPU compiler: test_tpu.py runs them.
    """
    blocks = re.findall(r"^```\w*\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    lines = [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [
        line
        for line in lines
        if line.startswith("seedasr ") and line.startswith("seedasr plan") == planned
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as the README has it: train.jsonl, test.jsonl, one.wav, two.flac."""
    where = tmp_path_factory.mktemp("readme")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(240):
        word = number % 10
        time = np.arange(round(files.RATE * rng.uniform(0.25, 0.4))) / files.RATE
        wave = 8000 * np.sin(2 * np.pi * (200 + 150 * word) * time) + rng.normal(0, 300, time.size)
        files.write(where / f"{number}.wav", wave.astype(np.int16), files.RATE)
        rows.append(
            {
                "id": f"u{number}",
                "audio": f"{number}.wav",
                "duration": time.size / files.RATE,
                "text": DIGITS[word],
                "speaker": "ann",
            }
        )
    for name, chosen in (("train", rows[:200]), ("test", rows[200:])):
        lines = "".join(json.dumps(row) + "\n" for row in chosen)
        (where / f"{name}.jsonl").write_text(lines)
    for name in ("one.wav", "two.flac"):
        files.write(where / name, files.read(where / "7.wav"), files.RATE)
    return where


def test_every_command_runs(folder):
    found = commands()
    assert len(found) >= 10
    for number, line in enumerate(found):
        words, log = shlex.split(line)[1:], folder / f"log-{number}"
        command = [*words, *SHORT.get(words[0], [])]
        process = faults.start(faults.command_in, folder, *command, log=log)
        process.join()
        assert process.exitcode == 0, f"{line}\n{log.read_text()[-2000:]}"


def test_make_targets_exist():
    text, rules = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    named = set(re.findall(r"\bmake ([a-z-]+)", text))
    assert {"quickstart", "test"} <= named
    for target in named:
        assert re.search(rf"^{target}:", rules, re.M), target
