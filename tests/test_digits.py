"""The recipe `digits` at full length: strings of words by unseen voices. Minutes: --digits."""

import json
import os
import subprocess
import sys

import pytest

from seedasr_jax.launch import evaluate
from seedasr_jax.launch.quickstart import plans
from seedasr_jax.launch.quickstart import run as quickstart

RUN = """
import pathlib, sys
from seedasr_jax.launch.quickstart import run as quickstart
sys.exit(quickstart.run_all(pathlib.Path(sys.argv[1]), recipe="digits"))
"""


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """The folder of one run: trained, scored, exported."""
    folder = tmp_path_factory.mktemp("digits") / "out"
    # As a user has it: without the flags of the tests.
    clean = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_PLATFORMS")}
    subprocess.run([sys.executable, "-c", RUN, folder], check=True, env=clean)
    return folder


def test_error_rates_on_unseen_voices(out):
    summary = json.loads((out / "summary.json").read_text())
    for test in ("test", "strings"):
        rates = {
            name: json.loads((out / name / "eval/own/results.jsonl").read_text().splitlines()[line])
            for name in ("ctc", "sft")
            for line, found in enumerate(plans.PLANS["digits"])
            if found[0] == test
        }
        ctc, llm = (rates[name]["error_rate"] for name in ("ctc", "sft"))
        assert llm <= 5.0, rates
        assert llm <= max(1.2 * ctc, ctc + 0.5), rates
        assert rates["sft"]["utterances"] >= 200
    assert summary["stages"]["sft"]["error_rate"]["all"] <= 5.0
    assert summary["transcript"]["hypothesis"]
    assert summary["totals"]["peak_rss_gib"] < 8
    page = (out / "report.html").read_text()
    assert page.count("<svg") == 3 and page.count("<audio") == 2 and "http" not in page


@pytest.mark.parametrize("stage", ["ctc", "sft"])
def test_a_batch_of_n_decodes_as_n_batches_of_one_in_any_bucket(out, stage, tmp_path):
    def transcripts(buckets, name):
        folder = tmp_path / name
        evaluate.run(
            out / stage,
            ["synth:digits?split=test&join=3-6&seed=0"],
            out=folder,
            cache=out / "cache",
            buckets=buckets,
        )
        lines = (folder / "transcripts.jsonl").read_text().splitlines()
        return {row["id"]: row["hypothesis"] for row in map(json.loads, lines)}

    together = transcripts((), "together")
    alone = transcripts(((5.0, 10, 1),), "alone")
    longer = transcripts(((9.3, 10, 7),), "longer")
    assert len(together) >= 200
    assert together == alone == longer


def test_the_same_command_again_changes_nothing(out, capsys):
    def results():
        return {path: path.read_bytes() for path in out.glob("*/eval/*/results.jsonl")}

    before = results()
    assert len(before) >= 2
    assert quickstart.run_all(out, recipe="digits") == 0
    assert results() == before
