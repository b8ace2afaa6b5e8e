"""Loader: batches as a pure function of seed and step, bad rows in place, evaluation complete.

Dims: B utterances, S samples, L tokens.
"""

import dataclasses
import itertools
import shutil
import threading
import time

import jax
import numpy as np
import pytest
import recordings
import tiny
import tones

from seedasr_jax import checkpoint, config
from seedasr_jax.audio import files
from seedasr_jax.batch import CONTINUED
from seedasr_jax.data_pipelines import batching, lines, loader, manifest, preprocess, waves
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.data_pipelines.stream import BadRows, Prefetch
from seedasr_jax.data_pipelines.tf import seqio, tf
from seedasr_jax.decode import scoring
from seedasr_jax.errors import ConfigError, DataError
from seedasr_jax.parallel import mesh as meshes
from seedasr_jax.parallel import sharding
from seedasr_jax.plan import fitting
from seedasr_jax.skipped import CONTEXT_CUT, merged
from seedasr_jax.small.objectives import times

COUNT = 40
BUCKETS = ((0.25, 20, 4), (0.5, 20, 2))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return recordings.write(tmp_path_factory.mktemp("corpus"), recordings.rows(COUNT))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocab")
    return tiny.vocabulary(recordings.WORDS, folder, size=60, kind="char")


@pytest.fixture
def opened(tokenizer):
    """Opens streams and closes them after the test."""
    streams = []

    def open_stream(*sources, start=0, seed=3, prompted=False, process=(0, 1), filler=None, **data):
        settings = {
            "mixture": tuple((str(s), 1.0) if not isinstance(s, tuple) else s for s in sources),
            "buckets": BUCKETS,
            "stretch": 1.0,
            "min_seconds": 0.05,
            "max_bad_fraction": 0.0,
            "normalizer": "basic@1",
            "contexts": config.Contexts(0, 1.0, 0.0, 0, {}),
            "cache_gib": 0.01,
        }
        streams.append(
            loader.training(
                config.Data(**(settings | data)),
                tokenizer,
                seed=seed,
                start=start,
                data_folder="unused",
                template=tiny.template(tokenizer) if prompted else None,
                filler=filler,
                process_index=process[0],
                process_count=process[1],
            )
        )
        return streams[-1]

    yield open_stream
    for stream in streams:
        stream.close()


def take(stream, count):
    return list(itertools.islice(stream, count))


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_batch_holds_what_its_rows_say(path, opened, tokenizer):
    by_id = {row["id"]: row for row in recordings.rows(COUNT)}
    stream = opened(f"manifest:{path}", prompted=True)
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
def test_any_start_gives_the_same_batches(path, opened, query):
    buckets = ((0.6, 40, 4), (2.0, 40, 2))
    settings = dict(buckets=buckets, filler=times.Progressing(40))
    whole = take(opened(f"manifest:{path}{query}", **settings), 30)
    for step, (batch, _) in enumerate(whole):
        assert batch.extra.progress.tolist() == [np.float32(step / 40)] * len(batch.weight)
    for start in (1, 17):
        part = take(opened(f"manifest:{path}{query}", start=start, **settings), 5)
        for (batch, info), (expected, expected_info) in zip(part, whole[start:]):
            assert info == expected_info
            assert_same(batch, expected)
    other = take(opened(f"manifest:{path}{query}", buckets=buckets, seed=4), 5)
    assert [info.rows for _, info in other] != [info.rows for _, info in whole[:5]]


def test_the_audio_of_a_batch_and_of_those_behind_it_is_read_together(path, opened, monkeypatch):
    """No file is read before three others are begun."""
    together, read = threading.Barrier(4, timeout=20), waves.read_recording

    def recording(row, cache):
        together.wait()
        return read(row, cache)

    buckets = ((0.6, 40, 2),)
    expected = take(opened(f"manifest:{path}", buckets=buckets), 6)
    monkeypatch.setattr(waves, "read_recording", recording)
    for one, other in zip(take(opened(f"manifest:{path}", buckets=buckets), 6), expected):
        assert_same(one[0], other[0])
    together.abort()  # for those that are read ahead


