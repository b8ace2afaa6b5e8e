"""Index: buckets, joining, and what does not fit."""

import collections
import itertools
import tracemalloc

import numpy as np
import pytest
import recordings

from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import draws, index, joining, manifest, sources, waves
from seedasr_jax.errors import ConfigError, DataError
from seedasr_jax.text.counted import Counted

BUCKETS = ((0.2, 1, 4), (0.5, 2, 2))


def words(text):
    return len(text.split())


class Words:
    """A tokenizer whose tokens are words."""

    unk_id = pad_id = 0
    encode = staticmethod(str.split)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return recordings.write(tmp_path_factory.mktemp("corpus"), recordings.rows(57))


def make(path, query="", buckets=BUCKETS, key=(7,), **limits):
    source = sources.open_source(f"manifest:{path}{query}", "unused")
    return index.Index(source, index.Fit(buckets, **limits), Counted(Words()), *key)


def test_buckets_are_the_first_that_fit(path):
    made = make(path, stretch=1.2, min_seconds=0.11)
    epoch = made.epoch(0)
    expected = collections.defaultdict(list)
    for number, row in enumerate(manifest.read(path)):
        fits = [
            place
            for place, (seconds, tokens, _) in enumerate(BUCKETS)
            if row.seconds * 1.2 <= seconds and words(row.text) <= tokens and row.seconds >= 0.11
        ]
        expected[fits[0] if fits else None].append(number)
    assert [members.tolist() for members in epoch.buckets] == [expected[0], expected[1]]
    assert sum(epoch.left_out.values()) == len(expected[None]) > 0
    assert set(epoch.left_out) == {"shorter than 0.11 s"}


def test_each_text_is_counted_once(path):
    asked = []
    source = sources.open_source(f"manifest:{path}", "unused")
    counted = Counted(Words(), lambda text: asked.append(text) or text, "once")
    for _ in range(2):
        index.Index(source, index.Fit(BUCKETS), counted, 0)
    assert sorted(asked) == sorted({row.text for row in source.rows()})


def test_every_utterance_once_in_each_pass(path):
    made = make(path)
    for bucket, size in enumerate(made.sizes):
        first = [made.draw(bucket, n).id for n in range(size)]
        second = [made.draw(bucket, n).id for n in range(size, 2 * size)]
        assert sorted(first) == sorted(second) and len(set(first)) == size
        assert first != second
    assert first != [make(path, key=(8,)).draw(1, n).id for n in range(size)]


def test_joined_lengths_are_those_of_the_audio(path):
    made = make(path, "?join=3-6", buckets=((4.0, 20, 2),))
    cache = files.WaveCache(1 << 24)
    for row in made.epoch(3).rows:
        assert len(waves.read_wave(row, cache)) == round(row.seconds * files.RATE)
        assert row.text == " ".join(part.text for part in row.segments)
        assert row.id == "+".join(part.id for part in row.segments)
        assert 3 <= len(row.segments) <= 6 and len(row.pauses) == len(row.segments) - 1
        assert {part.speaker for part in row.segments} == {row.speaker} and row.language == "en"
        assert all(320 <= pause <= 1920 for pause in row.pauses)


def test_joining_uses_each_recording_once_and_differs_by_epoch_and_seed(path):
    made = make(path, "?join=3-6", buckets=((4.0, 20, 2),))
    everyone = sorted(row.id for row in manifest.read(path))
    for epoch in range(3):
        used = [part.id for row in made.epoch(epoch).rows for part in row.segments]
        assert sorted(used) == everyone
    first, second = ({row.id for row in made.epoch(epoch).rows} for epoch in (0, 1))
    assert not first & second
    other = make(path, "?join=3-6&seed=1", buckets=((4.0, 20, 2),))
    assert not first & {row.id for row in other.epoch(0).rows}
    again = make(path, "?join=3-6", buckets=((4.0, 20, 2),))
    assert [*again.epoch(1).rows] == [*made.epoch(1).rows]


def test_pauses_fill_their_range(path):
    made = make(path, "?join=3-6", buckets=((4.0, 20, 2),))
    epochs = range(40)
    pauses = [p for e in epochs for row in made.epoch(e).rows for p in row.pauses]
    assert min(pauses) < 340 and max(pauses) > 1900
    assert abs(sum(pauses) / len(pauses) - 1120) < 40


def test_joined_draws_follow_the_epochs(path):
    made = make(path, "?join=3-6", buckets=((0.9, 20, 2), (4.0, 20, 2)))
    assert all(made.sizes)
    for bucket, size in enumerate(made.sizes):
        for number in itertools.chain(range(2 * size), [10**6 * size]):
            epoch = number // size
            row = made.draw(bucket, number)
            assert row in made.epoch(epoch).rows or row in made.epoch(0).rows
            assert (row.seconds <= 0.9) == (bucket == 0)


