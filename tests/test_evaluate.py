"""`seedasr eval`: rows and transcripts of a trained model, equal bytes, refusals."""

import json
import shutil

import numpy as np
import pytest
import recordings
from test_evaluate_score import KEYS
import tones

from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import loader
from seedasr_jax.errors import ConfigError, DataError, UserError
from seedasr_jax.evaluate import cells, transcribe
from seedasr_jax.launch import evaluate


def score(trained, name, out, **options):
    rows, _ = evaluate.run(trained.workdir / name, [f"manifest:{trained.test}"], out=out, **options)
    return rows[0]


@pytest.fixture(scope="module")
def scored(trained, tmp_path_factory):
    """Rows and folder of an evaluation of sft, in its own way."""
    out = tmp_path_factory.mktemp("eval")
    return score(trained, "sft", out), out


def test_the_row_has_the_keys_that_others_read(trained, scored):
    row, out = scored
    (line,) = (out / "results.jsonl").read_text().splitlines()
    assert json.loads(line) == row
    assert list(row) == KEYS
    assert row["checkpoint"].startswith("sft@60#")
    assert row["task"].startswith("manifest:test.jsonl#")
    how = ("greedy", "language", "language", "utterance")
    assert (row["decode"], row["normalizer"], row["unit"], row["ci_unit"]) == how
    assert row["utterances"] == 20
    words = sum(len(text.split()) for text in tones.texts(20, seed=1))
    assert row["ref_len"] == words
    wrong = row["sub"] + row["del"] + row["ins"]
    assert row["error_rate"] == pytest.approx(100 * wrong / words, abs=1e-4)
    assert 0 <= row["ci_low"] <= row["error_rate"] <= row["ci_high"]


def test_transcripts_carry_what_the_examples_say(trained, scored):
    said = [json.loads(line) for line in (scored[1] / "transcripts.jsonl").read_text().splitlines()]
    assert {u["id"]: u["reference"] for u in said} == {
        f"t{n:03}": text for n, text in enumerate(tones.texts(20, seed=1))
    }
    assert {u["speaker"] for u in said} == {"ann", "bob"}
    assert {u["task"] for u in said} == {scored[0]["task"]}
    right = sum(u["reference"] == u["hypothesis"] for u in said)
    assert (right == 20) == (scored[0]["error_rate"] == 0)


def test_new_recordings_of_known_words_are_recognised(trained, scored, tmp_path):
    ctc = score(trained, "ctc", tmp_path)
    assert ctc["decode"] == "ctc"
    assert ctc["error_rate"] < 10.0
    assert scored[0]["error_rate"] < 60.0


def test_equal_runs_give_equal_bytes_and_others_are_refused(trained, tmp_path):
    moved = shutil.copytree(trained.workdir, tmp_path / "moved")
    outs = tmp_path / "a", tmp_path / "b"
    manifest = recordings.manifest(
        trained.test.parent / "few.jsonl",
        [json.loads(line) for line in trained.test.read_text().splitlines()[:4]],
    )
    for workdir, out in zip((trained.workdir, moved), outs):
        evaluate.run(workdir / "ctc", [f"manifest:{manifest}"], out=out)
    for name in ("results.jsonl", "transcripts.jsonl"):
        content = (outs[0] / name).read_bytes()
        assert content == (outs[1] / name).read_bytes()
        assert str(tmp_path).encode() not in content
    before = (outs[0] / "results.jsonl").read_bytes()
    evaluate.run(moved / "ctc", [f"manifest:{manifest}"], out=outs[0])
    assert (outs[0] / "results.jsonl").read_bytes() == before
    with pytest.raises(ConfigError, match="--out"):
        evaluate.run(moved / "ctc", [f"manifest:{manifest}?limit=2"], out=outs[0])
    assert (outs[0] / "results.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "tasks", "options", "words"),
    [
        ("sft", [], {}, ("--tasks",)),
        ("ctc", ["manifest:T"], dict(decode="greedy"), ("'greedy'", "ctc")),
        ("ctc", ["manifest:T"], dict(normalizer="basik@1"), ("basic@1",)),
        ("ctc", ["manifest:T"], dict(beam=4), ("'beam4'", "ctc_head", "such as sft")),
        ("sft", ["manifest:T"], dict(alpha=0.5), ("--alpha=0.5", "--beam=4")),
        ("sft", ["manifest:T"], dict(decode="beem4"), ("beam4",)),
        ("lm", ["manifest:T"], {}, ("lm@60", "transcribe nothing")),
        ("sft", ["manifest:none.jsonl"], {}, ("none.jsonl",)),
        ("sft", ["manifest:T", "manifest:T"], {}, ("--tasks", "are both manifest:test.jsonl#")),
        ("sft", ["no_task"], {}, ("'no_task'",)),
        ("sfd", ["manifest:T"], {}, ("Did you mean", "sft")),
    ],
)
def test_what_cannot_be_scored(trained, tmp_path, name, tasks, options, words):
    tasks = [task.replace("T", str(trained.test)) for task in tasks]
    with pytest.raises(UserError) as raised:
        evaluate.run(trained.workdir / name, tasks, out=tmp_path / "eval", **options)
    assert "\n" not in str(raised.value)
    for word in words:
        assert word in str(raised.value)
    assert not (tmp_path / "eval").exists()


