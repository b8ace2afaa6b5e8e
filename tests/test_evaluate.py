"""Scoring: rows of results.jsonl, equal bytes, refusals; and decoding that never looks beside."""

import dataclasses
import json
import math
import shutil

import numpy as np
import pytest
import recordings
import tones

from seedasr_jax import batch as batches
from seedasr_jax import config
from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import index, loader, sources
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.decode import recogniser as recognisers
from seedasr_jax.errors import ConfigError, DataError, UserError
from seedasr_jax.evaluate import cells, transcribe
from seedasr_jax.evaluate import score as scores
from seedasr_jax.launch import evaluate
from seedasr_jax.models.parts import decodings

KEYS = ["checkpoint", "task", "decode", "normalizer", "unit", "utterances", "ref_len"]
KEYS += ["sub", "del", "ins", "error_rate", "ci_low", "ci_high", "ci_unit"]


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


def test_names_contexts_and_languages_have_figures_of_their_own():
    def example(number, text, **more):
        return Row(f"u{number}", text=text, seconds=1.5, **more)

    listed = {"context_kind": "hotwords"}
    examples = [
        example(0, "call ann", language="en", keywords=("Ann",), context="Bob, ann", **listed),
        example(
            1,
            "call bob",
            language="en",
            keywords=("bob",),
            siblings=("Ann",),
            context="ann, bob",
            context_kind="participants",
        ),
        example(2, "打开灯", language="zh"),
    ]
    said = ["call ann", "call ann", "打灯"]
    how = dict(unit="mixed", normalizer="basic@1")
    row, utterances = says(examples, said, **how)
    assert row["error_rate"] == pytest.approx(100 * 2 / 7, abs=1e-4)
    assert {tag: found["error_rate"] for tag, found in row["by_language"].items()} == {
        "en": 25.0,
        "zh": pytest.approx(100 / 3, abs=1e-4),
    }
    assert row["keywords"]["recall"] == 50.0 and row["keywords"]["precision"] == 100.0
    assert row["context"] == {"insertions": 1, "leaking": pytest.approx(100 / 3, abs=1e-4)}
    assert row["siblings"] == row["context"]
    by = row["by_context_kind"]
    assert {kind: found["error_rate"] for kind, found in by.items()} == {
        "hotwords": 0.0,
        "participants": 50.0,
    }
    english = row["by_language"]["en"]
    assert english["keywords"]["recall"] == 50.0 and english["context"]["leaking"] == 50.0
    assert "keywords" not in row["by_language"]["zh"] and "by_dialect" not in row
    assert scores.measure(utterances, setting_of(**how).conventions).items() <= row.items()
    assert utterances[0]["keywords"] == ("Ann",) and utterances[0]["seconds"] == 1.5
    alone, _ = says(examples[2:], said[2:], **how)
    assert list(alone) == [*KEYS, "ci_reason"]
    assert alone["ci_low"] is None and alone["ci_reason"] == "1 utterance: an interval needs 10"


def test_results_do_not_depend_on_the_order_of_batches():
    examples = [Row(f"u{n}", text="one two three", speaker=f"s{n // 2}") for n in range(24)]
    heard = [" ".join(["one", "two", "three"][: n % 4]) for n in range(24)]
    batches = [(heard[n::3], examples[n::3]) for n in range(3)]
    found = [
        scores.evaluate(Says(), "c", "t", own, setting_of(), order=examples)
        for own in (batches, batches[::-1])
    ]
    assert found[0] == found[1] == says(examples, heard)
    assert [utterance["id"] for utterance in found[0][1]] == [row.id for row in examples]


class Says:
    """A recogniser whose batches are what it hears."""

    def decode(self, batch, method):
        return [recognisers.Hypothesis(text, (), ()) for text in batch]


def says(examples, hypotheses, **how):
    """The row and the utterances of a recogniser that says what it is told to."""
    return scores.evaluate(Says(), "c", "t", [(hypotheses, examples)], setting_of(**how))


def setting_of(**how):
    own = config.Eval(
        tasks=(),
        buckets=(),
        every=0,
        decode="greedy",
        normalizer="basic@2",
        unit="word",
        tokens=9,
    )
    return scores.setting(own, **how)


