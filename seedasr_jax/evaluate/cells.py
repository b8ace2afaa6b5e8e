"""Cells of a sweep, checkpoint x task x decode setting, and the files of their results.

A cell is the unit of work. Its key is known before anything is decoded, rows are in the order of
the cells, and equal cells give equal bytes in any process.
"""

from collections.abc import Callable, Iterable, Sequence
import dataclasses
import itertools
import operator
import pathlib
from typing import Any

from seedasr_jax import config, tables
from seedasr_jax import workdir as disk
from seedasr_jax.checkpoint import Checkpoint
from seedasr_jax.decode.recogniser import Recogniser
from seedasr_jax.errors import ConfigError
from seedasr_jax.evaluate import score
from seedasr_jax.text import score as rates


@dataclasses.dataclass(frozen=True)
class Cell:
    """One checkpoint on one task with one setting."""

    checkpoint: Checkpoint
    task: Any  # opened for this setting: has `name`, `examples`, `languages`, `unknown`, batches
    setting: score.Setting

    @property
    def key(self) -> tuple[str, ...]:
        """Values of the keys `score.CELL` in its row."""
        used = self.setting.conventions.used(self.task.languages)
        return (self.checkpoint.label, self.task.name, self.setting.decode, *used)

    def score(self, recogniser: Recogniser) -> tuple[dict, list[dict]]:
        """Its row of results.jsonl and one dict per utterance, see `score.evaluate`."""
        task, label = self.task, self.checkpoint.label
        more = dict(order=task.examples, unknown=task.unknown)
        return score.evaluate(recogniser, label, task.name, task, self.setting, **more)


def digest(cells: Sequence[Cell]) -> str:
    """Short hash of the cells' keys, which names the folder of their results."""
    return config.digest({"cells": [cell.key for cell in cells]})[:8]


def run(
    folder: pathlib.Path,
    cells: Sequence[Cell],
    open_recogniser: Callable[[Checkpoint], Recogniser],
    say: Callable[[str], None],
    *,
    kept: bool = False,
) -> list[dict]:
    """Scores cells in order, writes their files and returns the rows of results.jsonl.

    Args:
        folder: folder of results.jsonl and transcripts.jsonl.
        cells: cells of one or more checkpoints.
        open_recogniser: opens a checkpoint, once for all consecutive cells of it.
        say: logs a line.
        kept: whether to keep existing results of the same cells instead of scoring again.

    Raises:
        ConfigError: the folder contains results of other cells.
    """
    existing = _existing(folder, cells)
    if kept and existing and (folder / disk.TRANSCRIPTS).exists():
        return existing
    scored = []
    for checkpoint, group in itertools.groupby(cells, operator.attrgetter("checkpoint")):
        scored += _scored(group, open_recogniser(checkpoint), say)
    rows = [row for row, _ in scored]
    write(folder, rows, [utterances for _, utterances in scored])
    say(f"results in {folder}")
    return rows


def _scored(cells, recogniser, say):
    """[(row, utterances)]; a function, so that parameters are freed before others are read."""
    scored = []
    for cell in cells:
        scored.append(cell.score(recogniser))
        for line in score.describe(scored[-1][0]):
            say(line)
    return scored


def _existing(folder, cells):
    """Existing rows, whose cells must match: no other results are overwritten."""
    path, keys = folder / disk.RESULTS, [cell.key for cell in cells]
    rows = disk.read_rows(path)
    found = [tuple(row.get(key, "") for key in score.CELL) for row in rows]
    if found and found != keys:
        shown = [" ".join(first) + " and more" * bool(rest) for first, *rest in (keys, found)]
        text = f"{path}: expected results of {shown[0]}, found {shown[1]}"
        raise ConfigError(f"{text}: choose another --out")
    return rows


def write(folder: pathlib.Path, rows: Sequence[dict], transcripts: Iterable[list[dict]]):
    """Writes transcripts.jsonl, then results.jsonl, each atomically.

    `transcripts`: the utterances of each row. Each of them starts with its task, or with the whole
    key of its cell if a task has several rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keys = ("task",) if len({row["task"] for row in rows}) == len(rows) else score.CELL
    named = [
        {key: row[key] for key in keys} | utterance
        for row, utterances in zip(rows, transcripts, strict=True)
        for utterance in utterances
    ]
    disk.write_rows(folder / disk.TRANSCRIPTS, named)
    disk.write_rows(folder / disk.RESULTS, rows)


def table(rows: list[dict]) -> str:
    """The rows as a text table: checkpoint, task, decoding, utterances, error rate, interval."""
    shown = ("checkpoint", "task", "decode", "utterances")
    lines = [
        (*map(row.get, shown), f"{row['error_rate']:.2f}", rates.interval(row)) for row in rows
    ]
    return tables.columns((*shown, "error rate %", "95 % interval"), lines)