def test_a_beam_reads_the_contexts_of_the_utterances(trained, tmp_path, capsys):
    rows = [json.loads(line) for line in trained.test.read_text().splitlines()[:6]]
    given = [row | {"context": "top low" if n % 2 else ""} for n, row in enumerate(rows)]
    path = recordings.manifest(trained.test.parent / "context.jsonl", given)
    tasks, found = [f"manifest:{path}"], {}
    for alpha in (0.0, 1.0):
        out = tmp_path / str(alpha)
        ((row,), _) = evaluate.run(trained.workdir, tasks, beam=2, alpha=alpha, out=out)
        lines = (out / "transcripts.jsonl").read_text().splitlines()
        found[row["decode"]] = [json.loads(line)["hypothesis"] for line in lines]
    assert list(found) == ["beam2", "beam2,alpha=1"]
    one, other = found.values()
    assert one[::2] == other[::2]  # without a context, alpha says nothing
    assert "no utterance has a context" not in capsys.readouterr().err
    tasks = [f"manifest:{trained.test}?limit=2"]
    evaluate.run(trained.workdir, tasks, beam=2, alpha=1.0, out=tmp_path / "plain")
    assert "no utterance has a context" in capsys.readouterr().err


def test_contexts_stand_in_the_batches_that_want_them(trained):
    recogniser = transcribe.load(trained.workdir).recogniser
    vocab, template = recogniser.vocab, recogniser.template
    rows = [json.loads(line) for line in trained.test.read_text().splitlines()[:3]]
    given = [row | {"context": text} for row, text in zip(rows, ("Top LOW!", "", "mid"))]
    path = recordings.manifest(trained.test.parent / "three.jsonl", given)
    options = dict(buckets=((2.0, 9, 4),), data_folder="", normalizer="basic@1")
    for wanted in (True, False):
        ((batch, examples),) = loader.evaluation(
            f"manifest:{path}", vocab, template=template if wanted else None, **options
        )
        assert batch.context.shape == (4, 16 * wanted)
        lengths = [len(vocab.encode(text)) for text in ("top low", "", "mid")]
        assert batch.context_length.tolist() == [n * wanted for n in (*lengths, 0)]
        if wanted:
            by_id = {e.id: ids for e, ids in zip(examples, batch.context) if e}
            assert vocab.decode(by_id["t000"]) == "top low"


def test_recordings_in_which_nothing_is_said_are_scored(trained, tmp_path):
    rows = [json.loads(line) for line in trained.test.read_text().splitlines()[:12]]
    for row in rows[:4]:
        row["text"] = ("", "…")[row["id"] == "t003"]  # of three nothing is stated to be said
    path = recordings.manifest(trained.test.parent / "silent.jsonl", rows)
    for spec in (f"manifest:{path}", f"manifest:{path}?join=2&limit=12"):
        ((row,), _) = evaluate.run(trained.workdir / "ctc", [spec], out=tmp_path / spec[-1])
        said = [json.loads(u) for u in (tmp_path / spec[-1] / "transcripts.jsonl").open()]
        inserted = sum(len(u["hypothesis"].split()) for u in said if u["reference"] in ("", "…"))
        assert row["ins"] >= inserted > 0 or row["ci_unit"] == "recording"
        assert row["ref_len"] == sum(len(u["reference"].replace("…", "").split()) for u in said)
    del rows[0]["text"]
    recordings.manifest(path, rows)
    with pytest.raises(
        DataError, match=r'no text.*remove it from the manifest.*"text": ""'
    ) as error:
        evaluate.run(trained.workdir / "ctc", [f"manifest:{path}"], out=tmp_path / "none")
    assert "max_bad_fraction" not in str(error.value)


