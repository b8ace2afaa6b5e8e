"""The self-supervised graph from sound to parameters: hand-over, the probe's choice, collapse."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest
import recordings
import tones
import workdirs

from seedasr_jax import checkpoint
from seedasr_jax.errors import ConfigError, DataError, UserError
from seedasr_jax.evaluate import probe, transcribe
from seedasr_jax.launch import evaluate, export, prepare, recipes, run, status
from seedasr_jax.train import graph as graphs
from seedasr_jax.workdir import read_rows as read

RECIPE = str(pathlib.Path(__file__).parent / "ssl_recipe.py")


def graph(manifest, **changes):
    overrides = [(key.replace("__", "."), str(value)) for key, value in changes.items()]
    return recipes.expand(f"{RECIPE}:{manifest}", overrides)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Of tones; beside it the same without text, which is what SSL stages read."""
    path = tones.write(tmp_path_factory.mktemp("data"), 32)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    recordings.manifest(path.with_name("speech.jsonl"), [{"audio": r["audio"]} for r in rows])
    return path


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, manifest):
    """All stages, finished."""
    folder = tmp_path_factory.mktemp("ssl") / "workdir"
    with tones.on_one_device():
        assert run.train(graph(manifest), folder) == 0
    return folder


def record(workdir, name):
    return json.loads((workdir / name / "stage.json").read_text())


def last(workdir, name):
    return read(workdir / name / "metrics.jsonl")[-1]


def test_each_stage_hands_over_to_the_next(workdir):
    found = {
        name: {p: (r["checkpoint"], r.get("part")) for p, r in record(workdir, name)[key].items()}
        for name, key in (("probe", "parents"), ("kmeans", "frozen"), ("ssl2", "frozen"))
    }
    assert found == {
        "probe": {"encoder": ("ssl1@15", None)},
        "kmeans": {"teacher": ("ssl1@15", "encoder")},
        "ssl2": {"teacher": ("ssl1@15", "encoder"), "codebook": ("kmeans@10", None)},
    }
    assert record(workdir, "ssl2")["parents"]["probe"]["checkpoint"] == "probe@15"
    ssl1, ssl2 = (checkpoint.open_checkpoint(workdir / name) for name in ("ssl1", "ssl2"))
    assert set(ssl1.parts()) == {"encoder", "ssl_head", "quantizer"}
    assert set(ssl2.parts()) == {"encoder", "ssl_head", "teacher", "codebook"}
    teacher, encoder = ssl2.load("teacher")["teacher"], ssl1.load("encoder")["encoder"]
    assert workdirs.bits(teacher) == workdirs.bits(encoder)
    assert not [n for n in workdirs.everything(workdir / "ssl2") if n.startswith("params.teacher")]


def test_the_probe_says_which_layer_is_best(workdir, manifest):
    row = last(workdir, "probe")
    rates = [row[f"eval/manifest:tones.jsonl?limit=8#{content(row)}/layers/0{n}"] for n in (1, 2)]
    assert row["best_layer"] == np.argmin(rates) + 1
    assert row["layers/01"] > 0 and row["layers/02"] > 0
    assert probe.best_layer(checkpoint.open_checkpoint(workdir / "probe")) in (1, 2)


def content(row):
    """The hash in the name of the one task."""
    (name,) = {key.split("#")[1].split("/")[0] for key in row if key.startswith("eval/")}
    return name


def test_the_codebook_is_used(workdir):
    codebook = checkpoint.open_checkpoint(workdir / "kmeans").load("codebook")["codebook"]
    assert (codebook["counts"] > 0).mean() > 0.8
    row = last(workdir, "kmeans")
    assert row["used_codes"] > 0.3 and row["perplexity"] > 4
    assert row["loss"] < read(workdir / "kmeans/metrics.jsonl")[0]["loss"]


def test_figures_of_the_labels_are_logged(workdir):
    for name in ("ssl1", "ssl2"):
        row = last(workdir, name)
        keys = {"loss", "accuracy", "majority", "entropy", "perplexity", "used_codes"}
        assert keys < row.keys() and "codes" not in row
        assert 0 < row["majority"] < 1 < row["perplexity"]


@pytest.mark.parametrize("name", ["ssl1", "kmeans"])
@pytest.mark.usefixtures("one_device")
def test_a_stage_that_resumes_ends_in_the_same_bits(workdir, manifest, tmp_path, name, capsys):
    """With a quantizer that was drawn once; with a codebook whose splits are drawn."""
    copied = pathlib.Path(shutil.copytree(workdir, tmp_path / "workdir"))
    done = record(copied, name)
    shutil.rmtree(copied / name / "checkpoints" / str(done["step"]))
    (copied / name / "stage.json").write_text(json.dumps(done | {"state": "running"}))
    assert run.train(graph(manifest), copied, only=name) == 0
    assert f"{name}: resumed at step" in capsys.readouterr().err
    assert workdirs.everything(copied / name) == workdirs.everything(workdir / name)
    assert record(copied, name)["hashes"] == done["hashes"]


