"""What the quickstart joins, with everything that takes long stood in for: seconds, not minutes."""

import dataclasses
import functools
import json
import types

import pytest
import recordings

from seedasr_jax.data_pipelines import sources
from seedasr_jax.decode import recogniser as recognisers
from seedasr_jax.evaluate import cells, transcribe
from seedasr_jax.evaluate import score as scores
from seedasr_jax.launch import evaluate, export, recipes, run
from seedasr_jax.launch.quickstart import run as quickstart
from seedasr_jax.text.conventions import Convention, Conventions

NAMES = ("ann", "bob", "eve", "joe", "kim", "lea")
SETTING = scores.Setting("greedy", Conventions(Convention("basic@2", "mixed")))


def manifests(folder):
    """split -> a manifest in two languages; the splits of names call someone."""
    made = {}
    for split in ("train", "dev", "test", "homophones", "unseen_names"):
        rows = recordings.rows(12)
        for number, row in enumerate(rows):
            row |= {"lang": ("en", "es")[number % 2], "dialect": ("en-US", "es-MX")[number % 2]}
            row |= {"text": f"{split} word{number}"}
            if split in ("train", "homophones", "unseen_names"):
                name = NAMES[number // 2]
                row |= {
                    "text": f"call {name} {split}",
                    "keywords": [name],
                    "siblings": [f"{name}e"],
                }
        (folder / split).mkdir(parents=True)
        made[split] = recordings.write(folder / split, rows)
    return made


@pytest.fixture
def stood_in(tmp_path, monkeypatch):
    """Corpus, training, decoding and export stood in for; the SPECs that were scored, as asked."""
    made, asked = manifests(tmp_path / "corpus"), []
    monkeypatch.setattr(sources, "synthesised", lambda name, folder: made)

    def train(graph, out):
        for name, stage in graph.stages.items():
            (out / name).mkdir(parents=True, exist_ok=True)
            spent = {"seconds": 2.0, "cpu_seconds": 3.0}
            parents = {part: {"checkpoint": f"{s}@1"} for part, s in stage.init.items()}
            record = {"spent": spent, "parents": parents, "recipe": {"kind": name}}
            (out / name / "stage.json").write_text(json.dumps(record))
            row = {"loss": 1.0, "risk": 0.2} if name == "rl" else {"loss": 1.0}
            if name == "probe":
                row |= {"best_layer": 1.0, "eval/t/layers/01": 5.0, "eval/t/layers/02": 6.0}
            lines = (json.dumps({"step": step} | row) + "\n" for step in (1, 2))
            (out / name / "metrics.jsonl").write_text("".join(lines))

    class Says:
        """Knows what was said; writes the first of a list in the place of the second word.

        CTC, which reads no list, recognises no name to its end.
        """

        def decode(self, batch, method):
            return [recognisers.Hypothesis(self.transcript(row, method), (), ()) for row in batch]

        def transcript(self, row, method):
            if method == "ctc":
                return functools.reduce(
                    lambda t, name: t.replace(name, name[:-1]), row.keywords, row.text
                )
            first, _, *rest = row.text.split()
            return " ".join([first, row.context.split(", ")[0], *rest]) if row.context else row.text

    def score(checkpoint, tasks, *, decode, out, cache, buckets, kept):
        rows, transcripts = [], []
        for task in tasks:
            asked.append((checkpoint.name, decode, task))
            source = sources.open_source(task, cache)
            examples = list(source.rows())
            if decode == "ctc":
                examples = [
                    dataclasses.replace(row, context="", context_unread=row.context)
                    for row in examples
                ]
            batches = [(examples, examples)]
            row, utterances = scores.evaluate(
                Says(), checkpoint.name, source.name, batches, SETTING
            )
            rows.append(row)
            transcripts.append(utterances)
        cells.write(out, rows, transcripts)

    class Loaded:
        def transcribe_files(self, paths):
            return [types.SimpleNamespace(text=path.name) for path in paths]

    monkeypatch.setattr(run, "train", train)
    monkeypatch.setattr(evaluate, "run", score)
    monkeypatch.setattr(export, "bundle", lambda checkpoint, out: "a bundle")
    monkeypatch.setattr(transcribe, "load", lambda path: Loaded())
    return asked


def test_the_summary_holds_what_others_read(stood_in, tmp_path, capsys):
    out = tmp_path / "out"
    assert quickstart.run_all(out, recipe="commands", install_seconds=7.0) == 0
    assert len(set(stood_in)) == len(stood_in) == 7 + 3 * 11  # ctc, and those that read lists
    made = json.loads((out / "summary.json").read_text())
    graph = recipes.expand("commands", [])
    assert list(made["stages"]) == list(graph.stages)
    for name, stage in made["stages"].items():
        assert stage["steps"] == graph.stages[name].steps and stage["parent"]
    last = made["stages"]["rl"]
    assert last["error_rate"]["by_language"] == {"en": 0.0, "es": 0.0}
    assert last["error_rate"]["by_dialect"].keys() == {"en-US", "es-MX"}
    assert last["utterances"]["all"] == 12 and last["paired"]["test"]["difference"] == 0.0
    assert last["keyword_recall_after"] == last["context"]["right_3"]["recall"]
    assert last["expected_errors"] == [[1, 0.2], [2, 0.2]]
    contexts = made["stages"]["context_sft"]["context"]
    assert made["stages"]["sft"]["context"].keys() == contexts.keys() - {"matcher"}
    assert contexts["none"]["recall"] == 100.0 and contexts["wrong"]["recall"] < 100.0
    assert contexts["distractors_3"]["false_insertions"] == 100.0  # names of another split
    assert contexts["pruning"]["off"]["false_insertions"] == 100.0
    assert contexts["matcher"]["right_3"]["by_language"].keys() == {"en", "es"}
    assert contexts["matcher"]["right_3"]["recall"] > 0  # without its list, none would be whole
    assert made["stages"]["probe"]["best_layer"] == 1
    assert made["data"]["languages"]["es"]["utterances"] == 12
    assert made["totals"]["install_seconds"] == 7.0 and made["totals"]["peak_rss_gib"] > 0
    assert made["transcript"]["hypothesis"].endswith(".wav")
    page = (out / "report.html").read_text()
    assert page.count("<audio") == 4 and page.count("<table") == 8
    assert "error rate %" in capsys.readouterr().out


def test_a_shorter_graph_leaves_out_what_it_has_not(stood_in, tmp_path):
    assert quickstart.run_all(tmp_path / "out", recipe="digits", limit=5) == 0
    queries = ("split=test", "split=test&join=3-6&seed=0")
    assert stood_in == [
        (name, "", f"synth:digits?{query}&limit=5") for name in ("ctc", "sft") for query in queries
    ]
    made = json.loads((tmp_path / "out/summary.json").read_text())
    assert list(made["stages"]) == ["lm", "ctc", "sft"]
    assert made["stages"]["sft"]["utterances"]["all"] == 5
    assert "context" not in made["stages"]["sft"]
