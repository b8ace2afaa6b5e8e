"""Manifests: aliases, validity of lines, and paths of audio."""

import dataclasses
import gzip
import hashlib
import json
import os

import pytest
import recordings

from seedasr_jax.data_pipelines import fields, manifest
from seedasr_jax.errors import DataError


def read(folder, *lines):
    path = folder / "m.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    return manifest.read(path)


def test_fields_by_their_own_names(tmp_path):
    fields = {
        "id": "a",
        "audio": "x/a.flac",
        "offset": 1.5,
        "seconds": 2,
        "text": " hello ",
        "language": "en",
        "dialect": "en-GB",
        "domain": "d",
        "speaker": "s",
        "split": "test",
        "context": "c",
        "context_kind": "hotwords",
        "keywords": ["k", "l"],
        "siblings": ["c"],
        "alignment": {"words": [0, 0.5], "phones": [[0, "h"], [0.25, "@"]]},
    }
    (row,) = read(tmp_path, json.dumps(fields))
    expected = fields | {"audio": f"{tmp_path}/x/a.flac", "text": "hello", "keywords": ("k", "l")}
    expected |= {"siblings": ("c",), "alignment": ((0.0, 0.5), ((0.0, "h"), (0.25, "@")))}
    assert {name: getattr(row, name) for name in fields} == expected
    assert row.line == 1 and row.segments == ()


@pytest.mark.parametrize(
    "line, field, value",
    [
        ('{"audio_filepath": "a.wav", "duration": 1, "text": ""}', "seconds", 1.0),
        ('{"sentence": "hi", "path": "a.wav"}', "text", "hi"),
        ('{"text": "hi", "lang": "de", "locale": "fr"}', "language", "de"),
        ('{"text": "hi", "client_id": 7}', "speaker", "7"),
        ('{"text": "hi", "hotwords": ["x"]}', "keywords", ("x",)),
        ('{"text": "hi", "speaker": null}', "speaker", ""),
        ('{"text": null, "transcription": "hi"}', "text", "hi"),
        ('{"text": "", "transcription": "hi"}', "text", "hi"),
        ('{"text": " ", "transcription": "hi"}', "text", "hi"),
        ('{"key": "a", "wav": "a.wav", "txt": "hi"}', "text", "hi"),
        ('{"key": "a", "source": "a.wav", "target": "hi"}', "text", "hi"),
        ('{"key": "a", "source": "a.wav", "target": "hi"}', "id", "a"),
        ('{"text": "hi", "source": {"corpus": "x"}}', "audio", ""),
        ('{"text": "hi", "target": "x"}', "text", "hi"),
        ('{"audio": "a.wav", "start": 0.5, "end": 1.25}', "seconds", 0.75),
        ('{"audio": "a.wav", "start": 0.5, "end": 1.25}', "offset", 0.5),
        ('{"audio": "a.wav", "end": 1.25}', "seconds", 1.25),
        ('{"audio": "a.wav", "start": 0.5, "duration": 2, "end": null}', "seconds", 2.0),
        (
            '{"audio": "a.wav", "offset": 1, "start": 1, "end": 3, "duration": 2.01}',
            "seconds",
            2.01,
        ),
        ('{"audio": {"path": "a.wav", "bytes": null}, "offset": 0}', "id", "a.wav"),
        ('{"audio": "   "}', "audio", ""),
        ('{"file": "a.flac"}', "id", "a.flac"),
        ('{"text": "hi", "text": "hi", "m": {"x": 1, "x": 2}}', "text", "hi"),
        ('{"text": "hi"}', "alignment", None),
        ('{"text": "hi", "alignment": {"words": [1]}}', "alignment", ((1.0,), ())),
        ('{"text": "hi"}', "id", "line-1"),
        ('{"audio": "a.wav"}', "id", "a.wav"),
        ('{"audio": "a.wav", "offset": 2.5}', "id", "a.wav@2.5"),
    ],
)
def test_aliases_and_defaults(tmp_path, line, field, value):
    (row,) = read(tmp_path, line)
    assert getattr(row, field) == value


def test_blank_lines_are_counted_without_being_rows(tmp_path):
    rows = read(tmp_path, '{"text": "a"}', "  ", '{"text": "b"}')
    assert [(row.text, row.line) for row in rows] == [("a", 1), ("b", 3)]


