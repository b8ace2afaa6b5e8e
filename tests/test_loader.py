"""Loader: batches as a pure function of seed and step.

Dims: B utterances, S samples, L tokens.
"""

import dataclasses
import threading
import time

import jax
import numpy as np
import pytest
import recordings
from streams import BUCKETS, COUNT, assert_same, take
import tiny

from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import manifest, waves
from seedasr_jax.errors import ConfigError, DataError
from seedasr_jax.small.objectives import times


def test_a_batch_holds_what_its_rows_say(corpus, opened, tokenizer):
    by_id = {row["id"]: row for row in recordings.rows(COUNT)}
    stream = opened(f"manifest:{corpus}", prompted=True)
    instruction = tokenizer.encode(tiny.PROMPT.plain[0])
    for step, (batch, info) in enumerate(take(stream, 12)):
        seconds, tokens, utterances = BUCKETS[info.bucket]
        assert info.step == step and len(info.rows) == utterances
        assert batch.wave.shape == (utterances, seconds * files.RATE)
        assert batch.ids.shape == (utterances, tokens) and batch.context.shape == (utterances, 0)
        assert batch.position.tolist() == list(range(utterances))
        assert batch.weight.tolist() == [1.0] * utterances
        assert batch.prompt.tolist() == [instruction] * utterances
        assert batch.prompt_length.tolist() == [len(instruction)] * utterances
        for row, info_row in enumerate(info.rows):
            expected = by_id[info_row.id]
            wave = recordings.wave(expected)
            assert batch.wave_length[row] == len(wave)
            np.testing.assert_array_equal(batch.wave[row, : len(wave)], wave / np.float32(32_768))
            assert not batch.wave[row, len(wave) :].any()
            ids = tokenizer.encode(expected["text"])
            assert batch.ids[row, : batch.ids_length[row]].tolist() == ids
            assert not batch.ids[row, len(ids) :].any()
    assert not stream.skipped


@pytest.mark.parametrize("query", ["", "?join=2-3"])
def test_any_start_gives_the_same_batches(corpus, opened, query):
    buckets = ((0.6, 40, 4), (2.0, 40, 2))
    settings = dict(buckets=buckets, filler=times.progress_filler(40), extra=times.progress_shapes)
    whole = take(opened(f"manifest:{corpus}{query}", **settings), 30)
    for step, (batch, _) in enumerate(whole):
        assert batch.extra.progress.tolist() == [np.float32(step / 40)] * len(batch.weight)
    for start in (1, 17):
        part = take(opened(f"manifest:{corpus}{query}", start=start, **settings), 5)
        for (batch, info), (expected, expected_info) in zip(part, whole[start:]):
            assert info == expected_info
            assert_same(batch, expected)
    other = take(opened(f"manifest:{corpus}{query}", buckets=buckets, seed=4), 5)
    assert [info.rows for _, info in other] != [info.rows for _, info in whole[:5]]


def test_a_filler_states_the_shapes_of_what_it_adds(corpus, opened):
    """Else a process whose data fails would run another program than the others."""
    with pytest.raises(ConfigError, match=r"expected .*Needs\.extra.* found None"):
        opened(f"manifest:{corpus}", filler=times.progress_filler(40))


def test_a_filler_that_adds_other_shapes_ends_the_job(corpus, opened):
    def fill(batch, *_):
        return dataclasses.replace(batch, extra=times.Progress(np.zeros(7, np.float32)))

    stream = opened(f"manifest:{corpus}", filler=fill, extra=times.progress_shapes)
    with pytest.raises(ConfigError, match=r"what Needs\.extra states.*found.*\(7,\)"):
        take(stream, 1)


def test_a_filler_that_raises_ends_the_job_in_one_line(corpus, opened):
    stream = opened(f"manifest:{corpus}", filler=lambda *_: 1 / 0, extra=times.progress_shapes)
    with pytest.raises(ConfigError, match=r"filler.*ZeroDivisionError: .*test_loader\.py"):
        take(stream, 1)


def test_the_audio_of_a_batch_and_of_those_behind_it_is_read_together(corpus, opened, monkeypatch):
    """No file is read before three others are begun."""
    together, read = threading.Barrier(4, timeout=20), waves.read_recording

    def recording(row, cache):
        together.wait()
        return read(row, cache)

    buckets = ((0.6, 40, 2),)
    expected = take(opened(f"manifest:{corpus}", buckets=buckets), 6)
    monkeypatch.setattr(waves, "read_recording", recording)
    for one, other in zip(take(opened(f"manifest:{corpus}", buckets=buckets), 6), expected):
        assert_same(one[0], other[0])
    together.abort()  # for those that are read ahead


