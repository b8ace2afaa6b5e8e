"""SeqIO tasks and mixtures, and resolution of names."""

import collections

import numpy as np
import pytest
import recordings

from seedasr_jax.data_pipelines import joining, named, tasks
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.data_pipelines.tf import seqio, tf
from seedasr_jax.errors import ConfigError


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return recordings.write(tmp_path_factory.mktemp("corpus"), recordings.rows(9))


def examples(task):
    dataset = task.get_dataset(None, tasks.SPLIT, shuffle=False)
    return list(dataset.as_numpy_iterator())


def test_a_source_is_a_seqio_task(path, tokenizer):
    ((source, task, share),) = tasks.resolve(f"manifest:{path}", "unused")
    assert share == 1.0 and task.name == source.name  # nothing in it that SeqIO forbids
    assert seqio.TaskRegistry.get(task.name) is task
    bound = tasks.bind(task, tokenizer, "basic@1")
    assert seqio.get_mixture_or_task(bound.name) is bound
    found, rows = examples(bound), recordings.rows(9)
    assert len(found) == 9
    for example, row in zip(found, rows):
        assert example["id"].decode() == row["id"] and example["speaker"].decode() == row["speaker"]
        np.testing.assert_array_equal(example["wave"], recordings.wave(row))
        assert example["ids"].tolist() == tokenizer.encode(row["text"])
        assert example["ids"].dtype == np.int32 and example["wave"].dtype == np.int16


def test_a_joined_source_is_joined_for_seqio_too(path):
    ((_, task, _),) = tasks.resolve(f"manifest:{path}?join=2-3&seed=4", "unused")
    found = examples(task)
    parts = [name for example in found for name in example["id"].split(b"+")]
    assert len(found) >= joining.STRINGS
    counts = collections.Counter(parts)
    assert len(counts) == 9 and len(set(counts.values())) == 1  # each as often as any, pass by pass
    assert all(len(example["wave"]) > 2 * 1_600 for example in found)


def test_texts_are_normalised(tmp_path, tokenizer):
    path = recordings.write(tmp_path, [recordings.row(1, "ann") | {"text": "  ONE, nine!"}])
    ((_, task, _),) = tasks.resolve(f"manifest:{path}", "unused")
    (example,) = examples(tasks.bind(task, tokenizer, "basic@1"))
    assert example["text"] == b"one nine"
    assert example["ids"].tolist() == tokenizer.encode("one nine")


def test_texts_of_sources_are_normalised(path, tmp_path):
    bad = recordings.manifest(tmp_path / "m.jsonl", [{"text": "\ud83d"}, {"text": "Two."}])
    names = [f"manifest:{path}?limit=2", f"manifest:{bad}"]
    assert list(named.texts(names, "unused", "basic@1")) == ["zero zero", "one", "two"]


def test_metrics(path):
    ((_, task, _),) = tasks.resolve(f"manifest:{path}", "unused")
    targets, predictions = ["one two", "three"], ["one too", "three"]
    found = {}
    for metric in task.predict_metric_fns:
        found |= metric(targets, predictions)
    assert found == {
        "wer": pytest.approx(100 / 3),
        "cer": pytest.approx(100 / 11),
    }


class Own(seqio.FunctionDataSource):
    """A user-defined source: rows, and a dataset that training does not use."""

    def __init__(self, rows):
        super().__init__(lambda split, shuffle_files: None, splits=["train"])
        self.own = rows

    def rows(self):
        return self.own


@pytest.fixture
def mixture():
    features = {"text": seqio.Feature(seqio.PassThroughVocabulary(0), dtype=tf.string, rank=0)}
    own = Own([Row("a", text="one")])
    silent = seqio.FunctionDataSource(lambda split, shuffle_files: None, splits=["train"])
    seqio.TaskRegistry.add("own_a", own, features)
    seqio.TaskRegistry.add("own_b", Own([Row("b", text="two"), Row("c", text="two")]), features)
    seqio.TaskRegistry.add("own_silent", silent, features)
    seqio.MixtureRegistry.add("inner", [("own_a", 1.0), ("own_b", 3.0)])
    seqio.MixtureRegistry.add("outer", [("inner", 1.0), ("own_a", 1.0)])
    yield
    for name in ("own_a", "own_b", "own_silent"):
        seqio.TaskRegistry.remove(name)
    for name in ("inner", "outer"):
        seqio.MixtureRegistry.remove(name)


def test_mixtures_resolve_to_shares(mixture):
    found = {source.name: share for source, _, share in tasks.resolve("outer", "unused")}
    assert found == {"own_a": pytest.approx(0.625), "own_b": pytest.approx(0.375)}
    assert tasks.members("outer") == ("own_a", "own_b")
    assert tasks.members("own_a") == ("own_a",)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_rates_of_a_mixture_are_above_zero(mixture, rate):
    seqio.MixtureRegistry.remove("inner")
    seqio.MixtureRegistry.add("inner", [("own_a", 1.0), ("own_b", rate)])
    with pytest.raises(ConfigError, match=r"mixture inner: expected a positive rate .* for own_b"):
        tasks.resolve("inner", "unused")


def test_a_mixture_opens_as_one_source(mixture):
    opened = named.open_named("inner", "unused")
    assert [row.id for row in opened.rows()] == ["a", "b", "c"]
    assert opened.name == "0.25*own_a+0.75*own_b"
    assert list(named.texts(["inner"], "unused", "basic@1")) == ["one", "two", "two"]


def test_rows_that_are_not_unicode_are_bad_in_any_source(mixture):
    seqio.TaskRegistry.get("own_b").source.own = [Row("b\udcff", text="two"), Row("c", text="two")]
    rows = named.open_named("own_b", "unused").rows()
    assert [(row.id, row.fault) for row in rows] == [
        ("b\ufffd", "text that is not Unicode"),
        ("c", ""),
    ]


def test_unknown_names_carry_the_nearest(mixture):
    with pytest.raises(
        ConfigError, match=r"'own_aa': expected a task, mixture or SPEC.*Did you mean own_a"
    ):
        tasks.resolve("own_aa", "unused")
    with pytest.raises(ConfigError, match=r"Did you mean manifest:x/a\.jsonl\?limit=2\?"):
        tasks.resolve("x/a.jsonl?limit=2", "unused")
    with pytest.raises(ConfigError, match=r"expected KIND:WHERE.*Did you mean manifest"):
        tasks.resolve("manifst:a.jsonl", "unused")
    with pytest.raises(
        ConfigError,
        match=r"own_silent: expected a source with a method rows.*found FunctionDataSource",
    ):
        tasks.resolve("own_silent", "unused")
