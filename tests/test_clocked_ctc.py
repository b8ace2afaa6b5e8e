"""The clock: when tokens begin, phones by language, and labels of frames against a loop."""

import dataclasses

import jax
import numpy as np
import pytest
import tiny

from seedasr_jax.audio import logmel, perturb
from seedasr_jax.data_pipelines.cells import Alignment
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.errors import ConfigError
from seedasr_jax.small.objectives import times as clock
from seedasr_jax.small.objectives.clocked_ctc import spoken
from seedasr_jax.train import objectives

PHONES = 16


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    texts = ["open the door", "close the window", "打开窗户", "the lights"] * 5
    folder = tmp_path_factory.mktemp("clock") / "v"
    return tiny.vocabulary(texts, folder, size=60, kind="bpe")


@pytest.fixture(scope="module")
def spelling(tokenizer):
    return clock.speller(tokenizer, "basic@1")


def row(text, words, language="en", phones=((0.1, "a"), (0.4, "b")), seconds=2.0):
    return Row(
        "r", text=text, language=language, seconds=seconds, alignment=Alignment(words, phones)
    )


def test_a_token_begins_at_its_share_of_its_unit(spelling, tokenizer):
    text, begins = "open the door", (0.2, 1.0, 1.4)
    starts = clock.token_starts(row(text, begins), spelling)
    ids = tokenizer.encode(text)
    assert len(starts) == len(ids) and (np.diff(starts) >= 0).all()
    ends = (*begins[1:], 2.0)
    written, seen = 0, []
    for number, start in enumerate(starts):
        counts = [len(word) for word in text.split()]
        unit = next(u for u in range(3) if written < sum(counts[: u + 1]))
        inside = (written - sum(counts[:unit])) / counts[unit]
        assert start == pytest.approx(begins[unit] + inside * (ends[unit] - begins[unit]))
        seen.append(unit)
        written = len("".join(tokenizer.decode(ids[: number + 1]).split()))
    assert set(seen) == {0, 1, 2}


def test_characters_are_units_where_the_language_counts_them(spelling, tokenizer):
    begins = (0.1, 0.5, 0.9, 1.3)
    starts = clock.token_starts(row("打开窗户", begins, "zh"), spelling)
    assert len(starts) == len(tokenizer.encode("打开窗户"))
    assert set(np.round(starts, 3)) <= set(begins)
    assert clock.token_starts(row("打开窗户", begins[:3], "zh"), spelling) is None
    for unknown in ("", "xx"):  # no row ends the job by what it does not state
        assert (
            clock.token_starts(row("open the door", (0.2, 1.0, 1.4), unknown), spelling) is not None
        )


def test_phones_are_classes_of_their_language():
    rows = [row("a", (0.0,), tag) for tag in ("en", "es")]
    classes = {clock.phone(one, name, PHONES) for one in rows for name in "abcde"}
    assert min(classes) >= 1 and max(classes) < PHONES and len(classes) > 3
    assert len({clock.phone(row(text, (0.0,)), "a", PHONES) for text in "ab"}) == 1


def test_batches_know_what_their_rows_say(spelling, tokenizer):
    batch = tiny.batches.zeros(3, 0, 0, 0, 8)
    batch.weight[:2] = 1
    rows = [row("open the door", (0.2, 1.0, 1.4)), Row("x", text="open"), row("the", (0.0,))]
    fill = clock.times_filler(tokenizer, "basic@1", phones=PHONES, steps=8)
    times = fill(batch, rows, (0.1, 8, 3), 2).extra
    assert times.progress.tolist() == [0.25] * 3 and times.phones.shape == (3, 4)
    assert times.phones_length.tolist() == [2, 0, 0]
    count = len(tokenizer.encode("open the door"))
    np.testing.assert_allclose(
        times.starts[0, :count], clock.token_starts(rows[0], spelling), rtol=1e-6
    )
    assert not times.starts[1:].any() and not times.phones[1:].any()


def test_what_is_spoken_is_what_began_last():
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 9, (4, 5)).astype(np.int32)
    starts = np.sort(rng.uniform(0, 1, (4, 5)), 1).astype(np.float32)
    starts[:, 3:] = np.nan
    length, moments = np.array([3, 2, 1, 0], np.int32), np.linspace(0, 1, 11, dtype=np.float32)
    found, begun = map(np.asarray, jax.jit(spoken)(ids, starts, length, np.tile(moments, (4, 1))))
    for b in range(4):
        for t, moment in enumerate(moments):
            past = [n for n in range(length[b]) if starts[b, n] <= moment]
            assert bool(begun[b, t]) == bool(past)
            if past:
                assert found[b, t] == ids[b, past[-1]]


