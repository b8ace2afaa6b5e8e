"""The loader: NumPy Batches from any step, independent of the start and the number of processes.

Dims: B utterances of the global batch, P prompt tokens.
"""

import collections
from collections.abc import Callable
import dataclasses
import functools
import itertools
import math
import threading

import jax
import numpy as np

from seedasr_jax import batch as batches
from seedasr_jax import config
from seedasr_jax import skipped as skipping
from seedasr_jax.audio import files
from seedasr_jax.config import code
from seedasr_jax.data_pipelines import contexts, draws, reading, tasks
from seedasr_jax.data_pipelines.batching import Fault, PromptText, collate
from seedasr_jax.data_pipelines.evaluation import Evaluation, evaluation
from seedasr_jax.data_pipelines.feed import Feed
from seedasr_jax.data_pipelines.index import Fit, Index, check_faults
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.data_pipelines.named import open_named
from seedasr_jax.data_pipelines.sampler import Sampler
from seedasr_jax.data_pipelines.stream import BadRows, Info, Known, Stream
from seedasr_jax.data_pipelines.waves import usual_pause
from seedasr_jax.errors import ConfigError, DataError, UserError
from seedasr_jax.skipped import CONTEXT_CUT
from seedasr_jax.text.counted import Counted
from seedasr_jax.text.normalize import normalize
from seedasr_jax.text.template import Template

__all__ = ["Evaluation", "Info", "Stream", "check", "evaluation", "open_named", "training"]

AUDIO_ONLY = "; a stage that trains on audio only has 0 tokens in data.buckets"
_CHANGED = "its line in the manifest has changed since the job started"
_OTHER_CHANGED = "the line of its irrelevant context has changed since the job started"
_AHEAD = 2  # steps whose audio is read while the one before them is collated
# Keys of independent draws under one seed.
_KEY_SAMPLER, _KEY_INDEX, _KEY_DRAW, _KEY_CONTEXT = range(4)


def training(
    data: config.Data,
    vocab,
    *,
    seed: int,
    start: int,
    data_folder,
    template: Template | None,
    filler: Callable | None = None,
    extra: Callable | None = None,
    frames: Callable[[int], int] | None = None,
    process_index: int = 0,
    process_count: int = 1,
) -> Stream:
    """Opens the data of a stage at the step `start`.

    Process p of n receives rows p*B/n to (p+1)*B/n of each batch; all receive the same steps.

    Args:
        data: the stage's data section.
        vocab: of text/vocab.py.
        seed: of every draw.
        start: the first step.
        data_folder: for audio that sources make or convert.
        template: of the tokens around the speech, with contexts by data.contexts; None: no tokens.
        filler: (Batch, its rows, bucket, step) -> the Batch with its `extra`; None: it has none.
        extra: (utterances, bucket) -> shapes of `extra`, for batches after an error; with `filler`.
        frames: samples -> frames that CTC has at most; None where no CTC is learned.
        process_index, process_count: p, n.

    Raises:
        ConfigError: a wrong name, SPEC or bucket, or a filler without shapes.
        DataError: the data cannot be used.
    """
    if filler is not None and extra is None:  # a failed process would run another program
        raise ConfigError(
            "an objective with a filler: expected Needs.extra, the shapes of what it adds, found"
            " None: return it from `ask`"
        )
    counted = _counter(vocab, data.normalizer, template)
    fit, opened = _opened(data, vocab, template, counted, seed, data_folder, process_count)
    entries, rates, indexes = zip(*opened)
    names = [name for name, _ in entries]
    sampler = Sampler(
        [index.sizes for index in indexes],
        rates,
        [utterances for _, _, utterances in data.buckets],
        draws.word(seed, _KEY_SAMPLER),
    )
    drawing, placed = None, [index.placed for index in indexes]
    if template and data.contexts.tokens:
        drawing = contexts.Training(list(zip(placed, rates)), data.contexts)
    reader = reading.Reader(fit, files.WaveCache(round(data.cache_gib * 2**30)))
    share = process_index, process_count
    plan = _Plan(sampler, indexes, start, seed, drawing, share, reader)
    feeds = [Feed(task, plan.turns(number)) for number, (_, task) in enumerate(entries)]
    recordings = sum(len(index.rows) for index in indexes)
    prompt_text = PromptText(template, data.contexts.tokens)
    fill = functools.partial(_filled, filler, extra)
    made = _closing(reader, _batches(plan, feeds, names, fit, prompt_text, fill, frames))
    bad_rows = BadRows(data.max_bad_fraction, recordings, sampler.drawn(start))
    known = Known(
        {index.name: dict(index.epoch(0).left_out) for index in indexes},
        {index.name: rows.counts("language") for index, rows in zip(indexes, placed)},
        counted.warning,
        counted.share,
        max((float(rows.column("seconds").max(initial=0.0)) for rows in placed), default=0.0),
        lambda: {index.name: index.fingerprint() for index in indexes},
        functools.partial(usual_pause, placed) if fit.has_audio else float,
    )
    return Stream(made, names, known, bad_rows, whole=process_count == 1)


