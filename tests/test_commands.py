"""The corpus of commands: the plan at full size, and a small corpus with audio."""

import hashlib
import itertools
import json
import pathlib

import numpy as np
import pytest

from seedasr_jax import errors
from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import cells, index, sources
from seedasr_jax.data_pipelines.synth import commands, corpus, facts, timing
from seedasr_jax.data_pipelines.synth.spoken import SPOKEN
from seedasr_jax.text import languages

SCALE = 0.02  # one shard of each split
LATIN = ("en", "es", "pt")


@pytest.fixture(scope="module")
def plan():
    """The full corpus without sound, as rows: split -> rows."""
    return {
        split: [dict(clip.fields, duration=0.0) for clip in clips]
        for split, clips in commands.plan().items()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return commands.prepare(tmp_path_factory.mktemp("first"), scale=SCALE)


@pytest.fixture(scope="module")
def rows(made):
    return {
        split: [json.loads(line) for line in path.read_text().splitlines()]
        for split, path in made.items()
    }


def contents(paths):
    folder = paths["train"].parent
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in pathlib.Path(folder).rglob("*")
        if path.is_file()
    }


def units(row):
    text = row["text"]
    return text.split() if row["lang"] in LATIN else list(text)


def of_language(rows, tag):
    return [row for row in rows if row["lang"] == tag]


def test_the_full_plan_is_as_hard_as_it_must_be(plan):
    commands.require(facts.of_rows(plan))
    assert len(plan["train"]) >= 8_750 and len(plan["dev"]) == 300 and len(plan["test"]) == 700
    train = {row["text"] for row in plan["train"]}
    for split in commands.SPLITS[1:]:
        assert not train & {row["text"] for row in plan[split]}, split
    for tag in SPOKEN:
        own = of_language(plan["train"], tag)
        assert len({row["text"] for row in own}) >= 1_500
        without_names = {unit for row in own if not row["keywords"] for unit in units(row)}
        assert len(without_names) >= (200 if tag in LATIN else 220)
        seen = {pair for row in own for pair in itertools.pairwise(units(row))}
        for split, count in (("dev", 60), ("test", 140)):
            held_out = of_language(plan[split], tag)
            assert len({row["text"] for row in held_out}) == count
            fresh = [not seen.issuperset(itertools.pairwise(units(row))) for row in held_out]
            assert 0.5 <= np.mean(fresh) <= 0.6, (tag, split)


def test_every_unit_of_a_held_out_sentence_is_often_in_training(plan):
    for tag in SPOKEN:
        trained = [set(units(row)) for row in of_language(plan["train"], tag)]
        for split in ("dev", "test"):
            for unit in {unit for row in of_language(plan[split], tag) for unit in units(row)}:
                assert sum(unit in sentence for sentence in trained) >= 8, (tag, unit)
        for split in ("unseen_names", "dev_unseen_names"):
            own = of_language(plan[split], tag)
            names = {name for row in own for name in row["keywords"]}
            carriers = {unit for row in own for unit in units(row)}
            assert carriers - names <= set().union(*trained)  # in Chinese the names' characters too


def test_voices_are_held_out(plan):
    variants = {split: {row["voice"]["variant"] for row in own} for split, own in plan.items()}
    assert not variants["train"] & variants["dev"]
    for split in ("dev_homophones", "dev_unseen_names"):
        assert variants[split] <= variants["dev"]
    for split in ("test", "homophones", "unseen_names"):
        assert not variants[split] & (variants["train"] | variants["dev"])
        assert len(variants[split]) >= 8
    dialects = {tag: {row["dialect"] for row in of_language(plan["test"], tag)} for tag in SPOKEN}
    assert len(dialects["en"]) == 4 and len(dialects["es"]) == len(dialects["pt"]) == 2
    for tag, own in dialects.items():
        assert {row["dialect"] for row in of_language(plan["train"], tag)} == own
        for dialect in own:  # no table of languages lacks it
            assert languages.lookup(dialect).tag == dialect
    assert all(row["voice"]["variant"] != commands.CRASHES for own in plan.values() for row in own)


