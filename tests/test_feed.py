"""Feeds: user-defined tasks that drop, read ahead, draw and fail."""

import numpy as np
import pytest
from streams import assert_same, evaluate, take

from seedasr_jax.data_pipelines import manifest, preprocess
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.data_pipelines.tf import seqio, tf
from seedasr_jax.errors import ConfigError, DataError
from seedasr_jax.skipped import merged


class Own(seqio.FunctionDataSource):
    """A user-defined source: rows of a manifest."""

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
def own(corpus):
    features = {"wave": seqio.Feature(seqio.PassThroughVocabulary(0), dtype=tf.int16)}
    names = []

    def add(name, *preprocessors):
        names.append(name)
        seqio.TaskRegistry.add(name, Own(corpus), features, preprocessors)
        return name

    yield add
    for name in names:
        seqio.TaskRegistry.remove(name)


def test_preprocessors_of_ones_own(corpus, opened, own):
    name = own("own_drops", without_nine, quieter)
    settings = {"max_bad_fraction": 0.5, "buckets": ((0.5, 20, 4),)}
    plain = take(opened(f"manifest:{corpus}", **settings), 20)
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


def test_examples_end_with_the_feed():
    rows = iter([(Row("a", text="x"), np.ones(3, np.int16), (1, 2))])
    found = list(preprocess.examples(lambda: next(rows)).as_numpy_iterator())
    assert [example["id"] for example in found] == [b"a"]