def test_step_one_million_opens_at_once(path, opened):
    begun = time.perf_counter()
    batch, info = next(opened(f"manifest:{path}?join=2-3", start=10**6, buckets=((2.0, 40, 4),)))
    assert time.perf_counter() - begun < 1.0
    before = take(opened(f"manifest:{path}?join=2-3", start=10**6 - 2, buckets=((2.0, 40, 4),)), 3)
    assert info.step == 10**6 and before[2][1] == info
    assert_same(batch, before[2][0])


def test_processes_share_the_rows_of_one(path, opened):
    whole = take(opened(f"manifest:{path}"), 12)
    shares = [take(opened(f"manifest:{path}", process=(p, 2)), 12) for p in range(2)]
    for (batch, info), (first, one), (second, other) in zip(whole, *shares):
        assert one.rows + other.rows == info.rows
        assert_same(jax.tree.map(lambda *x: np.concatenate(x), first, second), batch)


def test_every_utterance_once_per_pass(path, opened):
    rows = [
        r
        for _, info in take(opened(f"manifest:{path}", buckets=((0.5, 20, 4),)), 20)
        for r in info.rows
    ]
    ids = sorted(row["id"] for row in recordings.rows(COUNT))
    assert sorted(row.id for row in rows[:COUNT]) == sorted(row.id for row in rows[COUNT:]) == ids
    assert [row.id for row in rows[:COUNT]] != [row.id for row in rows[COUNT:]]


def test_samples_are_those_of_the_batches(path, opened):
    stream = opened(f"manifest:{path}", process=(0, 2))
    infos = [info for _, info in take(stream, 9)]
    other = [info for _, info in take(opened(f"manifest:{path}", process=(1, 2)), 9)]
    total = sum(row.seconds for info in infos + other for row in info.rows)
    ((name, samples),) = stream.samples.items()
    assert samples / 16_000 == pytest.approx(total)
    assert name == f"manifest:corpus.jsonl#{manifest.content_hash(path)[:8]}"


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
def test_a_bad_row_weighs_nothing_and_shifts_nothing(path, opened, tmp_path, reason):
    shutil.copytree(path.parent, tmp_path / "copy")
    rows = recordings.rows(COUNT)
    bad = rows[5]["id"]
    BAD[reason](tmp_path / "copy" / rows[5]["audio"], rows[5])
    recordings.manifest(tmp_path / "copy" / path.name, rows)
    settings = {"buckets": ((0.5, 20, 4),), "max_bad_fraction": 0.5}
    good = take(opened(f"manifest:{path}", **settings), 15)
    stream = opened(f"manifest:{tmp_path}/copy/{path.name}", **settings)
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


def test_a_line_that_changes_while_it_is_read_is_a_bad_row(path, opened, tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "LARGE", 0)  # read when they are drawn
    shutil.copytree(path.parent, tmp_path / "copy")
    copy = tmp_path / "copy" / path.name
    stream = opened(f"manifest:{copy}", buckets=((0.5, 20, 4),), max_bad_fraction=1.0)
    sixth = sum(map(len, copy.read_bytes().splitlines(keepends=True)[:5]))
    with copy.open("r+b") as file:
        file.seek(sixth)
        file.write(b"[")
    take(stream, 25)
    found = {(row["id"], row["reason"], row["detail"]) for row in stream.skipped}
    name = f"manifest:{path.name}#{manifest.content_hash(path)[:8]}:6"
    assert found == {(name, loader._CHANGED, "line 6 of its manifest")}


def test_so_is_a_row_whose_other_context_stood_on_such_a_line(path, opened, tmp_path, monkeypatch):
    """It gets no other text instead, and is not said to have changed itself."""
    monkeypatch.setattr(lines, "LARGE", 0)
    rows = recordings.rows(COUNT)
    rows[5] |= {"context": "the only one", "context_kind": "dialogue_history"}
    shutil.copytree(path.parent, tmp_path / "copy")
    copy = recordings.manifest(tmp_path / "copy" / path.name, rows)
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


def test_a_joined_row_names_its_bad_recording(path, opened, tmp_path):
    shutil.copytree(path.parent, tmp_path / "copy")
    bad = recordings.rows(COUNT)[7]
    (tmp_path / "copy" / bad["audio"]).unlink()
    spec = f"manifest:{tmp_path}/copy/{path.name}?join=2-3"
    stream = opened(spec, buckets=((2.0, 40, 4),), max_bad_fraction=0.5)
    take(stream, 12)
    assert stream.skipped
    for row in stream.skipped:
        assert row["recording"] == bad["id"] and bad["id"] in row["id"].split("+")
        assert bad["audio"] in row["detail"]


