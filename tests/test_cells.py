"""Cells of a sweep over checkpoints, tasks and settings, and their files."""

import types

import pytest

from seedasr_jax import workdir as disk
from seedasr_jax.decode.recogniser import Hypothesis
from seedasr_jax.errors import ConfigError
from seedasr_jax.evaluate import cells, score
from seedasr_jax.text.conventions import Convention, Conventions

BY = Conventions(Convention("basic@2", "word"))
TEXTS = ("one two", "three")


class Task:
    """A task of one batch."""

    unknown = 0

    def __init__(self, name):
        about = dict.fromkeys(score.ABOUT, "") | {"keywords": [], "siblings": [], "language": "en"}
        self.name, self.languages = name, {"en": len(TEXTS)}
        self.examples = [
            types.SimpleNamespace(**about | {"id": f"{name}{n}"}, text=text, audio="", segments=())
            for n, text in enumerate(TEXTS)
        ]

    def __iter__(self):
        yield self.examples, self.examples


class Recogniser:
    """Transcribes as its checkpoint and the method are called."""

    def __init__(self, label):
        self.label = label

    def decode(self, batch, method):
        return [Hypothesis(f"{self.label} {method}", (), ()) for _ in batch]


def test_a_sweep_opens_each_checkpoint_once_and_keeps_every_cell(tmp_path):
    checkpoints = [types.SimpleNamespace(label=label) for label in ("sft@9#aa", "rl@5#bb")]
    settings = [score.Setting(decode, BY) for decode in ("greedy", "beam4")]
    tasks, opened, lines = [Task("a"), Task("b")], [], []

    def open_recogniser(checkpoint):
        opened.append(checkpoint)
        return Recogniser(checkpoint.label)

    sweep = [cells.Cell(c, task, how) for c in checkpoints for task in tasks for how in settings]
    rows = cells.run(tmp_path, sweep, open_recogniser, lines.append)
    assert opened == checkpoints
    assert [tuple(row[key] for key in score.CELL) for row in rows] == [c.key for c in sweep]
    assert disk.read_rows(tmp_path / disk.RESULTS) == rows
    found = disk.read_rows(tmp_path / disk.TRANSCRIPTS)
    assert len({(*(u[key] for key in score.CELL), u["id"]) for u in found}) == len(found) == 16
    assert all(u["hypothesis"] == f"{u['checkpoint']} {u['decode']}" for u in found)
    assert cells.run(tmp_path, sweep, open_recogniser, lines.append, kept=True) == rows
    assert opened == checkpoints
    with pytest.raises(ConfigError, match=r"results of rl@5#bb .* found sft@9#aa .* --out"):
        cells.run(tmp_path, sweep[4:], open_recogniser, lines.append)


def test_a_sweep_without_cells_has_no_rows(tmp_path):
    assert cells.run(tmp_path, [], Recogniser, print) == []
    assert disk.read_rows(tmp_path / disk.RESULTS) == []


def test_transcripts_of_one_setting_name_their_task_alone(tmp_path):
    checkpoint = types.SimpleNamespace(label="sft@9#aa")
    one = [cells.Cell(checkpoint, Task(name), score.Setting("greedy", BY)) for name in "ab"]
    cells.run(tmp_path, one, lambda checkpoint: Recogniser(checkpoint.label), print)
    found = disk.read_rows(tmp_path / disk.TRANSCRIPTS)
    assert [u["task"] for u in found] == ["a", "a", "b", "b"]
    assert not found[0].keys() & {"checkpoint", "decode", "unit"}