def test_each_utterance_is_counted_by_its_language():
    examples = [
        Row("a", text="今天天气非常好啊", language="zh-x-sichuan"),
        Row("b", text="Well-known: 1,000 words", language="en_NZ"),
        Row("c", text="וְצ׳יפס", language="he"),
        Row("d", text="3-4 días", language="es"),
        Row("e", text="今天天气 非常好啊"),
        Row("f", text="dobar dan", language="sr"),
    ]
    heard = ["今天天气非常好呀", "well known 1000 word", "וצ'יפס", "34 días", "今天天气", "dobar"]
    row, _ = says(examples, heard)
    assert (row["normalizer"], row["unit"]) == ("language", "language")
    rates = {tag: found["error_rate"] for tag, found in row["by_language"].items()}
    assert rates == {"zh-x-sichuan": 12.5, "en_NZ": 25.0, "he": 0, "es": 66.6667, "sr": 50.0}
    assert (row["sub"], row["del"], row["ins"]) == (3, 3, 0)
    assert row["ref_len"] == 8 + 4 + 1 + 3 + 2 + 2  # the counts are pooled
    assert row["unstated"] == {"utterances": 2, "normalizer": "basic@2", "unit": "word"}
    row, _ = says(examples[4:], heard[4:])
    assert (row["normalizer"], row["unit"]) == ("basic@2", "word") and "unstated" not in row
    row, _ = says(examples, heard, unit="mixed", normalizer="basic@1")
    assert (row["normalizer"], row["unit"], row["ref_len"]) == (
        "basic@1",
        "mixed",
        8 + 4 + 2 + 2 + 8 + 2,
    )
    assert "unstated" not in row
    row, _ = says(examples, heard, unit="char")
    assert (row["normalizer"], row["unit"]) == ("language", "char")


def test_what_states_no_language_is_told():
    warning = "2 of 3 utterances state no language of text/languages.py (sr): counted by "
    assert setting_of().conventions.warning(["zh", "", "sr"]) == warning + "word, basic@2"
    half = setting_of(unit="char").conventions
    assert half.warning(["zh", "", "sr"]) == warning + "char, basic@2"
    both = setting_of(unit="mixed", normalizer="basic@1").conventions
    assert setting_of().conventions.warning(["zh"]) == both.warning(["", "sr"]) == ""


def test_all_utterances_may_be_of_one_language():
    examples = [Row("a", text="今天天气非常好啊"), Row("b", text="好", language="en")]
    row, _ = says(examples, ["今天天气非常好呀", "好"], language="zh_CN")
    assert (row["normalizer"], row["unit"], row["ref_len"]) == ("zh@2", "char", 9)
    assert row["error_rate"] == pytest.approx(100 / 9, abs=1e-4) and "unstated" not in row


@pytest.mark.parametrize(
    "how", [dict(unit="words"), dict(normalizer="basik@1"), dict(language="engl")]
)
def test_names_of_conventions_are_checked(how):
    with pytest.raises(ConfigError, match=r"Did you mean (word|basic@|en)"):
        setting_of(**how)


def test_intervals_respect_the_recordings_of_joined_strings(tmp_path):
    """Twenty recordings, four of them always wrong, alone and joined: the same interval."""
    rows = [
        dict(id=f"u{n:03}", audio=f"{n}.wav", duration=0.5, text=text, speaker=f"s{n % 2}")
        for n, text in enumerate(("one", "two", "three", "four") * 5)
    ]
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    single, found = f"manifest:{path}", {}
    for spec in (single, f"{single}?join=3-6&seed=0"):
        rows = index.fixed(sources.open_source(spec, "cache"))
        heard = [
            " ".join(
                "x" if int(part.id[1:]) % 5 == 0 else part.text for part in row.segments or (row,)
            )
            for row in rows
        ]
        found[spec], _ = says(rows, heard)
    (alone, joined), widths = found.values(), []
    assert (alone["ci_unit"], joined["ci_unit"]) == ("utterance", "recording")
    assert joined["utterances"] >= 500
    for row in (alone, joined):
        widths.append(row["ci_high"] - row["ci_low"])
    for bound in ("ci_low", "ci_high"):
        assert abs(alone[bound] - joined[bound]) < 0.2 * min(widths)


def test_segments_of_a_file_are_drawn_together():
    def row(files, count=48):
        names = [f"{n * files // count}.wav" for n in range(count)]
        rows = [Row(f"u{n}", name, float(n), text="a b") for n, name in enumerate(names)]
        return says(rows, ["a x" if n < 8 else "a b" for n in range(count)])

    (alone, _), (shared, said), (few, _) = row(48), row(12), row(9)
    assert (alone["ci_unit"], shared["ci_unit"]) == ("utterance", "recording")
    assert alone["error_rate"] == shared["error_rate"]
    width = alone["ci_high"] - alone["ci_low"]
    assert shared["ci_high"] - shared["ci_low"] > 1.5 * width
    assert [one["recording"] for one in said[:5]] == ["u0", "u0", "u0", "u0", "u4"]
    assert few["ci_low"] is None and few["ci_reason"].startswith("9 recordings:")