def test_audio_that_is_longer_than_its_bucket_is_bad(path, opened, tmp_path):
    rows = recordings.rows(1)
    recordings.write(tmp_path, rows)
    (row,) = manifest.read(tmp_path / "corpus.jsonl")
    example = {"wave": np.zeros(9_000, np.int16), "ids": np.ones(30, np.int32)}
    reading = batching.Reading(None)
    for bucket, reason in [((0.5, 20, 1), "too long"), ((0.6, 20, 1), "too many tokens")]:
        _, (fault,) = loader.collate([example], bucket, reading, 0)
        assert fault.reason == reason
    assert row.seconds < 0.5


def test_too_many_bad_rows_end_the_job(path, opened, tmp_path):
    shutil.copytree(path.parent, tmp_path / "copy")
    for row in recordings.rows(COUNT)[:3]:
        (tmp_path / "copy" / row["audio"]).unlink()
    spec = f"manifest:{tmp_path}/copy/{path.name}"
    take(opened(spec, max_bad_fraction=0.2), 40)
    with pytest.raises(DataError, match=r"3 of 40 recordings.*x missing audio; the first.*no such"):
        take(opened(spec, max_bad_fraction=0.06), 40)
    with pytest.raises(DataError, match=r"1 of .* are bad"):
        take(opened(spec, max_bad_fraction=0.0), 40)


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


def test_bad_rows_are_judged_as_those_of_the_job(path, opened, tmp_path):
    """Killed at any step or in two processes: the same error, at the same row."""
    rows = recordings.rows(COUNT)
    for row in rows[:4]:
        row["audio"] = "gone.wav"
    spec = f"manifest:{recordings.manifest(path.with_name('four.jsonl'), rows)}"

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


def test_mixture_rates(path, opened, tmp_path):
    rows = [row | {"id": f"o{number}"} for number, row in enumerate(recordings.rows(8))]
    other = recordings.write(tmp_path, rows, "other.jsonl")
    stream = opened((f"manifest:{path}", 3.0), (f"manifest:{other}", 1.0), buckets=((0.5, 20, 4),))
    rows = [row for _, info in take(stream, 250) for row in info.rows]
    assert sum(row.id.startswith("o") for row in rows) == 250  # of 1,000: a quota, no chance


def test_a_source_is_named_once(path, opened, tmp_path):
    again = tmp_path / path.name
    again.write_bytes(path.read_bytes())
    with pytest.raises(ConfigError, match=r"both hold manifest:corpus.*the sum of its rates"):
        opened(f"manifest:{path}", f"manifest:{again}")
    opened(f"manifest:{path}?part=train", f"manifest:{path}?part=dev")


@pytest.mark.parametrize(
    "data, error, message",
    [
        ({"process": (0, 3)}, ConfigError, "4 utterances in .* by 3 processes; take 6"),
        ({"buckets": ((0.05, 20, 4),)}, DataError, "no utterance fits a bucket"),
        ({"normalizer": "basic"}, ConfigError, "basic@1"),
    ],
)
def test_errors_at_the_start(path, opened, data, error, message):
    with pytest.raises(error, match=message):
        opened(f"manifest:{path}", **data)


# Somebody's own task: it drops some utterances, looks ahead, and draws.


class Own(seqio.FunctionDataSource):
    """Rows of a manifest under another name."""

    def __init__(self, path):
        super().__init__(lambda split, shuffle_files: None, splits=["train"])
        self.path = path

    def rows(self):
        return manifest.read(self.path)


def quieter(dataset):
    def apply(example):
        gain = tf.random.stateless_uniform((), example["draw"], 0.1, 0.9)
        return example | {"wave": tf.cast(tf.cast(example["wave"], tf.float32) * gain, tf.int16)}

    return dataset.map(apply).prefetch(7)


def without_nine(dataset):
    return dataset.filter(lambda example: example["text"] != "nine")


