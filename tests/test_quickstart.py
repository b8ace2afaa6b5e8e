"""The quickstart through every stage, a few steps of each, from nothing to its page: --full.

test_whole_quickstart.py has the same at full length, where it has to learn.
"""

import json
import os

import faults
import pytest
import short_quickstart

from seedasr_jax.data_pipelines.synth import commands

TAGS = ["en", "es", "pt", "zh", "yue"]
STAGES = ["ssl1", "probe", "kmeans", "ssl2", "ctc", "lm", "sft", "context_sft", "rl"]
LIMIT = 8  # utterances of each test
DEV = "('synth:commands?split=dev&limit=8',)"
SHORT = [  # few steps, few layers, few shapes, few tokens of a decoder that has not learnt to stop
    ("imports", "('small_corpora',)"),
    ("scale_steps", "0.02"),
    ("stages.ctc.steps", "300"),
    ("stages.lm.steps", "300"),
    ("stages.ctc.data.buckets", "((5.6, 20, 8),)"),
    ("stages.lm.data.buckets", "((0.0, 20, 8),)"),
    ("stages.ctc.eval.every", "0"),
    *((f"stages.{stage}.eval.tasks", DEV) for stage in ("probe", "ctc", "sft")),
    ("run.log_every", "1"),
    ("model.encoder.layers", "2"),
    ("model.decoder.layers", "1"),
    ("eval.tokens", "4"),
]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """The folder of one quickstart."""
    folder = tmp_path_factory.mktemp("quickstart") / "out"
    run(folder)
    return folder


def run(folder, **options):
    options = dict(overrides=SHORT, limit=LIMIT, install_seconds=30) | options
    log = folder.parent / "log"
    process = faults.start(short_quickstart.run, folder, options, log=log)
    process.join()
    assert process.exitcode == 0, log.read_text()


@pytest.fixture(scope="module")
def summary(out):
    return json.loads((out / "summary.json").read_text())


def test_every_stage_says_what_it_was(summary):
    stages = summary["stages"]
    assert sorted(stages) == sorted(STAGES)
    for stage in stages.values():
        assert stage["steps"] > 0 and stage["seconds"] > 0 and stage["cpu_seconds"] > 0
    assert stages["context_sft"]["parent"]["decoder"].startswith("sft@")
    assert stages["probe"]["layers"][str(stages["probe"]["best_layer"])] == min(
        stages["probe"]["layers"].values()
    )
    rl = stages["rl"]
    assert rl["expected_errors"] and "test" in rl["paired"]
    recalls = [stages[name]["context"]["right_3"]["recall"] for name in ("context_sft", "rl")]
    assert [rl["keyword_recall_before"], rl["keyword_recall_after"]] == recalls
    assert stages["context_sft"]["context"]["matcher"]["right_3"]["recall"] >= 0


@pytest.mark.parametrize("stage", ["sft", "context_sft", "rl"])
def test_every_list_of_names_is_scored(summary, stage):
    contexts = summary["stages"][stage]["context"]
    for kind in ("none", "right_3", "distractors_3", "wrong"):
        assert {"recall", "error_rate", "by_language"} <= contexts[kind].keys()
        assert set(contexts[kind]["by_language"]) <= set(TAGS)
    assert all("false_insertions" in contexts["pruning"][switch] for switch in ("on", "off"))


def test_the_corpus_is_as_long_as_it_is_meant_to_be(summary):
    """test_commands.py has the rest of what it is meant to be."""
    assert summary["data"]["hours"] >= commands.HOURS / 10  # small_corpora.py
    assert list(summary["data"]["languages"]) == TAGS


def test_lists_are_read_as_the_recipe_says(out):
    for stage in ("sft", "context_sft", "rl"):
        rows = (out / stage / "eval/own/results.jsonl").read_text().splitlines()
        assert {json.loads(row)["decode"] for row in rows} == {"beam4,alpha=6,prune=off"}


def test_totals_and_transcript(summary, out):
    totals = summary["totals"]
    assert totals["install_seconds"] == 30
    assert totals["seconds"] > 0.9 * sum(stage["seconds"] for stage in summary["stages"].values())
    said = summary["transcript"]
    assert os.path.exists(said["audio"]) and said["reference"] and "hypothesis" in said
    page = (out / "report.html").read_text()
    samples = (out / "samples.jsonl").read_text().splitlines()
    assert page.count("<audio") == len(samples) > 0 and "http" not in page


def test_the_same_command_again_changes_nothing(out, summary):
    def results():
        return {path: path.read_bytes() for path in out.glob("*/eval/*/results.jsonl")}

    before = results()
    assert len(before) >= 6
    run(out)
    assert results() == before
    again = json.loads((out / "summary.json").read_text())
    assert again["stages"] == summary["stages"] and again["data"] == summary["data"]


def test_a_graph_of_fewer_stages(tmp_path):
    short = [
        ("imports", "('small_corpora',)"),
        ("scale_steps", "0.004"),
        ("eval.tokens", "4"),
    ]
    short += [(f"model.{part}.layers", "1") for part in ("encoder", "decoder")]
    short += [(f"stages.{stage}.eval.tasks", "()") for stage in ("ctc", "sft")]
    short += [(f"stages.{stage}.data.buckets", "((5.6, 8, 8),)") for stage in ("ctc", "sft")]
    run(tmp_path / "out", recipe="digits", overrides=short)
    made = json.loads((tmp_path / "out/summary.json").read_text())
    assert list(made["stages"]) == ["lm", "ctc", "sft"]