def test_step_one_million_opens_at_once(corpus, opened):
    joined, buckets = f"manifest:{corpus}?join=2-3", ((2.0, 40, 4),)
    begun = time.perf_counter()
    batch, info = next(opened(joined, start=10**6, buckets=buckets))
    assert time.perf_counter() - begun < 1.0
    before = take(opened(joined, start=10**6 - 2, buckets=buckets), 3)
    assert info.step == 10**6 and before[2][1] == info
    assert_same(batch, before[2][0])


def test_processes_share_the_rows_of_one(corpus, opened):
    whole = take(opened(f"manifest:{corpus}"), 12)
    shares = [take(opened(f"manifest:{corpus}", process=(p, 2)), 12) for p in range(2)]
    for (batch, info), (first, one), (second, other) in zip(whole, *shares):
        assert one.rows + other.rows == info.rows
        assert_same(jax.tree.map(lambda *x: np.concatenate(x), first, second), batch)


def test_every_utterance_once_per_pass(corpus, opened):
    rows = [
        r
        for _, info in take(opened(f"manifest:{corpus}", buckets=((0.5, 20, 4),)), 20)
        for r in info.rows
    ]
    ids = sorted(row["id"] for row in recordings.rows(COUNT))
    assert sorted(row.id for row in rows[:COUNT]) == sorted(row.id for row in rows[COUNT:]) == ids
    assert [row.id for row in rows[:COUNT]] != [row.id for row in rows[COUNT:]]


def test_samples_are_those_of_the_batches(corpus, opened):
    stream = opened(f"manifest:{corpus}", process=(0, 2))
    infos = [info for _, info in take(stream, 9)]
    other = [info for _, info in take(opened(f"manifest:{corpus}", process=(1, 2)), 9)]
    total = sum(row.seconds for info in infos + other for row in info.rows)
    ((name, samples),) = stream.samples.items()
    assert samples / 16_000 == pytest.approx(total)
    assert name == f"manifest:corpus.jsonl#{manifest.content_hash(corpus)[:8]}"


def test_text_only(opened, tmp_path, tokenizer):
    rows = [{"text": word} for word in recordings.WORDS]
    path = recordings.manifest(tmp_path / "text.jsonl", rows)
    batch, _ = next(opened(f"manifest:{path}", buckets=((0.0, 8, 10),)))
    assert batch.wave.shape == (10, 0) and batch.ids.shape == (10, 8)
    said = [tokenizer.decode(ids[:n]) for ids, n in zip(batch.ids, batch.ids_length)]
    assert sorted(said) == sorted(recordings.WORDS) and batch.weight.sum() == 10


def test_audio_only(opened, tmp_path):
    rows = [{k: v for k, v in row.items() if k != "text"} for row in recordings.rows(4)]
    path = recordings.write(tmp_path, rows)
    batch, _ = next(opened(f"manifest:{path}", buckets=((0.5, 0, 4),)))
    assert batch.ids.shape == (4, 0) and batch.weight.sum() == 4 and (batch.wave_length > 0).all()


def test_mixture_rates(corpus, opened, tmp_path):
    rows = [row | {"id": f"o{number}"} for number, row in enumerate(recordings.rows(8))]
    other = recordings.write(tmp_path, rows, "other.jsonl")
    stream = opened(
        (f"manifest:{corpus}", 3.0), (f"manifest:{other}", 1.0), buckets=((0.5, 20, 4),)
    )
    rows = [row for _, info in take(stream, 60) for row in info.rows]
    assert sum(row.id.startswith("o") for row in rows) == 60  # of 240: a quota, no chance


def test_a_source_is_named_once(corpus, opened, tmp_path):
    again = tmp_path / corpus.name
    again.write_bytes(corpus.read_bytes())
    with pytest.raises(ConfigError, match=r"both contain manifest:corpus.*the sum of its rates"):
        opened(f"manifest:{corpus}", f"manifest:{again}")
    opened(f"manifest:{corpus}?part=train", f"manifest:{corpus}?part=dev")


@pytest.mark.parametrize(
    "data, error, message",
    [
        ({"process": (0, 3)}, ConfigError, "4 utterances in .* by 3 processes; use 6"),
        ({"buckets": ((0.05, 20, 4),)}, DataError, "no utterance fits a bucket"),
        ({"normalizer": "basic"}, ConfigError, "basic@1"),
    ],
)
def test_errors_at_the_start(corpus, opened, data, error, message):
    with pytest.raises(error, match=message):
        opened(f"manifest:{corpus}", **data)
