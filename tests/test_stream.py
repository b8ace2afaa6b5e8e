"""Streams: bad rows keep their place and are judged alike in all processes; prefetching."""

import itertools
import shutil
import threading

import jax
import numpy as np
import pytest
import recordings
from streams import COUNT, assert_same, take

from seedasr_jax import config
from seedasr_jax.data_pipelines import batching, lines, loader, manifest
from seedasr_jax.data_pipelines.stream import BadRows, Prefetch
from seedasr_jax.errors import DataError
from seedasr_jax.skipped import CONTEXT_CUT, merged
from seedasr_jax.small.objectives import times


def _headerless(audio, row):
    """A file whose length nothing states, the row neither."""
    audio.rename(audio.with_suffix(".raw"))
    row["audio"] = row["audio"].replace(".flac", ".raw")
    del row["duration"]


BAD = {
    "missing audio": lambda audio, row: audio.unlink(),
    "unreadable audio": lambda audio, row: _headerless(audio, row),
    "text that is not Unicode": lambda audio, row: row.update(text="zero \ud83d"),
    "no text": lambda audio, row: row.pop("text"),
    "no audio": lambda audio, row: row.pop("audio"),
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_row_weighs_nothing_and_shifts_nothing(corpus, opened, tmp_path, reason):
    shutil.copytree(corpus.parent, tmp_path / "copy")
    rows = recordings.rows(COUNT)
    bad = rows[5]["id"]
    BAD[reason](tmp_path / "copy" / rows[5]["audio"], rows[5])
    recordings.manifest(tmp_path / "copy" / corpus.name, rows)
    settings = {"buckets": ((0.5, 20, 4),), "max_bad_fraction": 0.5}
    good = take(opened(f"manifest:{corpus}", **settings), 15)
    stream = opened(f"manifest:{tmp_path}/copy/{corpus.name}", **settings)
    found = []
    for (batch, info), (expected, _) in zip(take(stream, 15), good):
        for row, utterance in enumerate(info.rows):
            if utterance.id == bad:
                found.append((info.step, row))
                assert batch.weight[row] == 0 and not batch.wave[row].any()
                assert batch.wave_length[row] == batch.ids_length[row] == 0
            else:
                mine, theirs = jax.tree.map(lambda x, row=row: x[row], (batch, expected))
                assert_same(mine, theirs)
    assert len(found) in (1, 2)
    assert [(s["step"], s["position"]) for s in stream.skipped] == found
    assert {(s["id"], s["reason"]) for s in stream.skipped} == {(bad, reason)}


def test_a_line_that_changes_while_it_is_read_is_a_bad_row(corpus, opened, tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "LARGE", 0)  # read when they are drawn
    shutil.copytree(corpus.parent, tmp_path / "copy")
    copy = tmp_path / "copy" / corpus.name
    stream = opened(f"manifest:{copy}", buckets=((0.5, 20, 4),), max_bad_fraction=1.0)
    sixth = sum(map(len, copy.read_bytes().splitlines(keepends=True)[:5]))
    with copy.open("r+b") as file:
        file.seek(sixth)
        file.write(b"[")
    take(stream, 25)
    found = {(row["id"], row["reason"], row["detail"]) for row in stream.skipped}
    name = f"manifest:{corpus.name}#{manifest.content_hash(corpus)[:8]}:6"
    assert found == {(name, loader._CHANGED, "line 6 of its manifest")}


def test_so_is_a_row_whose_other_context_stood_on_such_a_line(
    corpus, opened, tmp_path, monkeypatch
):
    """It gets no other text instead, and is not said to have changed itself."""
    monkeypatch.setattr(lines, "LARGE", 0)
    rows = recordings.rows(COUNT)
    rows[5] |= {"context": "the only one", "context_kind": "dialogue_history"}
    shutil.copytree(corpus.parent, tmp_path / "copy")
    copy = recordings.manifest(tmp_path / "copy" / corpus.name, rows)
    options = dict(prompted=True, contexts=config.Contexts(20, 0.5, 0.5, 0, {}))
    options |= dict(buckets=((0.5, 20, 4),), max_bad_fraction=1.0)
    stream = opened(f"manifest:{copy}", **options)
    at = copy.read_bytes().index(b"the only one")
    with copy.open("r+b") as file:
        file.seek(at)
        file.write(b"another text")
    take(stream, 25)
    found = {(row["id"].rpartition(":")[2], row["reason"]) for row in stream.skipped}
    assert {reason for _, reason in found} == {loader._CHANGED, loader._OTHER_CHANGED}
    assert all((line == "6") == (reason == loader._CHANGED) for line, reason in found)


def test_a_joined_row_names_its_bad_recording(corpus, opened, tmp_path):
    shutil.copytree(corpus.parent, tmp_path / "copy")
    bad = recordings.rows(COUNT)[7]
    (tmp_path / "copy" / bad["audio"]).unlink()
    spec = f"manifest:{tmp_path}/copy/{corpus.name}?join=2-3"
    stream = opened(spec, buckets=((2.0, 40, 4),), max_bad_fraction=0.5)
    take(stream, 12)
    assert stream.skipped
    for row in stream.skipped:
        assert row["recording"] == bad["id"] and bad["id"] in row["id"].split("+")
        assert bad["audio"] in row["detail"]


def test_audio_that_is_longer_than_its_bucket_is_bad(corpus, opened, tmp_path):
    rows = recordings.rows(1)
    recordings.write(tmp_path, rows)
    (row,) = manifest.read(tmp_path / "corpus.jsonl")
    example = {"wave": np.zeros(9_000, np.int16), "ids": np.ones(30, np.int32)}
    reading = batching.PromptText(None)
    for bucket, reason in [((0.5, 20, 1), "too long"), ((0.6, 20, 1), "too many tokens")]:
        _, (fault,) = loader.collate([example], bucket, reading, 0)
        assert fault.reason == reason
    assert row.seconds < 0.5


def test_too_many_bad_rows_end_the_job(corpus, opened, tmp_path):
    shutil.copytree(corpus.parent, tmp_path / "copy")
    for row in recordings.rows(COUNT)[:3]:
        (tmp_path / "copy" / row["audio"]).unlink()
    spec = f"manifest:{tmp_path}/copy/{corpus.name}"
    take(opened(spec, max_bad_fraction=0.2), 40)
    with pytest.raises(DataError, match=r"3 of 40 recordings.*x missing audio; the first.*no such"):
        take(opened(spec, max_bad_fraction=0.06), 40)
    with pytest.raises(DataError, match=r"1 of .* are bad"):
        take(opened(spec, max_bad_fraction=0.0), 40)


def test_a_filler_that_fails_is_not_called_again(corpus, opened):
    """It would end one process alone; its rows have weight 0 until all know of the error."""
    calls = []

    def fails(batch, rows, bucket, step):
        calls.append(step)
        raise DataError("no times")

    shapes = times.progress_shapes
    stream = opened(f"manifest:{corpus}", process=(0, 2), filler=fails, extra=shapes)
    for batch, _ in take(stream, 3):
        assert not batch.weight.any() and not batch.extra.progress.any()
        assert len(batch.extra.progress) == len(batch.weight)
    assert calls == [0] and "no times" in stream.skipped[0]["detail"]


def test_rows_without_text_end_it_before_it_starts(opened, tmp_path):
    rows = [row | {"text": ""} for row in recordings.rows(4)]
    path = recordings.manifest(tmp_path / "m.jsonl", rows)
    with pytest.raises(DataError, match=r"line 1 \(r000\): no text; 4 of 4 rows"):
        opened(f"manifest:{path}", max_bad_fraction=0.5)


@pytest.mark.parametrize("seed", range(5))
def test_as_many_bad_rows_as_allowed_go_on(seed):
    limit, rng = BadRows(0.05, 10_000), np.random.default_rng(seed)
    for step in range(2_000):
        limit.drawn += 8
        limit.add(
            {"step": step, "position": place, "recording": f"{n}"}
            for place, n in enumerate(rng.integers(10_000, size=8))
            if n < 500
        )
        limit.check()


def test_bad_rows_are_judged_as_those_of_the_job(corpus, opened, tmp_path):
    """Killed at any step or in two processes: the same error, at the same row."""
    rows = recordings.rows(COUNT)
    for row in rows[:4]:
        row["audio"] = "gone.wav"
    spec = f"manifest:{recordings.manifest(corpus.with_name('four.jsonl'), rows)}"

    def error(take_from):
        with pytest.raises(DataError) as raised:
            take_from()
        return str(raised.value)

    whole = opened(spec, max_bad_fraction=0.06)
    expected = error(lambda: take(whole, 40))
    seen = merged(whole.skipped)
    last = seen[-1]["step"]
    resumed = opened(spec, max_bad_fraction=0.06, start=last)
    resumed.judge(row for row in seen if row["step"] < last)
    assert error(lambda: take(resumed, 1)) == expected
    assert take(opened(spec, max_bad_fraction=0.06, start=last), 1)  # of its own, too few

    shares = [opened(spec, max_bad_fraction=0.06, process=(p, 2)) for p in range(2)]
    for share in shares:
        assert len(take(share, last + 1)) == last + 1  # neither ends before the other
    both = merged(shares[0].skipped + shares[1].skipped + shares[1].skipped)
    assert both == seen
    assert {error(lambda: share.judge(both)) for share in shares} == {expected}


def test_cut_contexts_are_counted_by_step():
    cut = {"reason": CONTEXT_CUT, "utterances": 2}
    bad = {"step": 1, "position": 3, "reason": "no text"}
    found = [cut | {"step": step, "position": place} for step in (2, 1) for place in (0, 4)]
    assert merged([*found, bad, found[0]]) == [
        bad,
        {"step": 1, "reason": CONTEXT_CUT, "utterances": 4},
        {"step": 2, "reason": CONTEXT_CUT, "utterances": 4},
    ]


def test_prefetch_keeps_order_raises_and_closes():
    def numbers():
        yield from range(20)
        raise KeyError("boom")

    before = threading.active_count()
    running = Prefetch(numbers(), 3)
    assert [next(running) for _ in range(20)] == list(range(20))
    with pytest.raises(KeyError, match="boom"):
        next(running)
    assert list(running) == []
    assert list(Prefetch(iter("abc"), 2)) == ["a", "b", "c"]
    endless = Prefetch(itertools.count(), 2)
    assert next(endless) == 0
    endless.close()
    assert list(endless) == []
    assert threading.active_count() == before