@pytest.fixture
def own(path):
    features = {"wave": seqio.Feature(seqio.PassThroughVocabulary(0), dtype=tf.int16)}
    names = []

    def add(name, *preprocessors):
        names.append(name)
        seqio.TaskRegistry.add(name, Own(path), features, preprocessors)
        return name

    yield add
    for name in names:
        seqio.TaskRegistry.remove(name)


def test_preprocessors_of_ones_own(path, opened, own):
    name = own("own_drops", without_nine, quieter)
    settings = {"max_bad_fraction": 0.5, "buckets": ((0.5, 20, 4),)}
    plain = take(opened(f"manifest:{path}", **settings), 20)
    stream = opened(name, **settings)
    found = take(stream, 20)
    dropped = 0
    for (batch, info), (expected, expected_info) in zip(found, plain):
        assert [row.id for row in info.rows] == [row.id for row in expected_info.rows]
        for row, utterance in enumerate(info.rows):
            assert batch.weight[row] == (utterance.text != "nine")
            dropped += utterance.text == "nine"
            if batch.weight[row]:
                assert 0 < batch.wave[row].max() < expected.wave[row].max()
                np.testing.assert_array_equal(batch.ids[row], expected.ids[row])
    assert dropped == len(stream.skipped) > 0
    assert {row["reason"] for row in stream.skipped} == {"dropped by its task"}
    assert list(stream.samples) == [name]
    again = take(opened(name, start=11, **settings), 9)
    for (batch, _), (expected, _) in zip(again, found[11:]):
        assert_same(batch, expected)


def test_a_task_that_drops_everything_ends(opened, own):
    name = own("own_drops_all", lambda dataset: dataset.filter(lambda example: False))
    with pytest.raises(DataError, match=r"own_drops_all.*found that they dropped 1000 in a row"):
        next(opened(name))


def test_a_task_that_loses_a_key_says_so(opened, own):
    name = own("own_loses", lambda ds: ds.map(lambda x: {k: x[k] for k in ("text", "wave")}))
    with pytest.raises(
        ConfigError,
        match=r"own_loses.*return every key.*none of the name .*draw, ids, language_row",
    ):
        opened(name)


def test_a_task_that_fails_says_so(opened, own):
    def fails(dataset):
        return dataset.map(
            lambda x: x | {"wave": tf.ensure_shape(tf.concat([x["wave"]] * 2, 0), (3,))}
        )

    with pytest.raises(DataError, match=r"own_fails.*a preprocessor failed"):
        next(opened(own("own_fails", fails)))


def test_a_task_that_fails_in_one_process_ends_all(opened, own):
    """Rows of weight 0 stand in the batches of that process until all judge."""

    def no_nine(x):
        with tf.control_dependencies([tf.debugging.Assert(x["text"] != "nine", ["a nine"])]):
            return x | {"wave": tf.identity(x["wave"])}

    name, data = own("own_no_nine", lambda ds: ds.map(no_nine)), dict(buckets=((0.5, 20, 4),))
    shares = [opened(name, process=(p, 2), **data) for p in range(2)]
    weights = [[batch.weight.sum() for batch, _ in take(share, 30)] for share in shares]
    assert all(own[-1] == 0 for own in weights)  # each has met a nine by now
    lines = set()
    for share in shares:
        with pytest.raises(DataError, match=r"own_no_nine.*a preprocessor failed.*a nine") as found:
            share.judge(merged(shares[0].skipped + shares[1].skipped))
        lines.add(str(found.value))
    assert len(lines) == 1


def test_examples_end_with_the_feed():
    rows = iter([(Row("a", text="x"), np.ones(3, np.int16), (1, 2))])
    found = list(preprocess.examples(lambda: next(rows)).as_numpy_iterator())
    assert [example["id"] for example in found] == [b"a"]


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


# Evaluation.


def evaluate(spec, tokenizer, buckets=BUCKETS):
    return loader.evaluation(
        str(spec),
        tokenizer,
        buckets=buckets,
        data_folder="unused",
        template=tiny.template(tokenizer),
        normalizer="basic@1",
    )


