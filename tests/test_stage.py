"""A stage from sound to parameters: what it learns, records, refers to and leaves out."""

import json

import numpy as np
import pytest
import recordings
from refusals import refusal
import tones
import workdirs

from seedasr_jax import checkpoint
from seedasr_jax.audio import files
from seedasr_jax.errors import DataError
from seedasr_jax.launch import run
from seedasr_jax.workdir import read_rows as read


def record(workdir, name):
    return json.loads((workdir / name / "stage.json").read_text())


# What a finished graph holds.


@pytest.mark.parametrize("name", ["lm", "ctc", "sft"])
def test_the_loss_falls(trained, name):
    losses = [row["loss"] for row in read(trained.workdir / name / "metrics.jsonl")]
    assert losses[-1] < losses[0] / 1.5
    assert all(np.isfinite(losses))


def test_the_words_are_learned(trained):
    last = read(trained.workdir / "ctc/metrics.jsonl")[-1]
    ((key, rate),) = [(k, v) for k, v in last.items() if k.startswith("eval/")]
    assert key.startswith("eval/manifest:tones.jsonl?limit=8#")
    assert rate < 20.0


def test_a_stage_says_what_it_came_from(trained):
    found = record(trained.workdir, "sft")
    assert found["state"] == "finished"
    assert found["step"] == found["position"] == 60
    assert {p: r["checkpoint"] for p, r in found["parents"].items()} == {
        "encoder": "ctc@40",
        "ctc_head": "ctc@40",
        "decoder": "lm@60",
    }
    assert found["frozen"] == {"decoder": found["parents"]["decoder"]}
    assert found["parents"]["decoder"]["hash"] == record(trained.workdir, "lm")["hashes"]["decoder"]
    (hours,) = found["hours"].values()
    seconds = [
        row["duration"] for row in map(json.loads, trained.manifest.read_text().splitlines())
    ]
    assert hours == pytest.approx(60 * 8 * np.mean(seconds) / 3600, rel=0.1)
    assert record(trained.workdir, "lm")["hours"] == {next(iter(found["hours"])): 0.0}
    assert set(found["spent"]) == {"seconds", "cpu_seconds", "chip_seconds"}


def test_a_frozen_part_is_referred_to_and_not_copied(trained):
    sft = checkpoint.open_checkpoint(trained.workdir / "sft")
    saved = workdirs.everything(trained.workdir / "sft")
    assert not [name for name in saved if name.startswith("params.decoder")]
    lm = checkpoint.open_checkpoint(trained.workdir / "lm")
    assert workdirs.bits(sft.load("decoder")) == workdirs.bits(lm.load("decoder"))


def test_tensorboard_events_stand_beside_the_metrics(trained):
    for name in ("lm", "ctc", "sft"):
        (path,) = (trained.workdir / name).glob("events.out.tfevents.*")
        assert path.stat().st_size > 1_000


# Bad data.


def rows_with_faults(folder):
    """32 good rows, and one of each fault."""
    manifest = tones.write(folder, 32)
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    for number, fault in enumerate(("missing", "unreadable", "short", "silent", "long", "wordy")):
        rows.append(rows[number] | {"id": fault, "audio": f"audio-0/{fault}.wav"})
        files.write(folder / rows[-1]["audio"], tones.wave("low mid"), files.RATE)
    missing, unreadable, short, silent, long, wordy = rows[-6:]
    (folder / missing["audio"]).unlink()
    (folder / unreadable["audio"]).write_bytes(b"RIFF, but no sound")
    short["duration"], short["text"] = 0.7, "low mid"
    silent["text"] = ""
    long["duration"] = 5.0
    wordy["text"] = "low mid " * 4
    return recordings.manifest(manifest, rows)


def ctc(manifest, fraction, **changes):
    changes = dict(stages__ctc__steps=6, stages__ctc__eval__tasks="()") | tones.LINEAR | changes
    return tones.graph(manifest, stages__ctc__data__max_bad_fraction=fraction, **changes)


@pytest.mark.usefixtures("one_device")
def test_bad_rows_weigh_nothing_and_are_listed(tmp_path, capsys):
    manifest = rows_with_faults(tmp_path / "data")
    dev = [row | {"text": "low zeppelin"} for row in read(manifest)[:2]]
    dev = recordings.manifest(tmp_path / "data/dev.jsonl", dev)
    workdir = tmp_path / "workdir"
    graph = ctc(manifest, 0.5, stages__ctc__eval__tasks=f"('manifest:{dev}',)")
    assert run.train(graph, workdir, only="ctc") == 0
    skipped = read(workdir / "ctc/skipped.jsonl")
    reasons = {row["id"]: row["reason"] for row in skipped}
    assert reasons == {
        "missing": "missing audio",
        "unreadable": "unreadable audio",
        "short": "unreadable audio",
        "silent": "no text",
    }
    assert all(row["detail"] for row in skipped)
    said = capsys.readouterr().err
    assert "1 utterances are excluded: longer than 0.8 s" in said
    assert "1 utterances are excluded: more than 4 tokens" in said
    assert "2 references have words that are not in the tokenizer's vocabulary" in said


@pytest.mark.usefixtures("one_device")
def test_too_many_bad_rows_end_the_job(tmp_path):
    manifest = rows_with_faults(tmp_path / "data")
    rows = [r for r in map(json.loads, manifest.read_text().splitlines()) if r["text"]][-8:]
    recordings.manifest(manifest, rows)
    text = refusal(DataError, ctc(manifest, 0.0), tmp_path / "workdir", only="ctc")
    assert "data.max_bad_fraction" in text
    assert "audio" in text
    assert read(tmp_path / "workdir/ctc/skipped.jsonl")
    assert record(tmp_path / "workdir", "ctc")["state"] == "running"


def test_a_row_without_text_is_named_before_training(tmp_path):
    manifest = rows_with_faults(tmp_path / "data")
    text = refusal(DataError, ctc(manifest, 0.0), tmp_path / "workdir", only="ctc")
    assert "line 36 (silent): no text" in text


def test_an_empty_manifest(tmp_path):
    empty = recordings.manifest(tmp_path / "empty.jsonl", [])
    assert "empty.jsonl: contains no rows" in refusal(
        DataError, ctc(empty, 0.0), tmp_path / "workdir"
    )


def test_texts_that_fit_no_bucket(tmp_path, trained):
    graph = ctc(trained.manifest, 0.0, stages__ctc__data__buckets="((0.1, 4, 8),)")
    text = refusal(DataError, graph, tmp_path, only="ctc")
    assert "longer than 0.1 s" in text
    assert "data.buckets" in text
