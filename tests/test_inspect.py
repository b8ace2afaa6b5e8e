"""Stats and validation of sources."""

import json
import tracemalloc

import numpy as np
import pytest
import soundfile

from seedasr_jax import workdir as disk
from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import inspect, lines
from seedasr_jax.launch import cli


@pytest.fixture
def manifest(tmp_path):
    """Four good rows and one of each fault."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(4):
        wave = (rng.normal(0, 3000, 8000 * (number + 1))).astype(np.int16)
        files.write(tmp_path / f"{number}.wav", wave, files.RATE)
        seconds = 0.5 * (number + 1)
        rows.append(
            dict(
                id=f"u{number}",
                audio=f"{number}.wav",
                duration=seconds,
                text=f"word {number % 2}",
                speaker=f"s{number % 2}",
                lang="en",
            )
        )
    files.write(tmp_path / "silent.wav", np.zeros(8000, np.int16), files.RATE)
    files.write(tmp_path / "whole.wav", np.ones(24_000, np.int16), files.RATE)
    (tmp_path / "text.wav").write_text("no sound")
    faults = [
        dict(rows[0], id="u1"),
        dict(rows[0], id="no-text", text=""),
        dict(rows[0], id="gone", audio="gone.wav"),
        dict(rows[0], id="noise", audio="text.wav"),
        dict(rows[0], id="silent", audio="silent.wav"),
        dict(rows[0], id="longer", duration=9.0),
        dict(rows[0], id="shorter", audio="whole.wav", duration=1.0),
    ]

    def write(name, chosen):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in chosen))
        return f"manifest:{path}"

    return write("good.jsonl", rows), write("bad.jsonl", rows + faults)


@pytest.mark.parametrize("as_texts", [1, 1 << 20])
def test_stats_count(manifest, tmp_path, monkeypatch, as_texts):
    monkeypatch.setattr(inspect, "_BUFFERED", as_texts)
    found = inspect.stats(manifest[0], tmp_path)
    assert (found["utterances"], found["speakers"], found["texts"], found["words"]) == (4, 2, 2, 3)
    assert found["hours"] == round((0.5 + 1 + 1.5 + 2) / 3600, 4)
    assert (found["shortest"], found["mean"], found["longest"]) == (0.5, 1.25, 2.0)
    assert found["languages"] == {"en": 4} and found["unreadable"] == 0


def test_stats_leave_out_what_has_no_length(manifest, tmp_path):
    rows = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text().splitlines()]
    chosen = [row | {"duration": None} for row in rows if row["id"] in ("u2", "gone", "noise")]
    (tmp_path / "some.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chosen))
    found = inspect.stats(f"manifest:{tmp_path}/some.jsonl", tmp_path)
    assert (found["unreadable"], found["shortest"], found["mean"]) == (2, 1.5, 1.5)


def test_every_fault_and_nothing_else_is_reported(manifest, tmp_path):
    assert list(inspect.problems(manifest[0], tmp_path)) == []
    found = list(inspect.problems(manifest[1], tmp_path))
    words = ("a unique id", "expected text", "gone.wav", "text.wav", "silence", "0.wav", "1.500")
    assert len(found) == len(words)
    for line, word in zip(found, words, strict=True):
        assert word in line and "bad.jsonl" in line


def test_a_source_without_text_has_no_problems(manifest, tmp_path):
    rows = [json.loads(line) for line in (tmp_path / "good.jsonl").read_text().splitlines()]
    path = tmp_path / "alone.jsonl"
    path.write_text("".join(json.dumps(row | {"text": ""}) + "\n" for row in rows))
    assert list(inspect.problems(f"manifest:{path}", tmp_path)) == []


def test_texts_that_do_not_match_their_audio(manifest, tmp_path):
    rows = [json.loads(line) for line in (tmp_path / "good.jsonl").read_text().splitlines()]
    files.write(tmp_path / "short.wav", np.ones(10, np.int16), files.RATE)
    rows[0]["text"], rows[1]["text"], rows[2]["text"] = "...", "zero \ud83d", "a b " * 20
    rows[3] |= {"audio": "short.wav", "duration": None}
    rows.append(rows[0] | {"id": "zh", "text": "一二三四五六七八九十一二三", "duration": 0.5})
    rows[4]["keywords"] = ["三四"]
    hot = np.clip(np.arange(-20_000, 20_000) * 2, -32_768, 32_767).astype(np.int16)
    files.write(tmp_path / "hot.wav", hot, files.RATE)
    rows.append(rows[0] | {"id": "hot", "audio": "hot.wav", "text": "zero", "duration": 2.5})
    rows.append(rows[0] | {"id": "kw", "text": "call Ann's", "keywords": ["ann", "bob"]})
    path = tmp_path / "odd.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = list(inspect.problems(f"manifest:{path}", tmp_path))
    words = ("expected words", "not Unicode", "40: CTC cannot", "0.025 s", "13: CTC cannot")
    words += ("18 % of its samples clipped", "text contains, found 'bob'")
    assert len(found) == len(words)
    for number, (line, word) in enumerate(zip(found, words, strict=True), 1):
        assert f"line {number} " in line and word in line


def test_unknown_fields_are_reported(manifest, tmp_path, capsys):
    rows = [json.loads(line) for line in (tmp_path / "good.jsonl").read_text().splitlines()]
    path = tmp_path / "fields.jsonl"
    lines = [row | {"speeker": row.pop("speaker"), "transcripts": row.pop("text")} for row in rows]
    lines[1] |= {"start_ms": 300, "note": "loud", "lang": "xx", "locale": "xx", "ID": "x"}
    path.write_text("".join(json.dumps(row) + "\n" for row in lines))
    assert cli.main(["data", "validate", f"--source=manifest:{path}", f"--cache={tmp_path}"]) == 3
    out = capsys.readouterr().out.splitlines()
    words = (
        *("Did you mean id?", "Another name of the same field is read."),
        *("line 2: 'note', which 1 rows have, is ignored.", "speeker'", "'start_ms'"),
        *("Did you mean transcript", "'xx', which 1 rows have, is not a language"),
        *("write start and end", "no row has text"),
    )
    for line, word in zip(out, words, strict=True):
        assert word in line
    assert out[2].endswith("ignored.") and "Did you mean speaker" in out[3]


BOUNDS = ("start_ms", "endTime", "segment-start", "clip_offset", "t0", "xmin", "segments")


@pytest.mark.parametrize(
    ("field", "bounds"),
    [
        *((name, True) for name in BOUNDS),
        ("trend", False),
        ("segment_id", False),
        ("backend", False),
    ],
)
def test_unknown_bounds_of_a_segment_are_a_problem(manifest, tmp_path, field, bounds):
    rows = [json.loads(line) for line in (tmp_path / "good.jsonl").read_text().splitlines()]
    path = tmp_path / "times.jsonl"
    path.write_text("".join(json.dumps(row | {field: 1}) + "\n" for row in rows))
    found = list(inspect.problems(f"manifest:{path}", tmp_path))
    assert len(found) == bounds and all(f"unknown field {field!r}" in one for one in found)


def test_an_unknown_channel_field_is_a_problem_for_two_channels(manifest, tmp_path):
    rows = [json.loads(line) for line in (tmp_path / "good.jsonl").read_text().splitlines()]
    both = np.random.default_rng(0).normal(0, 0.1, (8_000, 2))
    soundfile.write(tmp_path / "both.wav", both, files.RATE)
    rows[1] |= {"audio": "both.wav", "duration": 0.5}
    path = tmp_path / "channels.jsonl"
    path.write_text("".join(json.dumps(row | {"channel": 1}) + "\n" for row in rows))
    (found,) = inspect.problems(f"manifest:{path}", tmp_path)
    assert (
        "line 2 (u1): expected one channel, found 2, which are averaged: the field 'channel'"
        in found
    )


def test_a_source_without_audio_has_no_problems_unless_a_field_may_be_audio(tmp_path):
    path = tmp_path / "text.jsonl"
    path.write_text('{"text": "a b"}\n{"text": "c"}\n')
    assert list(inspect.problems(f"manifest:{path}", tmp_path)) == []
    path.write_text('{"text": "a b", "sound_uri": "a.wav"}\n{"lang": "en"}\n')
    found = list(inspect.problems(f"manifest:{path}", tmp_path))
    assert [line.split(": ")[1].split(";")[0] for line in found] == [
        "expected audio, found none",
        "expected text as in other rows, found none",
        "expected audio, found none",
    ]


def test_repeated_ids_and_distinct_texts_take_little_memory(tmp_path):
    path, count = tmp_path / "many.jsonl", 12_000
    rows = [{"id": f"utterance-{n % (count - 1)}", "text": "a b"} for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert next(inspect.problems(f"manifest:{path}", tmp_path))  # the text and its columns
    tracemalloc.start()
    (found,) = inspect.problems(f"manifest:{path}", tmp_path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert f"line {count} (utterance-0): expected a unique id, found that of line 1" in found
    assert most / count < 120  # an entry of a dict takes about 200


def test_commands(manifest, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(lines, "LARGE", 0)
    cache = f"--cache={tmp_path}/not/there"
    assert cli.main(["data", "validate", f"--source={manifest[0]}", cache]) == 0
    assert cli.main(["data", "validate", f"--source={manifest[1]}", cache]) == 3
    assert (tmp_path / "not" / "there" / disk.TABLES).is_dir()
    capsys.readouterr()
    assert cli.main(["data", "stats", f"--source={manifest[0]}", "--json", cache]) == 0
    assert json.loads(capsys.readouterr().out)[0]["utterances"] == 4
    out = tmp_path / "vocab"
    arguments = ["data", "vocab", f"--source={manifest[0]}", "--kind=word", "--size=40", cache]
    assert cli.main([*arguments, f"--out={out}"]) == 0
    assert (out / "spm.model").exists()