def test_evaluation_has_every_utterance_once(path, tokenizer):
    found = evaluate(f"manifest:{path}", tokenizer)
    assert [row.id for row in found.examples] == [row["id"] for row in recordings.rows(COUNT)]
    for _ in range(2):  # it can be run again
        seen = []
        for batch, rows in found:
            assert batch.weight.tolist() == [float(row is not None) for row in rows]
            assert batch.wave.shape[0] == len(rows) in (2, 4)
            for place, row in enumerate(rows):
                if row is not None:
                    seen.append(row.id)
                    assert batch.wave[place, 0] * 32_768 == int(row.id[1:]) + 1
                    assert batch.prompt_length[place] > 0
        assert sorted(seen) == [row.id for row in found.examples]


def test_an_evaluation_has_shapes_of_its_own(path, tokenizer):
    """Rows fill what shares a batch, processes have their parts, no reference is too long."""
    options = dict(buckets=((0.5, 1, 3),), data_folder="unused", normalizer="basic@1")
    options |= dict(template=tiny.template(tokenizer), multiple=4)
    spec = f"manifest:{path}?limit=6"
    whole = list(loader.evaluation(spec, tokenizer, **options))
    assert [batch.weight.tolist() for batch, _ in whole] == [[1] * 4, [1, 1, 0, 0]]
    assert {batch.ids.shape for batch, _ in whole} == {(4, 1)}
    parts = [list(loader.evaluation(spec, tokenizer, **options, share=(n, 2))) for n in (0, 1)]
    for (batch, rows), *shares in zip(whole, *parts, strict=True):
        assert all(own == rows for _, own in shares)
        together = np.concatenate([share.wave for share, _ in shares])
        np.testing.assert_array_equal(together, batch.wave)
    with pytest.raises(ConfigError, match=r"buckets: expected seconds above 0, at most"):
        evaluate(spec, tokenizer, ((0.5, 0, 3),))


def test_processes_share_the_pieces_of_a_long_utterance(tokenizer, tmp_path):
    waves = {"a": tones.wave("low", 0), "long": np.tile(tones.wave("top", 1), 9)}
    waves |= {"silent": np.zeros(8_000, np.int16), "b": tones.wave("mid", 2)}
    rows = [{"id": name, "audio": f"{name}.wav", "text": "one"} for name in waves]
    rows[-1]["text"] = "one quux"  # which the tokenizer does not know
    for name, wave in waves.items():
        files.write(tmp_path / f"{name}.wav", wave, files.RATE)
    spec = f"manifest:{recordings.manifest(tmp_path / 'four.jsonl', rows)}"
    options = dict(buckets=((0.8, 6, 4),), data_folder="", normalizer="basic@1", template=None)
    options |= dict(pieces=(0.8, 0.2))
    whole = list(loader.evaluation(spec, tokenizer, **options))
    named = [getattr(row, "id", row) for _, examples in whole for row in examples]
    assert named == ["a", "long", *[CONTINUED] * 4, "silent", "b"]
    assert [w for batch, _ in whole for w in batch.weight] == [1] * 6 + [0, 1]
    pieces = [w[:n] for batch, _ in whole for w, n in zip(batch.wave, batch.wave_length)]
    np.testing.assert_array_equal(np.concatenate(pieces[1:6]), files.to_float(waves["long"]))
    parts = [loader.evaluation(spec, tokenizer, **options, share=(n, 2)) for n in (0, 1)]
    assert parts[0].unknown == 1
    with pytest.raises(ConfigError, match=r"longest piece to decode has 2 s.*found 0\.8 s"):
        loader.evaluation(spec, tokenizer, **options | dict(pieces=(2.0, 0.2)))
    for (batch, examples), *shares in zip(whole, *parts, strict=True):
        assert all(own == examples for _, own in shares)
        together = np.concatenate([share.wave for share, _ in shares])
        np.testing.assert_array_equal(together, batch.wave)


