"""Synthesised speech: requests, results, and their reproducibility."""

import hashlib
import json
import os
import pathlib
import re
import sys
import threading
import time

import numpy as np
import pytest

from seedasr_jax import errors
from seedasr_jax.audio import files
from seedasr_jax.data_pipelines.synth import corpus as corpora
from seedasr_jax.data_pipelines.synth import digits, espeak

SIZES = dict(train=30, dev=4, test=4)  # two shards of training, four in all

# What must be left of each digit in any accent (IPA without stress and length).
SKELETONS = {
    "zero": r"d?[zsʑtʒ]+[iɪə]+[ɹrɾʁ][oɔʌəʊ].*",
    "one": r"[wʋvu][aɑʌɒɐʊ]ɪ?̃?[nŋ]+",
    "two": r"[tʈ][uʊʉəɪ].*",
    "three": r"(θ|t̪|tʰ|[ðtsf])[ɹrɾʁ]ʲ?[iɪe].*",
    "four": r"f[oɔɐə]+[ɹrɾʁə]*",
    "five": r"f[aɑɔ]+[iɪj][vfʋb]",
    "six": r"[sɕ]ʲ?[iɪɨ]ks",
    "seven": r"[sz][ɛe]+[vʋβ][əɛeɯæ]?ɪ?[nŋ]",
    "eight": r"[eɛə][iɪj]?(t|ʈ|tʃ)i?",
    "nine": r"n[aɑɔ]+[iɪj]n",
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return digits.prepare(tmp_path_factory.mktemp("first"), **SIZES)


@pytest.fixture(scope="module")
def rows(corpus):
    return {
        split: [json.loads(line) for line in path.read_text().splitlines()]
        for split, path in corpus.items()
    }


def contents(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in pathlib.Path(folder).rglob("*")
        if path.is_file()
    }


def say(*texts, voice="gmw/en-US", **settings):
    return espeak.speak([espeak.Utterance(text, voice, **settings) for text in texts])


def test_two_builds_are_byte_identical(corpus, tmp_path):
    time.sleep(1.1)  # espeak-ng seeds itself by the second: builds within one agree by chance
    again = digits.prepare(tmp_path, workers=1, **SIZES)
    first, second = corpus["train"].parent, again["train"].parent
    assert first.name == second.name and first != second
    assert len(contents(first)) == 4 + 3
    assert contents(first) == contents(second)


def test_a_whole_corpus_is_found_and_another_size_is_another_corpus(corpus, monkeypatch):
    def refuse(utterances):
        raise AssertionError("synthesised again")

    monkeypatch.setattr(espeak, "speak", refuse)
    folder = corpus["train"].parent.parent
    assert digits.prepare(folder, **SIZES) == corpus
    with pytest.raises(AssertionError, match="again"):
        digits.prepare(folder, **(SIZES | {"dev": 5}))
    with pytest.raises(errors.ConfigError, match="dev: expected at least 1"):
        digits.prepare(folder, **(SIZES | {"dev": 0}))


def test_what_was_made_before_a_stop_stays(corpus, tmp_path, monkeypatch):
    original, calls = espeak.speak, []

    def third_time_fails(utterances):
        calls.append(1)
        if len(calls) == 3:
            raise errors.UserError("no more")
        return original(utterances)

    monkeypatch.setattr(espeak, "speak", third_time_fails)
    with pytest.raises(errors.UserError, match="no more"):
        digits.prepare(tmp_path, **SIZES, workers=1)
    assert [path for path in tmp_path.iterdir() if not path.name.startswith(".")] == []
    found = digits.prepare(tmp_path, **SIZES)
    shards = len(list(found["train"].parent.rglob("*.flac")))
    assert len(calls) == shards + 1  # the one that failed is the only one twice
    for split in SIZES:
        assert found[split].read_bytes() == corpus[split].read_bytes()
    made, whole = (sorted(p.parent.rglob("*.flac")) for p in (found["dev"], corpus["dev"]))
    assert [path.read_bytes() for path in made] == [path.read_bytes() for path in whole]
    assert sorted(p.name for p in found["dev"].parent.iterdir()) == sorted(
        p.name for p in corpus["dev"].parent.iterdir()
    )


def test_no_variant_and_no_near_sibling_is_in_two_splits():
    variants = corpora.split_variants()
    assert len(variants["train"]) >= 70 and len(variants["dev"]) >= 4 <= len(variants["test"])

    def families(names):  # steph, steph2 and steph3 are one; f1 to f5 and m1 to m8 are different
        return {name if name[:-1] in "fm" else name.lower().rstrip("0123456789") for name in names}

    for one, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
        assert not families(variants[one]) & families(variants[other])
    for split, names in variants.items():
        assert {setting.variant for setting in digits.draw(split, 40)} <= set(names)


def test_draws_have_the_shares_and_ranges_of_the_recipe():
    settings = digits.draw("train", 1_200)
    assert settings == digits.draw("train", 1_200)
    accents = [setting.accent for setting in settings]
    english = [accent for accent in accents if accent in digits.ENGLISH]
    assert len(english) == 660 and set(accents) == set(digits.ENGLISH) | set(digits.FOREIGN)
    counts = [accents.count(accent) for accent in set(accents)]
    assert min(counts) >= 33 and max(counts) <= 83
    assert len({setting.name for setting in settings}) == 1_200
    assert len({setting.variant for setting in settings}) == len(corpora.split_variants()["train"])
    for name, low, high in (("pitch", 5, 79), ("range", 10, 89), ("rate", 110, 219)):
        values = [getattr(setting, name) for setting in settings]
        assert (min(values), max(values)) == (low, high)
    levels = np.array([setting.levels for setting in settings])
    assert -40 <= levels.min() < -39 and -16 < levels.max() <= -15
    assert np.ptp(levels, axis=1).max() <= 4  # one speaker is about as loud all the time


def test_rows_and_audio_agree(corpus, rows):
    for split, size in SIZES.items():
        assert len(rows[split]) == 10 * size
        speakers = {}
        for row in rows[split]:
            speakers.setdefault(row["speaker"], []).append(row["text"])
        assert len(speakers) == size
        assert all(tuple(texts) == digits.DIGITS for texts in speakers.values())
    folder, everything = corpus["train"].parent, [row for own in rows.values() for row in own]
    assert len({row["id"] for row in everything}) == len(everything)
    for row in everything:
        assert set(row) == {
            "id",
            "audio",
            "offset",
            "duration",
            "text",
            "speaker",
            "lang",
            "accent",
            "domain",
            "voice",
        }
        wave = files.read(folder / row["audio"], offset=row["offset"], duration=row["duration"])
        assert len(wave) == round(row["duration"] * files.RATE)
        level = 10 * np.log10(np.mean(np.square(files.to_float(wave))))
        assert -40.1 < level < -14.9
        end = row["offset"] + row["duration"]
        assert not files.read(folder / row["audio"], offset=end, duration=0.1).any()
        assert wave[:400].any() and wave[-400:].any()


def test_every_digit_in_every_accent_has_sound_and_is_that_digit():
    voices = {accent: (voice, digits.DIGITS) for accent, voice in digits.ENGLISH.items()}
    voices |= {accent: (voice, words.split()) for accent, (voice, words) in digits.FOREIGN.items()}
    assert len(voices) == 24 and all(len(words) == 10 for _, words in voices.values())
    asked = [
        (accent, digit, espeak.Utterance(word, voice))
        for accent, (voice, words) in voices.items()
        for digit, word in zip(digits.DIGITS, words, strict=True)
    ]
    utterances = [utterance for _, _, utterance in asked]
    for (accent, digit, _), speech, ipa in zip(
        asked, espeak.speak(utterances), espeak.phonemes(utterances), strict=True
    ):
        assert len(corpora.shape(speech.wave, -25.0)[0]) > 0.1 * files.RATE, (accent, digit)
        ipa = re.sub("[ˈˌː]", "", ipa)
        assert re.fullmatch(SKELETONS[digit], ipa), (accent, digit, ipa)


def test_shape_trims_and_sets_the_level():
    rng, rate = np.random.default_rng(0), espeak.RATE
    speech = np.concatenate([np.zeros(rate), 0.3 * rng.standard_normal(rate), np.zeros(rate)])
    wave, trimmed = corpora.shape(files.to_int16(speech), -30.0)
    wave = files.to_float(wave)
    assert abs(len(wave) - files.RATE - 2 * corpora.TRIM_MARGIN) < 20
    assert abs(trimmed - files.RATE + corpora.TRIM_MARGIN) < 20
    assert abs(10 * np.log10(np.mean(np.square(wave))) + 30) < 0.05
    speech[rate + 100] = 0.9  # a click, far above the rest
    speech[rate + 101 :] *= 0.1
    wave = files.to_float(corpora.shape(files.to_int16(speech), -6.0)[0])
    assert 0.97 < np.abs(wave).max() < 0.99
    with pytest.raises(
        errors.UserError, match=r"expected at least 0\.08 s for a word, found 0\.0.. s"
    ):
        corpora.shape(files.to_int16(speech[rate : rate + 500]), -30.0)


def test_events_say_when_words_and_phonemes_begin():
    (speech,) = say("good morning everybody", rate=150)
    words = [event for event in speech.events if event.kind == "word"]
    assert [event.value for event in words] == ["good", "morning", "everybody"]
    assert [event.place for event in words] == [0, 5, 13]
    assert next(event.value for event in speech.events if event.kind == "phoneme") == "g"
    samples = [event.sample for event in speech.events]
    assert samples == sorted(samples) and samples[0] >= 0 and samples[-1] <= len(speech.wave)
    alone = len(say("good", rate=150)[0].wave)
    assert 0.4 * alone < words[1].sample < 1.2 * alone
    assert speech.wave.dtype == np.int16 and not speech.wave.flags.writeable


def test_the_library_stays_out_of_this_process():
    assert len(say("hello")[0].wave) > 0.2 * espeak.RATE
    assert "libespeak" not in pathlib.Path("/proc/self/maps").read_text()


@pytest.mark.parametrize(
    "changed, message",
    [
        (dict(voice="gmw/en-UK"), "no voice 'gmw/en-UK'.*gmw/en-US"),
        (dict(voice="en-gb"), "no voice"),  # the library keeps the previous voice
        (dict(variant="f33"), "no variant 'f33'.*Did you mean.*f3"),  # the library returns "ok"
        (dict(variant="../f3"), "no variant"),
        (dict(pitch=100), "pitch: expected an integer from 0 to 99, found 100"),
        (dict(rate=79), "rate: expected .* 80 to 450"),
        (dict(range=5.0), "range: expected an integer"),
        (dict(text=" "), "expected a non-empty text"),
        (dict(text="a\0b"), "without NUL"),
    ],
)
def test_what_the_library_would_swallow_is_refused(changed, message):
    with pytest.raises(errors.ConfigError, match=message):
        espeak.speak([espeak.Utterance(**(dict(text="one", voice="gmw/en-US") | changed))])


@pytest.mark.parametrize("changed", [dict(voice="en-gb"), dict(variant="nosuch")])
def test_the_process_itself_notices_another_voice(changed, monkeypatch):
    monkeypatch.setattr(espeak, "check", lambda utterance: None)
    with pytest.raises(errors.UserError, match=r"expected voice .*, found gmw/en"):
        espeak.speak(
            [
                espeak.Utterance("one", "gmw/en-US"),
                espeak.Utterance(**(dict(text="two", voice="gmw/en-US") | changed)),
            ]
        )


def test_a_missing_package_is_named_with_its_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(errors.ConfigError, match=r"pip install 'seedasr_jax\[synth\]'"):
        espeak.version()


def test_shards_keep_their_order_their_number_and_their_errors(capsys):
    lock, running, most = threading.Lock(), [], []

    def make(shard):
        with lock:
            running.append(shard)
            most.append(len(running))
        time.sleep(0.02 * (shard % 3))
        with lock:
            running.remove(shard)
        if shard == 9:
            raise errors.UserError("shard 9")
        return shard * shard

    assert list(espeak.each_shard(make, list(range(9)), label="x", workers=64)) == [
        n * n for n in range(9)
    ]
    assert max(most) <= os.cpu_count()
    assert "x 9/9 shards" in capsys.readouterr().err
    with pytest.raises(errors.UserError, match="shard 9"):
        list(espeak.each_shard(make, list(range(20)), label="x"))
