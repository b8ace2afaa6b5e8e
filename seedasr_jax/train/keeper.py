"""The files that a stage writes while it trains: checkpoints, stage.json and skipped.jsonl."""

import dataclasses
import time

import jax

from seedasr_jax import checkpoint as checkpoints
from seedasr_jax import config, skipped
from seedasr_jax import workdir as disk
from seedasr_jax.audio import files
from seedasr_jax.parallel import processes
from seedasr_jax.train import loop

# Keys of a checkpoint's note: its row of metrics.jsonl, and stage.json as of this step.
ROW, RECORD = "row", "record"
_HOUR = 3600 * files.RATE  # samples


class Keeper:
    """Saves a stage; its stage.json describes exactly what is durable on disk.

    Skipped rows are listed before their step is saved, so a resumed stage lists each once.
    """

    def __init__(self, folder, record, keep, stream, pinned=()):
        """Opens the files of a stage, as they were at the step where it resumes.

        Args:
            record: its stage.json at the start.
            keep, pinned: see `checkpoints.Writer`.
            stream: the training data: `skipped`, rows of seedasr_jax/skipped.py; `samples`, by
                task; and `judge(rows)`, which raises a DataError if too many rows are bad.
        """
        self.folder, self.record, self.stream = folder, record, stream
        self.writer = checkpoints.Writer(folder, keep, pinned)
        # In samples, whose sums are exact: a resumed stage counts as an uninterrupted one.
        self.samples = {task: round(hours * _HOUR) for task, hours in record.hours.items()}
        self.spent = dict(record.spent)
        self.records, self.reported = {}, 0
        self.began, self.cpu = time.monotonic(), time.process_time()
        before = processes.first(lambda: disk.rewind(folder / disk.SKIPPED, record.step))
        before = [row for row in before if skipped.is_whole(row)]
        self.cut = skipped.contexts_cut(before)
        self.settle()
        self.stream.judge(before)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None and kind is not loop.Stopped and not processes.is_alone():
            return  # other processes may be inside a step: a collective would hang
        self.list_skipped()
        self.wait()

    def save(self, step, state, row, transient):
        """Starts a save with the step's row in its note; stage.json follows once it is durable."""
        self.judge()
        new = self.stream.samples.items()
        samples = self.samples | {task: self.samples.get(task, 0) + n for task, n in new}
        hours = {task: n / _HOUR for task, n in samples.items()}
        seconds = time.monotonic() - self.began
        spent = {"seconds": seconds, "cpu_seconds": time.process_time() - self.cpu}
        spent["chip_seconds"] = seconds * jax.device_count()
        spent = {k: self.spent.get(k, 0.0) + v for k, v in spent.items()}
        at = dict(step=step, position=step, hours=hours, spent=spent)
        self.records[step] = dataclasses.replace(self.record, **at)
        note = {ROW: row, RECORD: config.to_dict(self.records[step])}
        self.writer.save(step, state, note, transient=transient)
        self.settle()

    def judge(self):
        """Lists skipped rows; a DataError in every process if too many rows of all are bad."""
        self.stream.judge(self.list_skipped())

    def wait(self):
        """Waits until the last saved step is durable and recorded in stage.json."""
        self.writer.wait()
        self.settle()

    def settle(self, **changes):
        """Writes stage.json as of the newest durable step."""
        newest = self.records.get(self.writer.durable(), self.record)
        self.record = dataclasses.replace(newest, **changes)
        if processes.is_first():
            checkpoints.write(self.folder, self.record)

    def list_skipped(self) -> list[dict]:
        """Lists the rows that all processes skipped since the last call, and returns them."""
        new = self.stream.skipped[self.reported :]
        self.reported += len(new)
        rows = skipped.merged(processes.gathered(new))
        self.cut += skipped.contexts_cut(rows)
        bad = [row for row in rows if row["reason"] != skipped.FAILED]
        if bad and processes.is_first():
            disk.append(self.folder / disk.SKIPPED, bad)
        return rows

    def finish(self, params):
        """Records the stage as finished, with hashes of its parts; its last step is saved."""
        hashes = {
            part: checkpoints.parameters_hash(checkpoints.select(params, part))
            for part in checkpoints.parts(params)
        }
        self.settle(hashes=hashes, state="finished")