def check(data: config.Data, vocab, *, data_folder, template, process_count: int):
    """Raises the errors of `training` in advance, and one if the data lack required contexts."""
    counted = _counter(vocab, data.normalizer, template)
    _, opened = _opened(data, vocab, template, counted, 0, data_folder, process_count)
    if template and data.contexts.tokens:
        contexts.require([index.placed for _, rate, index in opened if rate], data.contexts)


def _opened(data, vocab, template, counted, seed, data_folder, process_count):
    """(Fit, [((name, bound task), rate, Index)] of all sources)."""
    fit = Fit(data.buckets, data.stretch, data.min_seconds)
    for bucket in data.buckets:
        if bucket[2] % process_count:
            raise ConfigError(
                f"data.buckets: {bucket[2]} utterances in {bucket} are not divisible by"
                f" {process_count} processes; use {-(-bucket[2] // process_count) * process_count}"
            )
    opened, named = [], {}
    for name, rate in data.mixture:
        for source, task, share in tasks.resolve(name, data_folder):
            if named.setdefault(source.name, name) != name:
                raise ConfigError(
                    f"data.mixture: {named[source.name]} and {name} both contain {source.name}:"
                    " name it once, with the sum of its rates"
                )
            index = Index(source, fit, counted, seed, _KEY_INDEX, len(opened))
            counted.add(int(index.epoch(0).tokens.sum()), int(index.epoch(0).unknown.sum()))
            allowed = data.max_bad_fraction
            cure = f", more than data.max_bad_fraction = {allowed:g}: correct them or raise it"
            check_faults(index, allowed, cure, AUDIO_ONLY)
            room = data.contexts.tokens or math.inf  # no limit without contexts
            bound = tasks.bind(task, vocab, data.normalizer, template, room)
            opened.append(((source.name, bound), rate * share, index))
    return fit, opened


@dataclasses.dataclass(frozen=True)
class _Whole:
    """Properties of a step's global batch."""

    step: int
    bucket: int
    utterances: int
    samples: dict[int, int]  # by source