@pytest.mark.parametrize("query", ["", "?join=3-6"])
def test_lengths_of_many_draws_are_those_of_their_rows(path, query):
    made = make(path, query, buckets=((0.25, 20, 2), (0.9, 20, 2), (4.0, 20, 2)))
    for bucket in np.flatnonzero(made.sizes).tolist():
        numbers = np.arange(0, 3 * made.sizes[bucket] + 2)
        seconds = [made.draw(bucket, n).seconds for n in numbers.tolist()]
        assert made.seconds(bucket, numbers).tolist() == seconds
        assert made.seconds(bucket, numbers[:0]).tolist() == []


@pytest.mark.parametrize("query", ["?join=2-3", "?context=distractors_1", "?context=own&join=2"])
def test_joined_rows_and_rows_with_a_context_are_made_on_access(tmp_path, monkeypatch, query):
    monkeypatch.setattr(joining, "_CACHED_ROWS", 16)
    count = 4_000
    rows = recordings.rows(count)
    for number, row in enumerate(rows):
        name = f"n{number % 50}"
        row |= {"keywords": [name], "context": name, "context_kind": "hotwords"}
    spec = f"manifest:{recordings.manifest(tmp_path / 'many.jsonl', rows)}"

    def make():
        source = sources.open_source(spec + query, "unused")
        return index.Index(source, index.Fit(((9.0, 99, 4),)), None, 3)

    make()  # the text and the columns of the manifest, and what modules make once
    tracemalloc.start()
    made = make()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(made.sizes) > count / 3
    assert held / count < 300  # a row takes about 1,000


@pytest.mark.parametrize("count", range(0, 30))
@pytest.mark.parametrize("join", [(1, 1), (2, 2), (3, 6), (5, 6), (4, 4)])
def test_groups_leave_as_little_as_they_can(count, join):
    fewest, most = join
    possible = {0}
    for _ in range(count):
        possible |= {p + n for p in possible for n in range(fewest, most + 1) if p + n <= count}
    for seed in range(5):
        groups = list(joining.groups(count, join, draws.words(count, seed).tolist()))
        assert all(fewest <= group <= most for group in groups)
        assert sum(groups) <= count
        if count in possible and most >= 2 * fewest - 1:
            assert sum(groups) == count


def test_recordings_without_a_speaker_are_not_joined(tmp_path):
    rows = recordings.rows(12)
    for row in rows[:5]:
        row["speaker"] = None
    path = recordings.manifest(tmp_path / "m.jsonl", rows)
    made = make(path, "?join=2-3", buckets=((4.0, 20, 2),))
    assert made.epoch(0).left_out["joining needs speakers, none is stated"] == 5
    path = recordings.manifest(tmp_path / "none.jsonl", rows[:5])
    with pytest.raises(DataError, match=r"nothing can be joined: 5 recordings: .*omit join"):
        make(path, "?join=2-3")


def test_the_fixed_pass_is_that_of_the_spec(path):
    source = sources.open_source(f"manifest:{path}?join=3-6&seed=5", "unused")
    made = make(path, "?join=3-6&seed=5", buckets=((4.0, 20, 2),), key=())
    assert [*index.fixed(source)] == [*made.epoch(0).rows]
    assert len(index.fixed(source)) >= joining.STRINGS
    assert len(set(index.fixed(source))) > 0.9 * joining.STRINGS  # other strings, pass by pass


def test_text_that_fits_no_bucket_is_an_error_with_the_longest(path):
    with pytest.raises(DataError) as error:
        make(path, buckets=((0.05, 1, 2),))
    message = str(error.value)
    assert "no utterance fits a bucket" in message and "57 longer than 0.05 s" in message
    assert "the longest text has 2 tokens" in message and "is 0.05 s, 1 tokens" in message
    assert "enlarge data.buckets" in message


def test_too_short_audio_is_an_error(path):
    with pytest.raises(DataError, match=r"57 shorter than 3 s.*lower data.min_seconds"):
        make(path, min_seconds=3.0, buckets=((9.0, 9, 1),))


def test_bad_rows_keep_a_place(tmp_path):
    rows = recordings.rows(6)
    del rows[1]["text"], rows[3]["audio"]
    rows[3]["text"] = "one"
    made = make(recordings.manifest(tmp_path / "m.jsonl", rows), min_seconds=0.05)
    assert sum(made.sizes) == len(made.rows) == 6
    faults = [(row.line, made.fit.fault(row)) for row in made.rows.take(made.faults)]
    assert faults == [(2, "no text"), (4, "no audio")]


def test_text_only_needs_no_audio(tmp_path):
    path = recordings.manifest(tmp_path / "t.jsonl", [{"text": "a b c"}, {"text": "a"}])
    made = make(path, buckets=((0.0, 1, 4), (0.0, 3, 4)), min_seconds=0.1)
    assert made.sizes == [1, 1] and not len(made.faults)


@pytest.mark.parametrize("buckets", [(), ((1.0, 5, 0),), ((2.0, 5, 1), (1.0, 6, 1))])
def test_wrong_buckets(buckets):
    with pytest.raises(ConfigError, match="buckets: expected"):
        index.Fit(buckets)
