"""The loader: numpy Batches from any step on, whatever the start and the number of processes.

Dims: B utterances of the global batch, P prompt tokens.
"""

import collections
from collections.abc import Callable
import dataclasses
import functools
import math
import threading

from seedasr_jax import config
from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import contexts, draws, tasks
from seedasr_jax.data_pipelines.batching import Fault, Reading, collate
from seedasr_jax.data_pipelines.clock import PHONES_PER_SECOND, Clock
from seedasr_jax.data_pipelines.evaluation import Evaluation, evaluation
from seedasr_jax.data_pipelines.feed import Feed
from seedasr_jax.data_pipelines.index import Fit, Index, check_faults
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.data_pipelines.sampler import Sampler
from seedasr_jax.data_pipelines.sources import open_named, usual_pause
from seedasr_jax.data_pipelines.stream import (
    CONTEXT_CUT,
    FAILED,
    BadRows,
    Info,
    Known,
    Stream,
    is_skipped,
    merged,
)
from seedasr_jax.errors import ConfigError, DataError, UserError
from seedasr_jax.text.counted import Counted
from seedasr_jax.text.normalize import normalize

__all__ = [
    "CONTEXT_CUT",
    "FAILED",
    "Clock",
    "Evaluation",
    "Info",
    "Stream",
    "check",
    "evaluation",
    "is_skipped",
    "merged",
    "open_named",
    "training",
]

SPEECH_ALONE = "; a stage that learns from speech alone has 0 tokens in data.buckets"
_CHANGED = "its line of the manifest has changed since the job began"
# Apart from each other, under one seed.
_KEY_SAMPLER, _KEY_INDEX, _KEY_DRAW, _KEY_CONTEXT = range(4)