class _Plan:
    """Steps in order, and the same rows by source for feeds, which may run ahead of the steps.

    Reading the audio of the next steps starts ahead of their turn.
    """

    def __init__(self, sampler, indexes, start, seed, drawing, share, reader):
        self._sampler, self._indexes, self._seed = sampler, indexes, seed
        self._drawing = drawing  # contexts.Training; None: rows have no context
        self._process, self._reader = share, reader
        self._next = start
        self._steps = collections.deque()
        self._queues = [collections.deque() for _ in indexes]
        self._lock = threading.Lock()

    def steps(self):
        """Yields (_Whole, [reading.Turn] of this process, [source] of each, first position)."""
        while True:
            while len(self._steps) <= _AHEAD:
                self._advance()
            with self._lock:  # feeds that run ahead append steps
                near = [*itertools.islice(self._steps, _AHEAD + 1)]
            for turn in itertools.chain.from_iterable(turns for _, turns, *_ in near):
                turn.begin()
            yield self._steps.popleft()

    def turns(self, source):
        """Yields reading.Turn of one source on this process."""
        while True:
            while not self._queues[source]:
                self._advance()
            yield self._queues[source].popleft()

    def _advance(self):
        with self._lock:
            step, self._next = self._next, self._next + 1
            bucket, chosen, numbers = self._sampler.at(step)
            samples = {}
            for source in np.unique(chosen).tolist():
                lasts = self._indexes[source].seconds(bucket, numbers[chosen == source])
                samples[source] = int(np.rint(lasts * files.RATE).sum())
            index, count = self._process
            share = slice(index * len(chosen) // count, (index + 1) * len(chosen) // count)
            drawn, own = draws.word(self._seed, _KEY_DRAW, step) >> 1, []  # fits int64
            ours = zip(chosen[share].tolist(), numbers[share].tolist())
            for position, (source, number) in enumerate(ours, share.start):
                rows, place = self._indexes[source].find(bucket, number)
                fault = _CHANGED
                try:
                    row, fault = rows[place], _OTHER_CHANGED
                    row = self._with_context(source, row, step, position)
                except DataError:
                    line = int(rows.cell("line", place))
                    name = f"{self._indexes[source].name}:{line}"
                    row = Row(name, line=line, fault=fault)
                own.append(reading.Turn(self._reader, row, (drawn, position)))
                self._queues[source].append(own[-1])
            whole = _Whole(step, bucket, len(chosen), samples)
            self._steps.append((whole, own, chosen[share].tolist(), share.start))

    def _with_context(self, source, row, step, position):
        if self._drawing is None:
            return contexts.without(row) if row.context else row
        return self._drawing.draw(source, row, self._seed, _KEY_CONTEXT, step, position)


def _batches(plan, feeds, names, fit, prompt_text, fill, frames):
    """Yields (Batch, Info, skipped rows, samples by task).

    After an error that ends the job, this process continues with rows of weight 0, skipped for that
    reason, until all processes know of the error.
    """
    failed = None
    for whole, turns, own_sources, first in plan.steps():
        step, bucket, rows = whole.step, fit.buckets[whole.bucket], [turn.row for turn in turns]

        def collated(examples, failed, bucket=bucket, first=first, step=step, rows=rows):
            batch, faults = collate(examples, bucket, prompt_text, first, frames=frames)
            own = tuple(map(_as_read, rows, examples))
            return fill(batch, own, bucket, step, failed), faults, own

        try:
            examples = [failed or next(feeds[source])[1] for source in own_sources]
            batch, faults, own = collated(examples, failed)
        except UserError as error:
            failed = Fault(skipping.failed(error), str(error))
            examples = [failed] * len(rows)
            batch, faults, own = collated(examples, failed)
        skipped = [
            {
                "step": step,
                "position": first + place,
                "id": row.id,
                "reason": fault.reason,
                "detail": fault.detail,
                "recording": fault.recording or ("" if row.segments else row.id),
            }
            for place, (row, fault) in enumerate(zip(own, faults))
            if fault
        ]
        if cut := sum(_is_cut(example) for example in examples):
            place = {"step": step, "position": first}
            skipped.append(place | {"reason": CONTEXT_CUT, "utterances": cut})
        samples = collections.Counter()
        for source, count in whole.samples.items() if fit.has_audio else ():
            samples[names[source]] += count
        yield batch, Info(step, whole.bucket, own, whole.utterances), skipped, samples


def _filled(filler, extra, batch, rows, bucket, step, failed):
    """The Batch with its `extra`, which is 0 after an error: the filler may have failed.

    Raises a ConfigError if the filler raises or has other shapes or types than `Needs.extra`.
    """
    if filler is None:
        return batch
    with code.of_user("the objective's filler or Needs.extra"):
        expected = extra(len(rows), bucket)
        if failed:
            return dataclasses.replace(batch, extra=batches.empty(expected))
        batch = filler(batch, rows, bucket, step)
        expected, found = (jax.tree.map(_shape, tree) for tree in (expected, batch.extra))
    same = jax.tree.structure(expected) == jax.tree.structure(found)
    if not same or jax.tree.leaves(expected) != jax.tree.leaves(found):
        raise ConfigError(
            f"the objective's filler: expected what Needs.extra states, {expected}, found {found}"
        )
    return batch


def _shape(x) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


def _closing(reader, made):
    with reader:
        yield from made


def _is_cut(example):
    return not isinstance(example, Fault) and bool(example["context_cut"])


def _as_read(row, example):
    """The row with its context cut to what is used."""
    if not _is_cut(example):
        return row
    return dataclasses.replace(row, context=example["context"].decode())


def _counter(vocab, normalizer, template):
    normal, beside = (
        functools.partial(normalize, normalizer),
        template.most_before if template else 0,
    )
    return Counted(vocab, normal, f"{normalizer}-{vocab.hash}", beside)
