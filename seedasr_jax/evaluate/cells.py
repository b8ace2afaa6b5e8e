"""Cells of a sweep, checkpoint x task x decode setting, and the files of their results.

A cell is the unit of work. Its key is known before anything is decoded, rows are in the order of
the cells, and equal cells give equal bytes in any process.
"""

from collections.abc import Callable, Sequence
import dataclasses
import pathlib
from typing import Any

from seedasr_jax import config, tables
from seedasr_jax import workdir as disk
from seedasr_jax.decode.recogniser import Recogniser
from seedasr_jax.errors import ConfigError
from seedasr_jax.evaluate import score
from seedasr_jax.text import score as rates


@dataclasses.dataclass(frozen=True)
class Cell:
    """One checkpoint on one task with one setting."""

    checkpoint: str  # its label, STAGE@STEP#hash
    task: Any  # opened for this setting: has `name`, `examples`, `languages`, `unknown`, batches
    setting: score.Setting

    @property
    def key(self) -> tuple[str, ...]:
        """Values of the keys `score.CELL` in its row."""
        used = self.setting.conventions.used(self.task.languages)
        return (self.checkpoint, self.task.name, self.setting.decode, *used)

    def score(self, recogniser: Recogniser) -> tuple[dict, list[dict]]:
        """Its row of results.jsonl and one dict per utterance, see `score.evaluate`."""
        task = self.task
        more = dict(order=task.examples, unknown=task.unknown)
        return score.evaluate(recogniser, self.checkpoint, task.name, task, self.setting, **more)


def digest(cells: Sequence[Cell]) -> str:
    """Short hash of the cells' keys, which names the folder of their results."""
    return config.digest({"cells": [cell.key for cell in cells]})[:8]


def run(
    folder: pathlib.Path,
    cells: Sequence[Cell],
    recogniser: Recogniser,
    say: Callable[[str], None],
    *,
    kept: bool = False,
) -> list[dict]:
    """Scores cells in order and writes their files.

    Args:
        folder: folder of results.jsonl and transcripts.jsonl.
        cells: cells of one checkpoint.
        recogniser: the recogniser of that checkpoint.
        say: logs a line.
        kept: whether to keep existing results of the same cells instead of scoring again.

    Returns:
        The rows of results.jsonl.

    Raises:
        ConfigError: the folder contains results of other cells.
    """
    found = _found(folder, cells)
    if kept and found and (folder / disk.TRANSCRIPTS).exists():
        return found
    rows, said = [], {}
    for cell in cells:
        row, said[cell.task.name] = cell.score(recogniser)
        rows.append(row)
        for line in score.describe(row):
            say(line)
    write(folder, rows, said)
    say(f"results in {folder}")
    return rows


def _found(folder, cells):
    """Existing rows, whose cells must match: no other results are overwritten."""
    path, keys = folder / disk.RESULTS, [cell.key for cell in cells]
    rows = disk.read_rows(path)
    found = [tuple(row.get(key, "") for key in score.CELL) for row in rows]
    if found and found != keys:
        raise ConfigError(
            f"{path} holds {' '.join(found[0])}{' and more' if found[1:] else ''}, not"
            f" {' '.join(keys[0])}{' and more' if keys[1:] else ''}: choose another --out"
        )
    return rows


def write(folder: pathlib.Path, rows: list[dict], utterances: dict[str, list[dict]]):
    """Writes transcripts.jsonl, then results.jsonl, each atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    said = [{"task": task} | u for task, listed in utterances.items() for u in listed]
    disk.write_rows(folder / disk.TRANSCRIPTS, said)
    disk.write_rows(folder / disk.RESULTS, rows)


def table(rows: list[dict]) -> str:
    """The rows as a text table: checkpoint, task, decoding, utterances, error rate, interval."""
    head = ("checkpoint", "task", "decode", "utterances", "error rate %", "95 % interval")
    return tables.columns(
        head,
        (
            (
                *(row[key] for key in ("checkpoint", "task", "decode", "utterances")),
                f"{row['error_rate']:.2f}",
                rates.interval(row),
            )
            for row in rows
        ),
    )