def test_long_audio_is_cut_as_for_transcription_and_counts_once(trained, tmp_path):
    texts = ["low mid", "top", "high high low", "mid"]
    quiet = np.zeros(files.RATE // 2, np.int16)
    wave = np.concatenate([x for n, t in enumerate(texts) for x in (tones.wave(t, n), quiet)])
    files.write(tmp_path / "long.wav", wave, files.RATE)
    files.write(tmp_path / "silent.wav", quiet, files.RATE)
    files.write(tmp_path / "short.wav", tones.wave("top low", 9), files.RATE)
    said = {"long": " ".join(texts), "silent": "", "short": "top low"}
    rows = [{"id": n, "audio": f"{n}.wav", "text": t, "lang": "en"} for n, t in said.items()]
    spec = f"manifest:{recordings.manifest(tmp_path / 'long.jsonl', rows)}"
    small = dict(buckets=((0.1, 6, 3), (0.8, 6, 3)))  # what is silent is decoded first
    evaluate.run(trained.workdir / "ctc", [spec], out=tmp_path / "cut", **small)
    transcripts = [json.loads(line) for line in (tmp_path / "cut/transcripts.jsonl").open()]
    assert [(u["id"], u["hypothesis"]) for u in transcripts] == list(said.items())
    (row,) = [json.loads(line) for line in (tmp_path / "cut/results.jsonl").open()]
    assert (row["utterances"], row["error_rate"], row["ref_len"]) == (3, 0.0, 9)
    transcriber = transcribe.load(trained.workdir / "ctc")
    assert transcriber.transcribe(wave, files.RATE).text == said["long"]
    direct = dict(decode="ctc,long=direct", out=tmp_path / "direct")
    with pytest.raises(DataError, match=r"1 longer than 0.8 s"):
        evaluate.run(trained.workdir / "ctc", [spec], **direct, **small)
    ((row,), _) = evaluate.run(trained.workdir / "ctc", [spec], **direct, buckets=((8.0, 9, 1),))
    assert (row["decode"], row["utterances"]) == ("ctc,long=direct", 3)


def test_an_evaluation_never_shrinks_silently(trained, tmp_path):
    rows = [json.loads(line) for line in trained.test.read_text().splitlines()[:4]]
    manifest = recordings.manifest(tmp_path / "bad.jsonl", rows)  # its audio is not there
    with pytest.raises(DataError, match=r"t000.*missing audio"):
        evaluate.run(trained.workdir / "ctc", [f"manifest:{manifest}"], out=tmp_path / "eval")
    assert not (tmp_path / "eval/results.jsonl").exists()


def test_tasks_are_split_at_commas_outside_queries():
    assert evaluate.split_tasks("a,b") == ["a", "b"]
    assert evaluate.split_tasks("manifest:a.jsonl?speaker=x,y,manifest:b.jsonl,task") == [
        "manifest:a.jsonl?speaker=x,y",
        "manifest:b.jsonl",
        "task",
    ]
    assert evaluate.split_tasks("manifest:a.jsonl?speaker=x,y&seed=1") == [
        "manifest:a.jsonl?speaker=x,y&seed=1"
    ]
    assert evaluate.split_tasks("manifest:a,b.jsonl,manifest:c,d.json?limit=1,e,task:f") == [
        "manifest:a,b.jsonl",
        "manifest:c,d.json?limit=1,e",
        "task:f",
    ]
    assert evaluate.split_tasks("manifest:a.jsonl, manifest:b, c.jsonl, d") == [
        "manifest:a.jsonl",
        "manifest:b, c.jsonl",
        "d",
    ]
    assert evaluate.split_tasks("") == []


def test_buckets_are_read_or_refused():
    read = evaluate.read_buckets
    assert read("((5,64,8),(300.0,2000,1))") == ((5.0, 64, 8), (300.0, 2000, 1))
    for text in ("5", "(5,64,8)", "((5,64),)", "((5,6.4,8),)", "((5,64,8)", "x"):
        with pytest.raises(ConfigError, match=r"--buckets: expected '\(\(SECONDS"):
            read(text)


def test_the_table_has_a_line_per_row(scored):
    few = scored[0] | {"ci_low": None, "ci_high": None}
    head, line, short = cells.table([scored[0], few]).splitlines()
    assert short.split()[-1] == "none"
    assert head.split()[:3] == ["checkpoint", "task", "decode"]
    assert line.split()[0] == scored[0]["checkpoint"]
    assert f"{scored[0]['error_rate']:.2f}" in line