def training(
    data: config.Data,
    vocab,
    *,
    seed: int,
    start: int,
    data_folder,
    prompted: bool,
    clock: Clock | None = None,
    frames: Callable[[int], int] | None = None,
    steps: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> Stream:
    """Opens the data of a stage at a step.

    Process p of n gets rows p*B/n to (p+1)*B/n of each batch; all get the same steps.

    Args:
        data: the stage's data section.
        vocab: of text/vocab.py.
        seed: of every draw.
        start: the first step.
        data_folder: keeps what sources make or convert.
        prompted: whether the instruction and, by data.contexts, a context stand on the rows.
        clock: fills in the times of tokens and phones; None where they are not read.
        frames: samples -> frames that CTC has at most; None where no CTC is learned.
        steps: of the stage, for each batch's progress; 0: it stays 0.
        process_index: p.
        process_count: n.

    Raises:
        ConfigError: a wrong name, SPEC or bucket. DataError: data that cannot be used.
    """
    counted = _counter(vocab, data.normalizer)
    fit, opened = _opened(data, vocab, counted, seed, data_folder, process_count)
    entries, rates, indexes = zip(*opened)
    names = [name for name, _ in entries]
    sampler = Sampler(
        [index.sizes for index in indexes],
        rates,
        [utterances for _, _, utterances in data.buckets],
        draws.word(seed, _KEY_SAMPLER),
    )
    drawing, placed = None, [index.placed for index in indexes]
    if prompted and data.contexts.tokens:
        drawing = contexts.Training(list(zip(placed, rates)), data.contexts)
    plan = _Plan(sampler, indexes, start, seed, drawing, process_index, process_count)
    cache = files.WaveCache(round(data.cache_gib * 2**30))
    feeds = [Feed(task, plan.rows(number), fit, cache) for number, (_, task) in enumerate(entries)]
    recordings = sum(len(index.rows) for index in indexes)
    reading = Reading(vocab, prompted=prompted, context_tokens=data.contexts.tokens)
    batches = _batches(plan, feeds, names, fit, reading, clock, frames, steps)
    bad_rows = BadRows(data.max_bad_fraction, recordings, sampler.drawn(start))
    known = Known(
        {index.name: dict(index.epoch(0).left_out) for index in indexes},
        {index.name: rows.counts("language") for index, rows in zip(indexes, placed)},
        counted.warning,
        counted.share,
        max((float(rows.column("seconds").max(initial=0.0)) for rows in placed), default=0.0),
        functools.partial(usual_pause, placed) if fit.hears else float,
    )
    return Stream(batches, names, known, bad_rows, whole=process_count == 1)


def check(data: config.Data, vocab, *, data_folder, prompted: bool, process_count: int):
    """Raises what `training` raises at its start, and if contexts are asked of data without any.

    Args and errors: as of `training`.
    """
    counted = _counter(vocab, data.normalizer)
    _, opened = _opened(data, vocab, counted, 0, data_folder, process_count)
    if prompted and data.contexts.tokens:
        contexts.require([index.placed for _, rate, index in opened if rate], data.contexts)


def _opened(data, vocab, counted, seed, data_folder, process_count):
    """The Fit, and of each source (name, bound task), its rate and its Index."""
    fit = Fit(data.buckets, data.stretch, data.min_seconds)
    for bucket in data.buckets:
        if bucket[2] % process_count:
            raise ConfigError(
                f"data.buckets: {bucket[2]} utterances in {bucket} cannot be shared by"
                f" {process_count} processes; take {-(-bucket[2] // process_count) * process_count}"
            )
    opened, named = [], {}
    for name, rate in data.mixture:
        for source, task, share in tasks.resolve(name, data_folder):
            if named.setdefault(source.name, name) != name:
                raise ConfigError(
                    f"data.mixture: {named[source.name]} and {name} both hold {source.name}: name"
                    " it once, at the sum of its rates"
                )
            index = Index(source, fit, counted, seed, _KEY_INDEX, len(opened))
            counted.add(int(index.epoch(0).tokens.sum()), int(index.epoch(0).unknown.sum()))
            allowed = data.max_bad_fraction
            cure = f", more than data.max_bad_fraction = {allowed:g} allows: mend them or raise it"
            check_faults(index, allowed, cure, SPEECH_ALONE)
            room = data.contexts.tokens or math.inf  # without contexts none is cut
            bound = tasks.bind(task, vocab, data.normalizer, room)
            opened.append(((source.name, bound), rate * share, index))
    return fit, opened


class _Plan:
    """Steps in order, and the same rows by source, for feeds that may run ahead of the steps."""

    def __init__(self, sampler, indexes, start, seed, drawing, process_index, process_count):
        self._sampler, self._indexes, self._seed = sampler, indexes, seed
        self._drawing = drawing  # contexts.Training; None: rows have no context
        self._process = process_index, process_count
        self._next = start
        self._steps = collections.deque()
        self._queues = [collections.deque() for _ in indexes]
        self._lock = threading.Lock()

    def steps(self):
        """Yields (step, bucket, [(source, samples)] of the batch, [Row] of ours, their slice)."""
        while True:
            while not self._steps:
                self._advance()
            yield self._steps.popleft()

    def rows(self, source):
        """Yields (Row, draw) of one source on this process."""
        while True:
            while not self._queues[source]:
                self._advance()
            yield self._queues[source].popleft()

    def _advance(self):
        with self._lock:
            step, self._next = self._next, self._next + 1
            bucket, chosen = self._sampler.at(step)
            found = [(source, *self._indexes[source].find(bucket, n)) for source, n in chosen]
            seconds = ((source, rows.cell("seconds", place)) for source, rows, place in found)
            sizes = [(source, round(float(lasts) * files.RATE)) for source, lasts in seconds]
            index, count = self._process
            share = slice(index * len(found) // count, (index + 1) * len(found) // count)
            drawn, own = draws.word(self._seed, _KEY_DRAW, step) >> 1, []  # fits int64
            for position, (source, rows, place) in enumerate(found[share], share.start):
                try:
                    own.append(self._with_context(source, rows[place], step, position))
                except DataError:
                    line = int(rows.cell("line", place))
                    name = f"{self._indexes[source].name}:{line}"
                    own.append(Row(name, line=line, fault=_CHANGED))
                self._queues[source].append((own[-1], (drawn, position)))
            self._steps.append((step, bucket, sizes, own, share))

    def _with_context(self, source, row, step, position):
        if self._drawing is None:
            return contexts.without(row) if row.context else row
        return self._drawing.draw(source, row, self._seed, _KEY_CONTEXT, step, position)


def _batches(plan, feeds, names, fit, reading, clock, frames, steps):
    """Yields (Batch, Info, skipped rows, samples by task).

    An error that ends the job is a skipped row too, FAILED, as are all rows after it: this process
    goes on with rows of weight 0 until all processes know of it.
    """
    failed = None
    for step, bucket, sizes, rows, share in plan.steps():
        room = math.ceil(PHONES_PER_SECOND * fit.buckets[bucket][0]) if clock else 0
        shape = fit.buckets[bucket], reading, share.start, room

        def fill(rows, examples, shape=shape):
            batch, faults = collate(examples, *shape, frames=frames)
            own = tuple(map(_as_read, rows, examples))
            if clock:
                clock.fill(batch.times, own, batch.weight)
            return batch, faults, own

        try:
            examples = [failed or next(feeds[source])[1] for source, _ in sizes[share]]
            batch, faults, own = fill(rows, examples)
        except UserError as error:
            failed = Fault(FAILED, str(error))
            examples = [failed] * len(rows)
            batch, faults, own = fill(rows, examples)
        batch.progress[:] = step / steps if steps else 0
        skipped = [
            {
                "step": step,
                "position": share.start + place,
                "id": row.id,
                "reason": fault.reason,
                "detail": fault.detail,
                "recording": fault.recording or ("" if row.parts else row.id),
            }
            for place, (row, fault) in enumerate(zip(own, faults))
            if fault
        ]
        if cut := sum(_is_cut(example) for example in examples):
            place = {"step": step, "position": share.start}
            skipped.append(place | {"reason": CONTEXT_CUT, "utterances": cut})
        heard = collections.Counter()
        if fit.hears:
            for source, size in sizes:
                heard[names[source]] += size
        yield batch, Info(step, bucket, own, len(sizes)), skipped, heard


def _is_cut(example):
    return not isinstance(example, Fault) and bool(example["context_cut"])


def _as_read(row, example):
    """The row with what is read of its context."""
    if not _is_cut(example):
        return row
    return dataclasses.replace(row, context=example["context"].decode())


def _counter(vocab, normalizer):
    """Counts the tokens of texts after normalisation."""
    return Counted(vocab, functools.partial(normalize, normalizer), f"{normalizer}-{vocab.hash}")