@pytest.mark.parametrize(
    "line, message",
    [
        ('{"text": "hi"', r"m\.jsonl:2: expected one JSON object"),
        ('["hi"]', r"m\.jsonl:2: expected one JSON object in UTF-8, found a list"),
        ('{"text": 5}', r"m\.jsonl:2: text: expected text, found 5\. Write it in quotes$"),
        ('{"duration": -1}', r"m\.jsonl:2: duration: expected seconds.* found -1"),
        ('{"duration": NaN}', r"m\.jsonl:2: duration: expected seconds.* found nan"),
        ('{"duration": 1%s}' % ("0" * 400), r"m\.jsonl:2: duration: expected seconds"),
        ('{"duration": true}', r"m\.jsonl:2: duration: expected seconds.* found True"),
        ('{"offset": "1"}', r"m\.jsonl:2: offset: expected seconds.* found '1'\. Write it without"),
        ('{"start": 1, "end": 1}', r"m\.jsonl:2: expected an end after the start"),
        ('{"start": 1, "end": 3, "duration": 1}', r"m\.jsonl:2: expected one length.* 1 s; remove"),
        ('{"start": 1, "offset": 2}', r"m\.jsonl:2: offset: expected one time by all .*start"),
        ('{"end": "3"}', r"m\.jsonl:2: end: expected seconds.* found '3'"),
        ('{"keywords": "a"}', r"m\.jsonl:2: keywords: expected a list"),
        ('{"siblings": "a"}', r"m\.jsonl:2: siblings: expected a list"),
        ('{"alignment": [0.5]}', r"m\.jsonl:2: alignment: expected .*words.* found \[0.5\]"),
        ('{"alignment": {"words": [-1]}}', r"m\.jsonl:2: alignment: expected .*found .*-1"),
        ('{"alignment": {"words": 1}}', r"m\.jsonl:2: alignment: expected"),
        ('{"alignment": {"phones": [[0.5]]}}', r"m\.jsonl:2: alignment: expected"),
        ('{"alignment": {"letters": []}}', r"m\.jsonl:2: alignment: expected"),
        ('{"context_kind": []}', r"m\.jsonl:2: context_kind: expected text, found \[\]"),
        ('{"context_kind": "hotword"}', r"m\.jsonl:2: .*found 'hotword'\. Did you mean hotwords"),
        ('{"text": ["%s"]}' % ("x" * 999), r"m\.jsonl:2: text: expected text, found .{,99}$"),
        ('{"audio": "../a.flac"}', r"m\.jsonl:2: audio: expected a path inside"),
        ('{"audio": "x/../../a.flac"}', r"m\.jsonl:2: audio: expected a path inside"),
        ('{"audio": "/etc/passwd"}', r"m\.jsonl:2: audio: expected a path inside"),
        ('{"audio": "a\\u0000.flac"}', r"m\.jsonl:2: audio: expected a path.* with a NUL"),
        ('{"audio": {"array": [1]}}', r"m\.jsonl:2: audio: expected a path, found {'array'"),
        ('{"text": "a", "text": "b"}', r"m\.jsonl:2: .*'text' twice, with two values"),
        ('{"x": 1, "text": "a", "x": true}', r"m\.jsonl:2: .*'x' twice, with two values"),
    ],
)
def test_errors_name_the_line(tmp_path, line, message):
    with pytest.raises(DataError, match=message) as error:
        read(tmp_path, '{"text": "fine"}', line)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b'{"text": "\xff"}\n', "byte 0xff at column 11, .*save it as UTF-8"),
        ('{"text": "é"}\n'.encode("utf-16"), "UTF-16: save"),
        (gzip.compress(b'{"text": "x"}', mtime=0), "a gzip file: unpack"),
        (b'[{"text": "x"}]', "a list: write one of its objects per line"),
        (b'{\n "text": "x"}', "the beginning of one, '{': write each object"),
        (b'{"text": "x"},\n', "',' after an object: write one per line"),
        (b'{"text": "x"}\r{"text": "y"}\r', "text.* after an object"),
        (b"id,audio,text\na,a.wav,x\n", "'id,audio,text': Expecting value at column 1"),
        (b'{"a": ' + b"[" * 99_999, "nested too deep"),
        (b'{"id": ' + b"9" * 5_000 + b"}", "5000 digits"),
        (b"null", "found null"),
    ],
)
def test_errors_quote_lines_that_are_not_objects(tmp_path, content, found):
    path = tmp_path / "m.jsonl"
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=rf"m\.jsonl:1: expected one JSON object in UTF-8, .*{found}"
    ):
        manifest.read(path)


def test_byte_order_marks_and_surrogates_written_as_bytes(tmp_path):
    (tmp_path / "m.jsonl").write_bytes(
        b'\xef\xbb\xbf{"text": "a"}\r\n\xef\xbb\xbf{"text": "b \xed\xa0\xbd"}\n'
    )
    first, second = manifest.read(tmp_path / "m.jsonl")
    assert (first.text, first.fault) == ("a", "")
    assert second.fault == "text that is not Unicode" and "\ufffd" in second.text