def test_names_are_trained_in_every_spelling_or_in_none(plan):
    known = {row["text"] for own in plan.values() for row in own}
    for tag, language in SPOKEN.items():
        train = of_language(plan["train"], tag)
        trained = {name for row in train for name in row["keywords"]}
        for split, groups in (
            ("homophones", language.homophones),
            ("unseen_names", language.unseen),
            ("dev_homophones", language.homophones),
            ("dev_unseen_names", language.unseen_dev),
        ):
            spelled = {name: set(group) - {name} for group in groups for name in group}
            own = of_language(plan[split], tag)
            for row in own:
                (name,) = row["keywords"]
                assert name in row["text"] and set(row["siblings"]) == spelled[name]
                for sibling in row["siblings"]:  # nowhere is the same sentence of a sibling
                    assert row["text"].replace(name, sibling) not in known
            assert len({row["keywords"][0] for row in own}) >= min(len(own), len(spelled))
            for name in spelled:
                assert (name in trained) == split.endswith("homophones")
                if split.endswith("unseen_names"):
                    assert not any(name in row["text"] for row in train)
        for split in ("dev", "test"):
            assert not any(row["keywords"] for row in of_language(plan[split], tag))
    for split in commands.NAMED:
        texts = [{row["text"] for row in plan[name]} for name in (split, f"dev_{split}")]
        assert len(texts[0]) == len(texts[1]) and not texts[0] & texts[1]
    counts = {tag: len(of_language(plan["homophones"], tag)) for tag in SPOKEN}
    assert counts["en"] >= 80 and counts["zh"] >= 40 and sum(counts.values()) >= 150
    assert len(plan["unseen_names"]) >= 120


def test_two_builds_are_byte_identical(made, tmp_path):
    again = commands.prepare(tmp_path, scale=SCALE, workers=1)
    assert again["train"].parent.name == made["train"].parent.name
    assert contents(again) == contents(made) and len(contents(made)) == 2 * len(commands.SPLITS)


def test_a_scale_is_checked(tmp_path):
    for scale in (0, -1.0, 1.5):
        with pytest.raises(errors.ConfigError, match="scale: expected more than 0 and at most 1"):
            commands.prepare(tmp_path, scale=scale)
    assert list(tmp_path.iterdir()) == []


def test_rows_describe_their_audio(made, rows):
    folder = made["train"].parent
    everything = [row for own in rows.values() for row in own]
    assert len({row["id"] for row in everything}) == len(everything)
    for row in everything:
        wave = files.read(folder / row["audio"], offset=row["offset"], duration=row["duration"])
        assert len(wave) == round(row["duration"] * files.RATE)
        assert wave[:400].any() and wave[-400:].any()
        assert 0.05 < row["duration"] / len(units(row)) < 1.2
        words, phones = row["alignment"]["words"], row["alignment"]["phones"]
        assert len(words) == len(units(row)) and words == sorted(words)
        starts = [start for start, _ in phones]
        assert starts == sorted(starts) and len(phones) >= len(words)
        assert 0 <= words[0] < 0.1 and 0 <= starts[0] < 0.2
        assert max(words[-1], starts[-1]) <= row["duration"]
        assert not any(set(name) & set("',%") for _, name in phones)


def test_timings_lie_where_the_sound_is(made, rows):
    """Pauses of the alignment are quieter than its vowels: the trimming was taken off."""
    folder, quiet, loud = made["train"].parent, [], []
    for row in rows["train"]:
        wave = files.to_float(
            files.read(folder / row["audio"], offset=row["offset"], duration=row["duration"])
        )
        power = np.square(wave) / np.mean(np.square(wave))
        phones = row["alignment"]["phones"]
        for (start, name), (end, _) in itertools.pairwise(phones):
            part = power[int(start * files.RATE) : int(end * files.RATE)]
            if len(part) > 0.03 * files.RATE and (name == timing.PAUSE or name[0] in "aAO"):
                (quiet if name == timing.PAUSE else loud).append(np.mean(part))
    assert len(quiet) > 50 and np.median(quiet) < 0.02 < 0.5 < np.median(loud)


def test_a_spec_finds_each_split(made, monkeypatch):
    folder = made["train"].parent.parent
    monkeypatch.setattr(commands, "prepare", lambda folder: made)
    source = sources.open_source("synth:commands?split=homophones", folder)
    row = source.rows()[0]
    assert row.language in SPOKEN and languages.lookup(row.dialect).tag == row.dialect
    assert row.domain == "commands" and len(row.keywords) == 1 and row.siblings
    assert isinstance(row.alignment, cells.Alignment)
    assert row.alignment.phones[0][0] >= 0 and isinstance(row.alignment.phones[0][1], str)
    with pytest.raises(errors.ConfigError, match="split: expected one of train, dev, test, homo"):
        sources.open_source("synth:commands?split=tset", folder)
    joined = index.fixed(sources.open_source("synth:commands?split=test&join=2", folder))
    assert joined[0].segments and joined[0].alignment is None and joined[0].siblings == ()


def test_equal_waves_in_two_splits_are_noticed(tmp_path):
    clip = commands.plan()["train"][0]
    with pytest.raises(AssertionError, match="two splits contain the same waveform"):
        corpus.make(tmp_path, "x", {"train": [clip], "test": [clip]}, version=1)
    assert [path for path in tmp_path.iterdir() if not path.name.startswith(".")] == []