def test_a_changed_probe_makes_what_took_its_layer_stale(manifest):
    assert graphs.descendants(graph(manifest), "probe") == ["probe", "kmeans", "ssl2"]
    assert graphs.descendants(graph(manifest), "kmeans") == ["kmeans", "ssl2"]


def test_a_path_keeps_the_part_that_it_names(manifest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = graph(manifest, stages__kmeans__init__teacher="./other/ssl1:encoder")
    found = prepare.anchored(given).stages["kmeans"].init
    assert found["teacher"] == f"{tmp_path}/other/ssl1:encoder"
    assert prepare.anchored(given).stages["ssl2"].init["teacher"] == "ssl1:encoder"


def test_rows_without_text_train_what_reads_none(workdir):
    for name in ("ssl1", "kmeans", "ssl2"):
        assert sum(record(workdir, name)["hours"].values()) > 0
        assert not (workdir / name / "skipped.jsonl").exists()
        (reads,) = (key for key in record(workdir, name)["reads"] if key != "vocabulary")
        assert reads.endswith("speech.jsonl")


def test_rows_without_text_are_refused_by_what_reads_it(workdir, manifest, tmp_path):
    speech = manifest.with_name("speech.jsonl")
    with pytest.raises(DataError, match=r"speech\.jsonl: none of its rows has text.*0 tokens in"):
        run.train(tones.graph(speech), tmp_path / "one", only="ctc")
    known = dict(vocab__path=workdir / "vocab", stages__ctc__eval__tasks=())
    with pytest.raises(DataError, match=r"line 1 \(audio.*no text.*32 of 32 rows.*0 tokens in"):
        run.train(tones.graph(speech, **known), tmp_path / "two", only="ctc")
    known["stages__ctc__data__buckets"] = ((0.8, 0, 8),)
    with pytest.raises(ConfigError, match=r"kind 'ctc' learns from text.*\(0\.8, 0, 8\)"):
        run.train(tones.graph(speech, **known), tmp_path / "three", only="ctc")


def test_a_graph_that_reads_no_text_needs_none(manifest, tmp_path):
    whole = graph(manifest, vocab__kind="bpe", vocab__size=1_000)
    alone = dataclasses.replace(whole, stages={"ssl1": whole.stages["ssl1"]})
    assert 4 < prepare.job(alone, tmp_path).vocab.size < 200  # of the instructions


def test_what_recognises_nothing_says_so(workdir, manifest, tmp_path):
    for name in ("ssl1", "ssl2"):
        with pytest.raises(UserError, match=rf"{name}@.*its parts .*take a stage"):
            transcribe.load(workdir / name)
    with pytest.raises(ConfigError, match=r"ssl2@10.*teacher.*transcribe nothing"):
        evaluate.run(workdir / "ssl2", [f"manifest:{manifest}"])
    with pytest.raises(UserError, match=r"kmeans@10.*\(codebook, teacher\) transcribe nothing"):
        export.bundle(workdir / "kmeans", tmp_path / "bundle")
    assert {row["state"] for row in status.rows(workdir)} == {"finished"}


def test_an_encoder_is_exported_alone(workdir, tmp_path):
    """Neither the head, which pretraining drops, nor the teacher; a stage starts from it."""
    assert "encoder of ssl2@10" in export.bundle(workdir / "ssl2", tmp_path / "bundle")
    bundle = checkpoint.open_checkpoint(tmp_path / "bundle")
    assert bundle.parts() == ("encoder",) and bundle.label.startswith("ssl2@10")
    trained = checkpoint.open_checkpoint(workdir / "ssl2").load("encoder")
    assert workdirs.bits(bundle.load("encoder")) == workdirs.bits(trained)
    assert json.loads((tmp_path / "bundle/parity.json").read_text())["frame_difference"] <= 1e-5
    card = (tmp_path / "bundle/CARD.md").read_text()
    assert "cannot transcribe by itself" in card and "teacher from ssl1@15" in card
    with pytest.raises(UserError, match=r"its parts \(encoder\) transcribe nothing"):
        transcribe.load(tmp_path / "bundle")


def test_kmeans_needs_a_probe_that_scored_layers(workdir, manifest, tmp_path):
    init = dict(teacher=f"{workdir}/ssl1:encoder", codebook="fresh")
    config = graph(manifest)
    tree = run.config.to_dict(config)
    tree["stages"] = {"kmeans": tree["stages"]["kmeans"] | {"init": init}}
    with pytest.raises(ConfigError, match=r"init\.probe is missing"):
        run.train(run.config.build(tree, run.config.Graph), tmp_path / "one")
    init["probe"] = "fresh"
    with pytest.raises(ConfigError, match=r"init\.probe: expected a stage of kind 'probe'"):
        run.train(run.config.build(tree, run.config.Graph), tmp_path / "one")
    init["probe"] = f"{workdir}/ssl1"  # a stage that scored no layers
    with pytest.raises(ConfigError, match=r"init\.probe=ssl1@15.*eval\.tasks"):
        run.train(run.config.build(tree, run.config.Graph), tmp_path / "two")