@pytest.mark.parametrize("decode", ["ctc", "ctc,long=direct"])
def test_the_shapes_that_run_are_those_that_are_planned(decode, tokenizer, tmp_path):
    """Of a stage whose buckets have 0.8 s; only in one piece 3 s take a longer shape."""
    rows = [{"id": name, "audio": f"{name}.wav", "text": "one"} for name in ("short", "long")]
    for row, repeats in zip(rows, (1, 9)):
        files.write(tmp_path / row["audio"], np.tile(tones.wave("top", 1), repeats), files.RATE)
    spec = f"manifest:{recordings.manifest(tmp_path / 'two.jsonl', rows)}"
    parts, changes = ("encoder", "ctc_head"), {"eval.decode": decode, "eval.tokens": 6}
    stage = tiny.stage("ctc", parts, parts, seconds=0.8, **changes)
    mesh = meshes.make(config.Mesh(8, 1, 1, 1))
    how = scoring.of(decode, stage.scored, checkpoint.derive(stage, {}, prompted=False))
    planned = fitting.score_buckets(how, mesh, "all")
    options = dict(data_folder="", template=None, normalizer="basic@2")
    options |= dict(buckets=how.buckets, pieces=how.pieces, multiple=sharding.padded_rows(1, mesh))
    ran = {
        (batch.wave.shape[1] / files.RATE, batch.ids.shape[1], len(batch.weight))
        for batch, _ in loader.evaluation(spec, tokenizer, **options)
    }
    if decode == "ctc":
        assert ran == set(planned) == {(0.8, 6, 8)}
    else:
        assert ran == {(0.8, 6, 8), (3.2, 24, 8)} < set(planned)
    assert fitting.score_buckets(how, mesh) == planned[-1:]


def test_buckets_go_on_to_five_minutes():
    assert config.longer(((40.0, 64, 3),))[1:] == ((80.0, 128, 1), (160.0, 256, 1), (320.0, 512, 1))
    assert config.longer(((400.0, 64, 3),)) == ((400.0, 64, 3),)
    assert config.longer(((0.0, 64, 3),)) == ((0.0, 64, 3),)


def test_a_joined_evaluation_is_fixed(path, tokenizer):
    spec = f"manifest:{path}?join=3-6&seed=0"
    one, other = (evaluate(spec, tokenizer, ((4.0, 80, 4),)) for _ in range(2))
    assert one.examples == other.examples and len(one.examples[0].segments) >= 3
    assert one.name.startswith("manifest:corpus.jsonl?join=3-6&seed=0#")
    assert sum(batch.weight.sum() for batch, _ in one) == len(one.examples)
    changed = evaluate(f"manifest:{path}?join=3-6&seed=1", tokenizer, ((4.0, 80, 4),))
    assert changed.examples != one.examples


def test_an_evaluation_never_shrinks(path, tokenizer, tmp_path):
    with pytest.raises(DataError, match=r"utterances fit no bucket: .*longer than 0.2 s.*enlarge"):
        evaluate(f"manifest:{path}", tokenizer, ((0.2, 20, 4),))
    shutil.copytree(path.parent, tmp_path / "copy")
    rows = recordings.rows(COUNT)
    copy = tmp_path / "copy" / path.name
    (tmp_path / "copy" / rows[3]["audio"]).unlink()
    with pytest.raises(DataError, match=r"r003: missing audio: .*excludes nothing"):
        list(evaluate(f"manifest:{copy}", tokenizer))
    recordings.manifest(copy, [rows[0], rows[1] | {"text": ""}])
    ((batch, found),) = evaluate(f"manifest:{copy}", tokenizer)  # nothing is said there
    lengths = {row.id: n for row, n in zip(found, batch.ids_length.tolist()) if row}
    assert lengths["r001"] == 0 and lengths["r000"] > 0 and batch.weight.sum() == 2
    recordings.manifest(copy, [rows[0], rows[1] | {"text": None}])
    with pytest.raises(DataError, match=r"line 2 \(r001\): no text"):
        evaluate(f"manifest:{copy}", tokenizer)


def test_a_mixture_is_evaluated_task_by_task(opened, own, tokenizer):
    seqio.MixtureRegistry.add("own_mixture", [(own("own_x"), 1.0), (own("own_y"), 1.0)])
    with pytest.raises(
        ConfigError, match=r"own_mixture: expected a task, found a mixture.*own_x, own_y"
    ):
        evaluate("own_mixture", tokenizer)
    stream = opened("own_mixture")
    take(stream, 2)
    assert sorted(stream.samples) == ["own_x", "own_y"]
    seqio.MixtureRegistry.remove("own_mixture")


def test_row_is_immutable(path):
    with pytest.raises(dataclasses.FrozenInstanceError):
        manifest.read(path)[0].text = "x"
