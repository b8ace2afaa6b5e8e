"""Waves and files to text: from Python, from the command line, and without TensorFlow."""

import copy
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading

import faults
import numpy as np
import pytest
import tones

import seedasr_jax
from seedasr_jax.audio import files
from seedasr_jax.decode import methods
from seedasr_jax.decode import recogniser as recognisers
from seedasr_jax.errors import ConfigError, DataError, UserError
from seedasr_jax.evaluate import transcribe
from seedasr_jax.launch import cli

TEXTS = ("low mid", "high", "top low high")


@pytest.fixture(scope="module")
def transcriber(trained):
    return seedasr_jax.load(trained.workdir)


@pytest.fixture(scope="module")
def loaded(trained, transcriber):
    """The stages that transcribe, by name."""
    return {"sft": transcriber, "ctc": seedasr_jax.load(trained.workdir / "ctc")}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Three files of the known words."""
    folder = tmp_path_factory.mktemp("recorded")
    paths = [folder / f"{n}.{'wav' if n % 2 else 'flac'}" for n in range(len(TEXTS))]
    for path, text in zip(paths, TEXTS):
        files.write(path, tones.wave(text, 7), files.RATE)
    return [str(path) for path in paths]


def test_a_result_has_text_tokens_logprobs_and_segments(transcriber):
    wave = tones.wave("low mid", 7)
    result = transcriber.transcribe(wave, files.RATE)
    vocab = transcriber.recogniser.vocab
    assert result.text
    assert result.text == vocab.decode(result.tokens)
    assert len(result.tokens) == len(result.logprobs)
    assert all(p <= 1e-6 for p in result.logprobs)
    (segment,) = result.segments
    assert (segment.start, segment.text) == (0.0, result.text)
    assert segment.end == pytest.approx(len(wave) / files.RATE)


def test_any_rate_type_and_number_of_channels(transcriber):
    wave = tones.wave("top low high", 7)
    expected = transcriber.transcribe(wave, files.RATE)
    sound = files.to_float(wave)
    for same in (sound, sound[None], np.stack([sound, sound], 1), wave.astype(np.int32)):
        found = transcriber.transcribe(same, files.RATE)
        assert found.tokens == expected.tokens
        np.testing.assert_allclose(found.logprobs, expected.logprobs, rtol=0, atol=1e-5)
    stereo = transcriber.transcribe(np.stack([wave, wave], 1), files.RATE)
    assert stereo.tokens == expected.tokens
    doubled = np.repeat(sound, 3)  # 48 kHz: images far above what the words need
    assert transcriber.transcribe(doubled, 48_000).segments[0].end == pytest.approx(
        len(wave) / files.RATE, abs=1e-4
    )


def test_files_together_are_files_one_by_one(transcriber, recorded):
    together = transcriber.transcribe_files(recorded)
    for path, expected in zip(recorded, together):
        (alone,) = transcriber.transcribe_files(path)
        assert alone.tokens == expected.tokens
        assert alone.segments == expected.segments


def test_results_come_in_the_order_asked_whatever_their_lengths(transcriber):
    rng = np.random.default_rng(0)
    waves = [rng.normal(0, 0.05, n).astype(np.float32) for n in (20_000, 1_600, 15_000, 17_000)]
    found = transcriber.transcribe_many(waves)
    assert [result.segments[-1].end for result in found] == [len(w) / files.RATE for w in waves]


def test_what_is_no_sound_is_refused(transcriber, tmp_path, capsys):
    waves = (1e-6 * np.sin(np.arange(9_000)), np.zeros(9_000))
    assert [result.text for result in transcriber.transcribe_many(waves)] == ["", ""]
    said = capsys.readouterr().err
    expected = "expected samples from -1 to 1, found a peak of 1e-06"
    assert said == f"wave 0: too quiet for speech: {expected}\n"
    with pytest.raises(DataError, match=r"no samples"):
        transcriber.transcribe(np.zeros(0, np.float32), files.RATE)
    with pytest.raises(DataError, match=r"wave 1: .* NaN or infinite"):
        transcriber.transcribe_many([np.zeros(99, np.float32), np.full(99, np.nan)])
    with pytest.raises(DataError, match=r"found 16$"):
        transcriber.transcribe(np.zeros(16_000, np.float32), 16)
    with pytest.raises(DataError, match=r"none\.wav: no such audio file"):
        transcriber.transcribe_files([tmp_path / "none.wav"])


def test_a_stage_without_audio(trained):
    with pytest.raises(UserError, match="transcribe nothing"):
        seedasr_jax.load(trained.workdir / "lm")


def test_any_checkpoint_can_be_named_and_an_equal_model_is_compiled_once(trained, loaded):
    assert loaded["sft"].label.startswith("sft@60#")
    assert loaded["ctc"].method == "ctc"
    older = seedasr_jax.load(f"{trained.workdir}/ctc@20")
    assert older.label.startswith("ctc@20#")
    programs = [
        one.recogniser._program("ctc", None) for one in (older, loaded["ctc"], loaded["sft"])
    ]
    assert programs[0] is programs[1] and programs[0] is not programs[2]


def test_a_context_is_read_in_a_joint_search(transcriber):
    wave = tones.wave("low mid", 7)
    plain = transcriber.transcribe(wave, files.RATE, decode="beam4")
    informed = transcriber.transcribe(
        wave, files.RATE, context="Mid, mid.", hotwords=("top", "high")
    )
    named = transcriber.transcribe(
        wave, files.RATE, context="mid, mid, top", hotwords=("high",), decode=methods.WITH_CONTEXT
    )
    assert informed == named  # one text, normalised as that of the training
    assert informed.logprobs != plain.logprobs
    for nothing in (dict(context=" ", hotwords=("", "  ")), dict(context=None, hotwords=None)):
        found = transcriber.transcribe(wave, files.RATE, **nothing)
        assert found == transcriber.transcribe(wave, files.RATE)
    near = transcriber.transcribe(wave, files.RATE, context="mid", decode="beam4,alpha=1e-9")
    assert near.tokens == plain.tokens
    np.testing.assert_allclose(near.logprobs, plain.logprobs, rtol=0, atol=1e-5)


def test_a_context_may_be_read_greedily(transcriber):
    wave = tones.wave("low mid", 7)
    options = dict(context="top high", decode="greedy")
    informed = transcriber.transcribe(wave, files.RATE, **options)
    assert informed.logprobs != transcriber.transcribe(wave, files.RATE).logprobs


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("ctc", dict(context="low"), ["no context", "such as sft"]),
        ("ctc", dict(hotwords=("low",)), ["no context", "such as sft"]),
        ("ctc", dict(decode="beam4"), ["'beam4'", "such as sft"]),
        ("sft", dict(context="low", decode="beam4"), ["'beam4'", "beam4,alpha=0.5"]),
        ("sft", dict(context="low", decode="ctc"), ["'ctc'", "beam4,alpha=0.5"]),
        ("sft", dict(decode="beem4"), ["'beem4'", "beam4"]),
        ("sft", dict(decode=5), ["expected a text such as greedy", "found 5"]),
        ("sft", dict(decode=["ctc"]), ["expected a text such as greedy"]),
        ("sft", dict(context="\udcff"), ["context: expected text in UTF-8"]),
    ],
)
def test_a_context_that_nothing_would_read(loaded, name, options, words):
    with pytest.raises(ConfigError) as raised:
        loaded[name].transcribe(tones.wave("low", 1), files.RATE, **options)
    for word in words:
        assert word in str(raised.value)


def test_the_command_takes_a_context(trained, recorded, transcriber, capsys, tmp_path):
    words = tmp_path / "words.txt"
    words.write_bytes(b"\xef\xbb\xbf# names\r\ntop\r\n\r\n high \r\ntop\r\n")
    expected = transcriber.transcribe_files(
        recorded[:1], context="low mid", hotwords=("top", "high")
    )
    command = ["transcribe", f"--checkpoint={trained.workdir}", "--context=low mid", recorded[0]]
    for hotwords in ("top，high; Top", f"@{words}"):
        assert cli.main([*command, f"--hotwords={hotwords}"]) == 0
        assert capsys.readouterr().out == expected[0].text + "\n"
    assert cli.main([*command, f"--hotwords=@{tmp_path}/none.txt"]) == 2
    assert "a word or name per line" in capsys.readouterr().err
    assert cli.main([*command, f"--hotwords={words}"]) == 2
    assert f"--hotwords=@{words}" in capsys.readouterr().err
    assert cli.main([*command[:2], f"--context=@{words}", recorded[0]]) == 2
    assert "expected the text itself" in capsys.readouterr().err
    assert cli.main([*command[:2], "--hotwords=!!!", recorded[0]]) == 0
    assert "the context is not used: basic@" in capsys.readouterr().err
    command[1] += "/ctc"
    assert cli.main(command) == 2
    assert "such as sft" in capsys.readouterr().err


def test_the_command_prints_a_line_per_file(trained, recorded, transcriber, capsys, tmp_path):
    expected = [result.text for result in transcriber.transcribe_files(recorded)]
    command = ["transcribe", f"--checkpoint={trained.workdir}"]
    assert cli.main([*command, *recorded]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [f"{p}\t{t}" for p, t in zip(recorded, expected)]
    assert transcriber.label in err
    assert cli.main([*command, recorded[0]]) == 0
    assert capsys.readouterr().out == expected[0] + "\n"
    odd = shutil.copy(recorded[0], f"{tmp_path}/a\tb\n张 c.flac")
    assert cli.main([*command, odd, odd]) == 0
    (line, same) = capsys.readouterr().out.splitlines()
    assert line == same == f"{tmp_path}/a\\tb\\n张 c.flac\t{expected[0]}"


def test_a_bad_file_costs_no_other_its_text(transcriber, recorded, tmp_path, monkeypatch):
    """Files are read a few at a time, and decoded before the next."""
    monkeypatch.setattr(transcribe, "FILES_READ", 2)
    read, results = [], []
    original = files.read
    monkeypatch.setattr(files, "read", lambda path: read.append(path) or original(path))
    bad = str(tmp_path / "cut.flac")
    pathlib.Path(bad).write_bytes(pathlib.Path(recorded[0]).read_bytes()[:3_000])
    for path, found in transcriber.stream_files([recorded[0], bad, tmp_path, *recorded[1:]]):
        results.append((path, found.text if isinstance(found, transcribe.Result) else str(found)))
        assert len(read) <= len(results) + 1
    assert [text for path, text in results if path in recorded] == [
        result.text for result in transcriber.transcribe_files(recorded)
    ]
    assert results[1][1].startswith(bad) and "found a folder" in results[2][1]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("*.nothing", "patterns are expanded by the shell"),
        ("https://example.org/a.wav", "found a URL"),
        ("gs://bucket/a.wav", "found a URL"),
        (".", "found a folder"),
        ("~/a.wav", "~ is not expanded"),
        ("a/b.wav", "no such audio file"),
        ("/dev/null", "found a device"),
        ("/dev/zero", "found a device"),
        ("-", "standard input, found none: it is closed"),
    ],
)
def test_what_a_name_stands_for(transcriber, name, words, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(DataError) as raised:
        transcriber.transcribe_files([name])
    assert words in str(raised.value) and "manifest" not in str(raised.value)


def test_open_files_that_cannot_seek_and_closed_ones(transcriber, recorded):
    reading, writing = os.pipe()
    os.write(writing, pathlib.Path(recorded[0]).read_bytes())
    os.close(writing)
    with open(reading, "rb", buffering=0) as pipe:
        found = transcriber.transcribe_files([pipe, recorded[0]])
    assert found[0] == found[1]
    with pytest.raises(DataError, match="expected a path or an open file, found"):
        transcriber.transcribe_files([pipe])


CODE = """
import sys

