"""Processes of a job decide and refuse as one."""

import errno
import json
import shutil

import pytest
import recordings
import several

from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import index, loader, sources
from seedasr_jax.errors import ConfigError, DataError, UserError
from seedasr_jax.parallel import processes


def test_process_0_decides_for_all(monkeypatch):
    asked, long = [], "ß" * 5_000

    def work(index):
        return processes.first(lambda: asked.append(index) or {"step": 3, "why": [long]})

    assert several.run(monkeypatch, 3, work) == [{"step": 3, "why": [long]}] * 3
    assert asked == [0]


class Cured(ConfigError):
    """Its text is not its argument, as of a tokenizer that cannot be read."""

    def __init__(self, what):
        super().__init__(f"{what}; its cure")


@pytest.mark.parametrize(
    "error, kind, text",
    [
        (ConfigError("a key"), ConfigError, "a key"),
        (DataError("a row"), DataError, "a row"),
        (Cured("a file"), ConfigError, "a file; its cure"),
        (OSError(errno.ENOSPC, "", "/w/x"), UserError, "/w/x: no space left on device; free some"),
    ],
)
def test_all_raise_what_one_refuses(monkeypatch, error, kind, text):
    def refuse(index):
        def work():
            if index in (1, 2):
                raise error
            return index

        return processes.together(work, patient=index >= 0)

    def decide(_):
        def work():
            raise error

        return processes.first(work)

    for work in (refuse, decide):
        found = several.run(monkeypatch, 3, work)
        assert {type(each) for each in found} == {kind}
        assert len({str(each) for each in found}) == 1 and str(found[0]).startswith(text)
        assert str(found[0]).count("its cure") <= 1


def test_other_errors_than_the_users_are_not_shared(monkeypatch):
    def work(_):
        def fault():
            raise KeyError("a fault of the program")

        return processes.together(fault)

    assert all(isinstance(each, KeyError) for each in several.run(monkeypatch, 2, work))


def test_lists_of_all_processes_are_concatenated_in_order(monkeypatch):
    def work(index):
        return processes.shared(lambda: [[index, "x" * 5_000 * index]])

    everyone = [[n, "x" * 5_000 * n] for n in range(3)]
    assert several.run(monkeypatch, 3, work) == [everyone] * 3
    assert processes.shared(lambda: [1]) == [1] and processes.first(lambda: (2,)) == (2,)


# Data.


class Letters:
    """A tokenizer."""

    pad_id, unk_id, start_id, eos_id, size, hash = 0, 0, 1, 2, 300, "letters"

    def encode(self, text):
        return [ord(letter) for letter in text]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return recordings.write(tmp_path_factory.mktemp("corpus"), recordings.rows(12))


def evaluation(path, index, **options):
    how = dict(buckets=((0.5, 20, 4),), data_folder="none", template=None, multiple=4)
    how |= dict(normalizer="basic@1", share=(index, 2), limit=(0.5, 0.2), gather=processes.shared)
    return loader.evaluation(f"manifest:{path}", Letters(), **(how | options))


@pytest.mark.parametrize("query", ["", "?join=2-3&seed=0"])
def test_processes_with_different_data_end_before_training(monkeypatch, path, tmp_path, query):
    """A length that is measured, not stated, of a file that one of them cannot read."""
    rows = [json.loads(line) for line in path.open()]
    del rows[3]["duration"]
    fit, found = index.Fit(((0.3, 20, 4), (5.0, 20, 2))), []
    for place in ("one", "other", "same"):
        copy = shutil.copytree(path.parent, tmp_path / place) / path.name
        spec = f"manifest:{recordings.manifest(copy, rows)}{query}"
        if place == "other":
            (copy.parent / rows[3]["audio"]).unlink()
        made = index.Index(sources.open_source(spec, "none"), fit, None, 3)
        found.append({"data": made.fingerprint(), "dev": "the same"})

    def agree(*own):
        return several.run(monkeypatch, 2, lambda n: processes.alike(lambda: found[own[n]]))

    assert agree(0, 2) == [None, None]
    refused = agree(0, 1)
    assert {type(each) for each in refused} == {DataError}
    assert {str(each)[:38] for each in refused} == {"data: process 1 finds other data than "}


def test_an_evaluation_has_the_same_fingerprint_for_the_same_rows(path):
    rows, prints = [json.loads(line) for line in path.open()], []
    for name, text in (("a", "one"), ("b", "one"), ("c", "two")):
        rows[2]["context"] = text
        copy = recordings.manifest(path.parent / f"{name}.jsonl", rows)
        prints.append(evaluation(copy, 0, share=(0, 1), gather=None).fingerprint())
    assert prints[0] == prints[1] != prints[2]


def test_each_process_searches_its_share_for_pauses(monkeypatch, path):
    tasks, read = [evaluation(path, index) for index in range(2)], [[], []]
    for task, own in zip(tasks, read):

        def listen(numbers, task=task, own=own, listen=loader.Evaluation._read):
            for number, example in listen(task, numbers):
                own.append(number)
                yield number, example

        task._read = listen

    def batches(index):
        return [[row.id for row in examples if row] for _, examples in tasks[index]]

    opened, read_file = [], files.read
    with monkeypatch.context() as patch:
        patch.setattr(files, "read", lambda *a, **k: opened.append(a[0]) or read_file(*a, **k))
        alone = evaluation(path, 0, gather=None, share=(0, 1))
        expected = [[row.id for row in rows if row] for _, rows in alone]
    assert len(opened) == len(set(opened)) == 12  # one process reads no file twice
    assert several.run(monkeypatch, 2, batches) == [expected] * 2
    assert [own[:6] for own in read] == [[*range(0, 12, 2)], [*range(1, 12, 2)]]
    assert [len(own) for own in read] == [6 + 6, 6 + 6]  # and those that it decodes
    assert several.run(monkeypatch, 2, batches) == [expected] * 2
    assert [len(own) for own in read] == [18, 18]


def test_a_development_file_that_cannot_be_read_ends_all(monkeypatch, path, tmp_path):
    copy = shutil.copytree(path.parent, tmp_path / "copy") / path.name
    rows = [json.loads(line) for line in copy.open()]
    (copy.parent / rows[3]["audio"]).write_bytes(b"no sound")
    for limit in ((0.5, 0.2), None):  # found while pauses are looked for, or a batch is made
        tasks = [evaluation(copy, index, limit=limit) for index in range(2)]

        def read(index, tasks=tasks):
            each = iter(tasks[index])
            while processes.together(lambda: next(each, None), patient=False):
                pass

        one, other = several.run(monkeypatch, 2, read)
        assert type(one) is type(other) is DataError and str(one) == str(other)
        assert "r003: unreadable audio" in str(one)