def test_a_folder_whose_name_begins_alike_is_outside(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    with pytest.raises(DataError, match="inside the manifest's folder"):
        read(folder, '{"audio": "../corpus2/a.flac"}')


@pytest.mark.parametrize("url", ["gs://bucket/a.flac", "s3://b/a.wav", "https://x.org/a.wav"])
def test_audio_is_local(tmp_path, url):
    with pytest.raises(DataError, match=r":1: audio: expected a local file, found '.*://"):
        read(tmp_path, json.dumps({"audio": url}))


def test_paths_that_stay_inside(tmp_path):
    rows = read(tmp_path, '{"audio": "x/../a.flac"}', json.dumps({"audio": f"{tmp_path}/b.flac"}))
    assert [row.audio for row in rows] == [f"{tmp_path}/a.flac", f"{tmp_path}/b.flac"]


def test_an_empty_manifest_is_an_error_with_an_example(tmp_path):
    with pytest.raises(DataError, match="contains no rows; expected one JSON object per line"):
        read(tmp_path)


def test_a_missing_manifest_names_its_neighbour(tmp_path):
    recordings.manifest(tmp_path / "train.jsonl", recordings.rows(1))
    with pytest.raises(DataError, match=r"no such manifest. Did you mean train.jsonl"):
        manifest.read(tmp_path / "trian.jsonl")
    with pytest.raises(DataError, match=r"no such manifest. If it was moved, name its new path"):
        manifest.read(tmp_path / "gone" / "train.jsonl")
    (tmp_path / "link.jsonl").symlink_to("gone.jsonl")
    with pytest.raises(
        DataError, match=r"link\.jsonl: expected a manifest, found a link to gone\.jsonl"
    ):
        manifest.read(tmp_path / "link.jsonl")
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(DataError, match="found a pipe or a device"):
        manifest.read(tmp_path / "pipe.jsonl")


def test_content_hash_is_of_the_bytes(tmp_path):
    path = recordings.manifest(tmp_path / "a.jsonl", recordings.rows(3))
    same = recordings.manifest(tmp_path / "elsewhere/b.jsonl", recordings.rows(3))
    assert manifest.content_hash(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert manifest.content_hash(path) == manifest.content_hash(same)


def test_ignored_names_are_listed(tmp_path):
    lone = {"id": "c", "start": 0, "duration": 1, "channel": 0, "recording_id": "r"}
    lines = ({"wav": "a.wav", "txt": "hi", "text": "ho", "note": 1, "spk": None}, lone)
    first, second = read(tmp_path, *map(json.dumps, lines))
    assert first.ignored == ("note", "txt") and first.text == "ho"
    assert second.ignored == ("channel", "recording_id")
    found = fields.hint(second.ignored, "audio")
    assert "audio_filepath" in found and "'recording_id'" in found


SAID = {"id": "s", "start": 0.0, "duration": 1.0, "channel": 0, "text": "hi", "language": "en"}
SOURCE = {"type": "file", "channels": [0], "source": "x/a.wav"}
CUT = {
    "id": "c-1",
    "start": 0.25,
    "duration": 1.0,
    "channel": 0,
    "supervisions": [SAID],
    "recording": {"id": "r", "sources": [SOURCE], "sampling_rate": 16_000, "num_samples": 32_000},
    "custom": {"snr": 3},
    "type": "MonoCut",
}


def test_a_cut_of_lhotse_is_a_row(tmp_path):
    first, second = read(tmp_path, *map(json.dumps, (CUT, CUT | {"supervisions": []})))
    assert (first.id, first.audio) == ("c-1", f"{tmp_path}/x/a.wav")
    assert (first.offset, first.seconds) == (0.25, 1.0)
    assert (first.text, first.language, first.speaker) == ("hi", "en", "")
    assert first.ignored == ("custom",)
    assert (second.text, second.silent) == ("", False)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"type": "MixedCut"}, "a MonoCut of lhotse, found a MixedCut: cuts.save_audios"),
        ({"supervisions": [SAID, SAID]}, "one supervision, found 2: cuts.trim_to_supervisions"),
        ({"supervisions": [SAID | {"start": -0.5}]}, "found -0.5 to 0.5 s of 1 s: cuts.trim_to"),
        ({"supervisions": [5]}, "a missing field or a field of another type"),
        ({"recording": {"sources": []}}, r"one channel, found no source with channels \[\]"),
        ({"recording": {"sources": [SOURCE | {"channels": [0, 1]}]}}, r"channels \[0, 1\]"),
        ({"recording": {"sources": [SOURCE | {"type": "command"}]}}, "found command with"),
        (
            {"recording": {"sources": [SOURCE], "transforms": [{}]}},
            "without transforms, found some",
        ),
        ({"recording": None}, "a missing field or a field of another type"),
    ],
)
def test_other_cuts_are_refused_with_their_cure(tmp_path, changes, words):
    with pytest.raises(DataError, match=rf"m\.jsonl:1: expected .*{words}"):
        read(tmp_path, json.dumps(CUT | changes))


@pytest.mark.parametrize("field", ["text", "id", "context", "audio"])
def test_an_unpaired_surrogate_makes_a_bad_row(tmp_path, field):
    fields = {"id": "a", "audio": "a.wav", "text": "zero", field: "zero \ud83d"}
    (row,) = read(tmp_path, json.dumps(fields))
    assert row.fault == "text that is not Unicode" and row.line == 1
    assert getattr(row, field).removeprefix(f"{tmp_path}/") == "zero \ufffd"
    (row,) = read(tmp_path, json.dumps({"alignment": {"words": [0], "phones": [[0, "\ud83d"]]}}))
    assert row.fault == "text that is not Unicode" and row.alignment.phones == ((0.0, "\ufffd"),)
    (row,) = read(tmp_path, '{"text": "zero \\ud83d\\ude00 \\u00e9"}')  # a whole pair
    assert (row.fault, row.text) == ("", "zero \U0001f600 é")


def test_row_is_immutable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        manifest.Row("a").text = "x"