for name in ("tensorflow", "seqio", "tensorflow_datasets"):
    sys.modules[name] = None  # importing it raises
from seedasr_jax.launch import cli

sys.exit(cli.main(sys.argv[1:]))
"""


def test_transcribing_needs_no_tensorflow_and_loses_nothing(trained, recorded, tmp_path):
    paths = [str(tmp_path / name) for name in ("张.flac", "缺.wav", "fifo")]
    shutil.copy(recorded[0], paths[0])
    os.mkfifo(paths[2])
    data = pathlib.Path(recorded[1]).read_bytes()
    feed = threading.Thread(target=pathlib.Path(paths[2]).write_bytes, args=(data,), daemon=True)
    feed.start()
    command = ["transcribe", f"--checkpoint={trained.workdir}/ctc", "--format=json", *paths, "-"]
    like_ours = {"XLA_FLAGS": os.environ["XLA_FLAGS"]}  # as many devices: the same programs
    with open(recorded[2], "rb") as stdin:
        found = subprocess.run(
            [sys.executable, "-c", CODE, *command],
            env=faults.environment() | like_ours | {"PYTHONIOENCODING": "ascii"},
            stdin=stdin,
            capture_output=True,
            encoding="utf-8",
            timeout=300,
        )
    feed.join()
    assert found.returncode == 1
    assert f"{paths[1]}: no such audio file" in found.stderr
    rows = [json.loads(line) for line in found.stdout.splitlines()]
    assert [row["audio"] for row in rows] == [paths[0], paths[2], "-"]
    assert [row["text"] for row in rows] == list(TEXTS)
    said = {"text", "tokens", "logprobs", "segments", "cut", "language", "context_unread"}
    assert set(rows[0]) == said | {"audio"}
    assert set(rows[0]["segments"][0]) == {"start", "end", "text"}


def test_a_checkpoint_decodes_as_its_stage_says_where_it_can():
    own, whole = recognisers.default_method, ("encoder", "ctc_head", "converter", "decoder")
    assert own("beam4,prune=off,alpha=6", whole) == "beam4,alpha=6,prune=off"
    assert own("ctc", whole) == "ctc"
    assert own("greedy", whole[:2]) == "ctc"


def test_a_context_is_read_by_the_checkpoints_own_search(transcriber):
    wave = tones.wave("low mid", 7)
    own = copy.copy(transcriber)
    own.method = "beam2,alpha=6,prune=off"
    informed = own.transcribe(wave, files.RATE, context="mid, mid")
    assert informed == transcriber.transcribe(
        wave, files.RATE, context="mid, mid", decode=own.method
    )
    assert informed != transcriber.transcribe(wave, files.RATE, context="mid, mid")


def test_long_audio_is_transcribed_piece_by_piece(trained):
    transcriber = seedasr_jax.load(trained.workdir / "ctc")
    texts = [*TEXTS, "mid mid", "top"] * 2
    quiet = lambda seconds: np.zeros(round(seconds * files.RATE), np.int16)  # noqa: E731
    waves = [tones.wave(text, 7) for text in texts]
    pauses = [2.0, *[0.4, 0.3, 0.4] * 3]
    wave = np.concatenate([x for pair in zip(map(quiet, pauses), waves) for x in pair] + [quiet(2)])
    starts = np.cumsum(pauses) + np.cumsum([0, *map(len, waves)])[:-1] / files.RATE
    found = transcriber.transcribe(wave, files.RATE)
    assert [segment.text for segment in found.segments] == texts
    assert found.text == " ".join(texts)
    assert [segment.start for segment in found.segments] == pytest.approx(starts, abs=0.15)
    assert len(found.tokens) == len(found.logprobs) == sum(len(t.split()) for t in texts)
    (whole,) = transcriber.transcribe(wave, files.RATE, decode="ctc,long=direct").segments
    assert (whole.start, whole.end) == (0.0, len(wave) / files.RATE)
    silent = transcriber.transcribe(quiet(5), files.RATE)
    assert (silent.text, silent.segments, silent.cut) == ("", (), False)


def test_a_language_that_the_prompt_does_not_name(transcriber, capsys):
    wave = np.zeros(files.RATE, np.int16)
    assert transcriber.transcribe(wave, files.RATE, language="pt").text == ""
    assert "its prompt names no language: pt is not used" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="unknown language"):
        transcriber.transcribe(wave, files.RATE, language="portugese")


def test_the_command_line_states_a_language(trained, transcriber, recorded, capsys):
    (expected,) = transcriber.transcribe_files(recorded[0])
    command = ["transcribe", f"--checkpoint={trained.workdir}", recorded[0]]
    assert cli.main([*command, "--language=pt"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{expected.text}\n" and "its prompt names no language: pt is not used" in err
    assert cli.main([*command, "--language=portugese"]) == 2
    assert "unknown language 'portugese'" in capsys.readouterr().err
