"""Real recordings, from the folder that SEEDASR_TEST_SPEECH names."""

import json
import os
import pathlib

import numpy as np
import pytest
import tiny

from seedasr_jax import config
from seedasr_jax.audio import files, logmel, pauses
from seedasr_jax.configs import digits
from seedasr_jax.data_pipelines import inspect, loader, sources

SPEECH = pathlib.Path(os.environ["SEEDASR_TEST_SPEECH"])
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def spec(name, query=""):
    return f"manifest:{SPEECH}/fsdd/{name}.jsonl{query}"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """Of the ten digits."""
    return tiny.vocabulary(DIGITS, tmp_path_factory.mktemp("v"), size=64, kind="word")


def test_the_folder_is_there():
    assert (SPEECH / "fsdd/train.jsonl").is_file(), f"{SPEECH}: expected fsdd/train.jsonl"


def test_every_recording_is_sound(tmp_path):
    assert list(inspect.problems(spec("manifest"), tmp_path)) == []
    assert inspect.stats(spec("train"), tmp_path)["utterances"] == 2250


def test_parts_split_recordings_and_speakers(tmp_path):
    def ids(query):
        return {row.id for row in sources.open_source(spec("train", query), tmp_path).rows()}

    train, dev = ids("?part=train"), ids("?part=dev")
    assert not train & dev and len(train | dev) == 2250 and 80 <= len(dev) <= 150
    assert not ids("?without=george") & ids("?speaker=george")
    assert len(ids("?speaker=george")) == 450


def test_joined_strings_are_the_recordings(tokenizer, tmp_path):
    recipe = config.expand(digits.get_config(f"{SPEECH}/fsdd/train.jsonl"))
    evaluation = loader.evaluation(
        spec("test", "?join=3-6&seed=0&limit=60"),
        tokenizer,
        buckets=recipe.stages["sft"].data.buckets,
        data_folder=tmp_path,
        template=tiny.template(tokenizer),
        normalizer="basic@1",
    )
    found = {}
    for batch, rows in evaluation:
        for number, row in enumerate(rows):
            if row is not None:
                length = int(batch.wave_length[number])
                found[row.id] = (row, batch.wave[number, :length])
                ids = batch.ids[number, : int(batch.ids_length[number])].tolist()
                assert tokenizer.decode(ids) == row.text
    assert sum(len(row.segments) for row, _ in found.values()) >= 50
    for row, wave in found.values():
        start = 0
        for part, pause in zip(row.segments, (*row.pauses, 0), strict=True):
            alone = files.to_float(files.read(part.audio, duration=part.seconds))
            np.testing.assert_array_equal(wave[start : start + len(alone)], alone)
            assert not wave[start + len(alone) : start + len(alone) + pause].any()
            start += len(alone) + pause
        assert start == len(wave)
        assert len({part.speaker for part in row.segments}) == 1


def test_features_of_quiet_and_loud_speakers_are_alike():
    lines = (SPEECH / "fsdd/test.jsonl").read_text().splitlines()
    features = config.expand(digits.get_config()).stages["ctc"].model.encoder.frontend
    spread = {}
    for row in map(json.loads, lines):
        if row["speaker"] in ("yweweler", "george") and row["text"] == "six":
            wave = files.to_float(files.read(SPEECH / "fsdd" / row["audio"]))
            padded = np.zeros((1, files.RATE * 2), np.float32)
            padded[0, : len(wave)] = wave
            mel, count = logmel.log_mel(padded, np.array([len(wave)], np.int32), features)
            mel = np.asarray(mel)[0, : int(count[0])]
            assert np.isfinite(mel).all()
            assert abs(mel.mean()) < 1e-3 and abs(mel.std() - 1) < 1e-2
            spread.setdefault(row["speaker"], []).append([mel.min(), mel.max()])
    assert len(spread) == 2
    quiet, loud = (np.mean(values, 0) for values in spread.values())  # 15 dB apart
    assert abs(quiet - loud).max() < 0.7


@pytest.mark.parametrize("level", [1.0, 0.1])
def test_long_audio_is_cut_between_recordings(level):
    """Energy that is lost, by noise over all, and words that are cut in two."""
    rows = [json.loads(line) for line in (SPEECH / "fsdd/test.jsonl").open()]
    rng = np.random.default_rng(0)
    waves = [files.read(SPEECH / "fsdd" / rows[n]["audio"]) for n in rng.integers(0, len(rows), 60)]
    noise = files.read(SPEECH / "noise/audio/washing_machine.flac").astype(np.float64)
    silence = np.zeros(files.RATE // 2, np.int16)
    speech = np.concatenate([silence, *(x for wave in waves for x in (wave, silence))])
    ends = np.cumsum([len(wave) + len(silence) for wave in waves])
    noise = np.resize(noise, len(speech))
    noise *= np.sqrt(np.square(speech.astype(np.float64)).mean() / np.square(noise).mean())
    for share, lost in ((0.0, 1e-4), (0.1, 1e-3), (0.3, 1e-2)):
        wave = np.clip(level * (speech + share * noise), -32_768, 32_767).astype(np.int16)
        found = pauses.segments(wave, 3.0, 0.3)
        kept = np.zeros(len(wave), bool)
        for start, end in found:
            kept[start:end] = True
            assert end - start <= 3.0 * files.RATE
        power = np.square(speech.astype(np.float64))
        assert power[~kept].sum() < lost * power.sum(), share
        middles = np.array([ends - len(wave) // 2 for wave, ends in zip(waves, ends)])
        inside = sum(any(abs(edge - at) < 800 for at in middles) for p in found for edge in p)
        assert inside <= 2 and len(found) <= len(waves) + 6, share