def timed(batch, seed=0):
    """The batch with random times; its last row knows none."""
    rng = np.random.default_rng(seed)
    rows, tokens = batch.ids.shape
    seconds = batch.wave.shape[1] / logmel.RATE

    def ascending(size):
        return np.sort(rng.uniform(0, seconds, (rows, size)), 1).astype(np.float32)

    known = rng.integers(2, 7, rows).astype(np.int32)
    known[-1] = 0
    times = clock.Times(
        progress=np.full(rows, 0.25, np.float32),
        starts=ascending(tokens),
        phones=rng.integers(1, PHONES, (rows, 6)).astype(np.int32),
        phone_starts=ascending(6),
        phones_length=known,
    )
    return dataclasses.replace(batch, extra=times)


PARTS = ("encoder", "ctc_head", "phone_head")
HEAD = {"model.variant.phones": PHONES}


def test_frames_are_labelled_by_the_time_that_they_show():
    tempo = {"augment.tempo": (0.8, 1.25), "stages.only.data.stretch": 1.25}
    stage = tiny.stage("clocked_ctc", PARTS, PARTS, **HEAD, **tempo)
    objective = objectives.make(stage, tiny.TOKENS, tiny.VOCABULARY)
    batch, rng = timed(tiny.batch()), jax.random.key(3)
    stride = stage.model.encoder.subsampling

    @jax.jit
    def run(batch):
        tempo = perturb.draw(jax.random.fold_in(rng, 0), batch.position, stage.augment).tempo
        count = logmel.num_frames(batch.wave_length, tempo)
        return *objective.phones(batch, rng), tempo, count

    labels, weights, tempo, count = map(np.asarray, run(batch))
    frames = -(-np.minimum(count, 40) // stride)
    assert labels.shape == (8, 2 * 40 // stride)
    times = batch.extra
    for b in range(8):
        for half in range(labels.shape[1]):
            moment = (half + 0.5) * stride / 2 / 100 * tempo[b]
            past = [n for n in range(times.phones_length[b]) if times.phone_starts[b, n] <= moment]
            assert bool(weights[b, half]) == bool(past and half < 2 * frames[b])
            if past:
                assert labels[b, half] == times.phones[b, past[-1]]


def test_labels_fade_and_rows_without_times_have_none():
    stage = tiny.stage("clocked_ctc", PARTS, PARTS, **HEAD)
    objective = objectives.make(stage, tiny.TOKENS, tiny.VOCABULARY)
    model, rng, batch = tiny.model(PARTS, **HEAD), jax.random.key(0), timed(tiny.batch())

    @jax.jit
    def terms(batch):
        return objective.loss(model, batch, objective.weigh(batch, rng), rng)[1]

    def at(progress, **changes):
        progress = np.full(8, progress, np.float32)
        times = dataclasses.replace(batch.extra, progress=progress, **changes)
        return jax.tree.map(float, terms(dataclasses.replace(batch, extra=times)))

    start, end = at(0.0), at(1.0)
    assert start["phones"] > 0 and start["tokens"] > 0
    assert end["phones"] == end["tokens"] == 0 and at(0.8)["tokens"] == 0
    assert end["loss"] == end["ctc"] == start["ctc"]
    np.testing.assert_allclose(at(0.5)["phones"], start["phones"] / 2, rtol=1e-5)
    none = at(0.0, phones_length=np.zeros(8, np.int32))
    assert none["phones"] == none["tokens"] == 0


def test_a_clock_needs_classes_of_phones():
    for changes, found in (({}, "Paper"), ({"model.variant.phones": 1}, "phones=1")):
        stage = tiny.stage("clocked_ctc", PARTS, PARTS, **changes)
        with pytest.raises(ConfigError, match=f"phones of 2 or more, such as 512, found .*{found}"):
            objectives.needs(stage)


def test_a_head_says_two_phones_in_each_frame():
    model = tiny.model(PARTS, **HEAD)
    x = np.random.default_rng(0).normal(size=(2, 5, 16)).astype(np.float32)
    logits = np.asarray(jax.jit(lambda x: model.phone_head(x))(x))
    assert logits.shape == (2, 10, 128)
    project = model.phone_head.project
    kernel, bias = (np.asarray(p[...]) for p in (project.kernel, project.bias))
    both = (x[1, 3] @ kernel + bias).reshape(2, 128)[:, :PHONES]
    np.testing.assert_allclose(logits[1, 6:8, :PHONES], both, rtol=1e-4, atol=1e-5)
