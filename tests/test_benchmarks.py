"""The benchmark of the training step: rows with the keys that other programs read."""

import importlib.metadata
import json
import os
import subprocess
import sys

import benchmark
import pytest

WITHOUT_TENSORFLOW = """
import runpy, sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "seqio"):
            raise ImportError(f"{name} is not installed")
sys.meta_path.insert(0, Refused())
runpy.run_module("our_step", run_name="__main__", alter_sys=False)
"""


def test_rows_without_a_peer():
    rows = benchmark.measure("--peer=none", "--train=all")
    assert all(row[key] is None for row in rows.values() for key in ("peer", "peer_value", "ratio"))
    step, speed, mfu, memory = (rows[name] for name in benchmark.NAMES)
    assert step["unit"] == "s" and len(step["raw"]["ours"]) == 2
    assert step["value"] == pytest.approx(sum(step["raw"]["ours"]) / 2)
    assert speed["value"] == pytest.approx(2 * 1.0 / step["value"])  # two utterances of a second
    achieved = mfu["raw"]["flops"] / step["value"]
    assert mfu["value"] == pytest.approx(achieved / mfu["raw"]["peak_flops"])
    assert 0 < mfu["value"] < 1
    assert 0.1 < memory["value"] < 8
    assert step["device"] == "cpu"
    assert step["versions"]["jax"] == importlib.metadata.version("jax")


def test_a_size_for_gpus_has_no_peer():
    _, error = benchmark.run("--size=600m_1.7b", status=2)
    assert "--peer=none" in error


def test_a_process_that_fails_ends_the_benchmark(monkeypatch):
    monkeypatch.syspath_prepend(benchmark.BENCHMARKS)
    import turns

    with pytest.raises(RuntimeError, match="our_step nothing: the process ended with 1"):
        turns.Worker("our_step", "nothing")


def test_our_side_needs_no_tensorflow_and_compiles_its_step_once():
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, "tiny", "speech"]
    environment = os.environ | benchmark.QUICKLY | {"JAX_LOG_COMPILES": "1"}
    options = dict(cwd=benchmark.BENCHMARKS, env=environment, text=True)
    done = subprocess.run(command, input="2\n", check=True, capture_output=True, **options)
    facts, answer = map(json.loads, done.stdout.splitlines())
    assert facts["trained"] < facts["parameters"] and len(answer["losses"]) == 2
    assert done.stderr.count("Finished XLA compilation of jit(train_step)") == 1


def test_unequal_peers_and_losses_that_rise_are_refused(monkeypatch):
    monkeypatch.syspath_prepend(benchmark.BENCHMARKS)
    import train_step

    ours = dict(parameters=1000, trained=500)
    train_step.check_counts(ours, dict(parameters=1019, trained=491))
    with pytest.raises(ValueError, match="trained: expected"):
        train_step.check_counts(ours, dict(parameters=1000, trained=489))
    train_step.check_learning("ours", [2.0, 2.1, 1.9])
    with pytest.raises(ValueError, match="expected a falling loss"):
        train_step.check_learning("ours", [2.0, 2.0])