def test_ten_speakers_are_what_is_drawn():
    def row(speakers):
        examples = [
            Row(f"u{n}", text="a b", speaker=f"s{n % speakers}", language="en") for n in range(40)
        ]
        return says(examples, ["a x" if n % speakers == 0 else "a b" for n in range(40)])[0]

    few, many = row(9), row(10)
    assert (few["ci_unit"], many["ci_unit"]) == ("utterance", "speaker")
    assert many["ci_high"] - many["ci_low"] > few["ci_high"] - few["ci_low"]


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
    told = [row | {"context": "top low" if n % 2 else ""} for n, row in enumerate(rows)]
    path = recordings.manifest(trained.test.parent / "told.jsonl", told)
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
    told = [row | {"context": text} for row, text in zip(rows, ("Top LOW!", "", "mid"))]
    path = recordings.manifest(trained.test.parent / "three.jsonl", told)
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
    heard = [json.loads(line) for line in (tmp_path / "cut/transcripts.jsonl").open()]
    assert [(u["id"], u["hypothesis"]) for u in heard] == list(said.items())
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


# A batch of N decodes to the tokens of N batches of one, in any bucket.


def batch(vocab, waves, seconds, rows=1):
    """A Batch of that length; rows behind the waves are absent."""
    prompt = vocab.encode("Transcribe the speech into text:")
    found = batches.zeros(rows, round(seconds * files.RATE), len(prompt), 0, 6)
    found.prompt[:], found.prompt_length[:] = prompt, len(prompt)
    for row, wave in enumerate(waves):
        found.wave[row, : len(wave)] = wave
        found.wave_length[row], found.weight[row] = len(wave), 1.0
    return found


def unclocked(recogniser):
    """The same parameters with the positions of the paper's form, which follow from the lengths."""
    variant = dataclasses.replace(recogniser.model.variant, speech_positions="frames")
    model = dataclasses.replace(recogniser.model, variant=variant)
    graphdef, _ = recognisers.abstract(model, recogniser.vocab, recogniser.parts)
    vocab, parts, mesh = recogniser.vocab, recogniser.parts, recogniser.mesh
    return recognisers.Recogniser(graphdef, recogniser.state, vocab, model, parts, mesh)


@pytest.mark.parametrize(
    ("method", "change"),
    [("ctc", None), ("greedy", None), ("greedy", unclocked), ("beam3", None)],
)
def test_a_batch_of_many_is_many_batches_of_one(trained, method, change):
    recogniser = transcribe.load(trained.workdir).recogniser
    if change is not None:
        recogniser = change(recogniser)
    vocab = recogniser.vocab
    texts = ["low", "top high mid", "mid low", "high high top", "top"]
    waves = [files.to_float(tones.wave(text, 100 + n)) for n, text in enumerate(texts)]
    rng = np.random.default_rng(0)
    waves.append(rng.normal(0, 0.1, 9_000).astype(np.float32))  # no word at all
    together = recogniser.decode(batch(vocab, waves, 0.8, 7), method)
    assert together.pop().tokens == ()  # of the absent row
    assert len({hypothesis.tokens for hypothesis in together}) >= 4
    for seconds, rows in ((0.8, 7), (1.7, 1)):
        for wave, expected in zip(waves, together):
            found, *_ = recogniser.decode(batch(vocab, [wave], seconds, rows), method)
            assert found.tokens == expected.tokens
            np.testing.assert_allclose(found.logprobs, expected.logprobs, rtol=0, atol=1e-4)
    for hypothesis in together:
        assert len(hypothesis.logprobs) == len(hypothesis.tokens)
        assert all(-math.inf < p <= 1e-6 for p in hypothesis.logprobs)
        assert vocab.decode(hypothesis.tokens) == hypothesis.text


def test_methods_follow_from_the_parts():
    assert decodings(("encoder", "ctc_head", "converter", "decoder")) == (
        "greedy",
        "beam",
        "ctc",
    )
    assert decodings(("encoder", "ctc_head")) == ("ctc",)
    assert decodings(("decoder",)) == ()


def test_the_table_has_a_line_per_row(scored):
    few = scored[0] | {"ci_low": None, "ci_high": None}
    head, line, short = cells.table([scored[0], few]).splitlines()
    assert short.split()[-1] == "none"
    assert head.split()[:3] == ["checkpoint", "task", "decode"]
    assert line.split()[0] == scored[0]["checkpoint"]
    assert f"{scored[0]['error_rate']:.2f}" in line
