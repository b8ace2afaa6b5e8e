"""The loader: numpy Batches from any step on, whatever the start and the number of processes.

Dims: B utterances of the global batch, P prompt tokens.
"""

import collections
import dataclasses
import math
import threading

from seedasr_jax import config
from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import contexts, draws, manifest, tasks
from seedasr_jax.data_pipelines.batching import Fault, Reading, collate
from seedasr_jax.data_pipelines.clock import PHONES_PER_SECOND, Clock
from seedasr_jax.data_pipelines.feed import Feed
from seedasr_jax.data_pipelines.index import Fit, Index
from seedasr_jax.data_pipelines.sampler import Sampler
from seedasr_jax.data_pipelines.sources import open_named, samples
from seedasr_jax.data_pipelines.stream import BadRows, Info, Prefetch, Stream
from seedasr_jax.errors import ConfigError, DataError
from seedasr_jax.text import prompts
from seedasr_jax.text.normalize import normalize

__all__ = [
    "Clock",
    "Evaluation",
    "Info",
    "Stream",
    "check",
    "evaluation",
    "longer",
    "open_named",
    "training",
]

SPEECH_ALONE = "; a stage that learns from speech alone has 0 tokens in data.buckets"
_WHOLE = "an evaluation leaves nothing out: mend the row or take it out of the manifest"
LONGEST = 300.0  # seconds that are scored in one piece where no bucket is named
_AHEAD = 4  # batches, of an evaluation
_CONTEXT = 16  # an evaluation's room for contexts is a multiple of it: few shapes to compile
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
        clock: fills in when things are said; None where nobody asks.
        steps: of the stage, for each batch's progress; 0: it stays 0.
        process_index: p.
        process_count: n.

    Raises:
        ConfigError: a wrong name, SPEC or bucket. DataError: data that cannot be used.
    """
    fit, opened = _opened(data, vocab, seed, data_folder, process_count)
    entries, rates, indexes = zip(*opened)
    names = [name for name, _ in entries]
    sampler = Sampler(
        [index.sizes for index in indexes],
        rates,
        [utterances for _, _, utterances in data.buckets],
        draws.word(seed, _KEY_SAMPLER),
    )
    plan = _Plan(sampler, indexes, start, seed, data.contexts, process_index, process_count)
    cache = files.WaveCache(round(data.cache_gib * 2**30))
    feeds = [Feed(task, plan.rows(number), fit, cache) for number, (_, task) in enumerate(entries)]
    left_out = {index.name: dict(index.epoch(0).left_out) for index in indexes}
    placed = {index.name: index.placed for index in indexes}
    recordings = sum(index.recordings for index in indexes)
    reading = Reading(vocab, prompted=prompted, context_tokens=data.contexts.tokens)
    batches = _batches(plan, feeds, names, fit, reading, clock, steps)
    bad_rows = BadRows(data.max_bad_fraction, recordings)
    return Stream(batches, names, left_out, placed, bad_rows)


def check(data: config.Data, vocab, *, data_folder, prompted: bool, process_count: int):
    """Raises what `training` raises at its start, and where contexts are asked of data with none.

    Args and errors: as of `training`.
    """
    _, opened = _opened(data, vocab, 0, data_folder, process_count)
    rows = (row for _, _, index in opened for row in index.epoch(0).rows)
    if prompted and data.contexts.tokens and not any(row.context or row.keywords for row in rows):
        raise DataError(
            f"data.contexts.tokens = {data.contexts.tokens}, but no utterance of data.mixture has a"
            " context or keywords: give rows such a field, or set it to 0"
        )


def _opened(data, vocab, seed, data_folder, process_count):
    """The Fit, and of each source (name, bound task), its rate and its Index."""
    fit = Fit(data.buckets, data.stretch, data.min_seconds)
    for bucket in data.buckets:
        if bucket[2] % process_count:
            raise ConfigError(
                f"data.buckets: {bucket[2]} utterances in {bucket} cannot be shared by"
                f" {process_count} processes; take {-(-bucket[2] // process_count) * process_count}"
            )
    tokens, opened = _counter(vocab, data.normalizer), []
    for name, rate in data.mixture:
        for source, task, share in tasks.resolve(name, data_folder):
            index = Index(source, fit, tokens, seed, _KEY_INDEX, len(opened))
            allowed = data.max_bad_fraction
            cure = f", more than data.max_bad_fraction = {allowed:g} allows: mend them or raise it"
            _check_faults(index, allowed, cure, SPEECH_ALONE)
            bound = tasks.bind(task, vocab, data.normalizer)
            opened.append(((source.name, bound), rate * share, index))
    return fit, opened


class _Plan:
    """Steps in order, and the same rows by source, for feeds that may run ahead of the steps."""

    def __init__(self, sampler, indexes, start, seed, told, process_index, process_count):
        self._sampler, self._indexes, self._seed, self._told = sampler, indexes, seed, told
        self._names = [contexts.Names(index.epoch(0).rows) for index in indexes]
        self._process = process_index, process_count
        self._next = start
        self._steps = collections.deque()
        self._queues = [collections.deque() for _ in indexes]
        self._lock = threading.Lock()

    def steps(self):
        """Yields (step, bucket, [(source, Row)] of the global batch, slice of this process)."""
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
            rows = [
                (source, self._tell(source, self._indexes[source].draw(bucket, n), step, position))
                for position, (source, n) in enumerate(chosen)
            ]
            index, count = self._process
            share = slice(index * len(rows) // count, (index + 1) * len(rows) // count)
            drawn = draws.word(self._seed, _KEY_DRAW, step) >> 1  # fits int64
            for position in range(len(rows))[share]:
                source, row = rows[position]
                self._queues[source].append((row, (drawn, position)))
            self._steps.append((step, bucket, rows, share))

    def _tell(self, source, row, step, position):
        if not self._told.tokens:
            return row
        key = (self._seed, _KEY_CONTEXT, step, position)
        return contexts.draw(row, self._names[source], self._told, *key)


def _batches(plan, feeds, names, fit, reading, clock, steps):
    """Yields (Batch, Info, skipped rows, samples by task)."""
    for step, bucket, rows, share in plan.steps():
        examples = [next(feeds[source])[1] for source, _ in rows[share]]
        room = math.ceil(PHONES_PER_SECOND * fit.buckets[bucket][0]) if clock else 0
        batch, faults = collate(examples, fit.buckets[bucket], reading, share.start, room)
        own = tuple(row for _, row in rows[share])
        batch.progress[:] = step / steps if steps else 0
        if clock:
            clock.fill(batch.times, own, batch.weight)
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
        heard = collections.Counter()
        if fit.hears:
            for source, row in rows:
                heard[names[source]] += samples(row)
        yield batch, Info(step, bucket, own), skipped, heard


class Evaluation:
    """Iterates over (Batch, rows): every utterance once, bucket by bucket; None for an empty row.

    The Batch has this process's share of the rows, and room in `ids` for what may be decoded.

    Attributes:
        name: as results name the task: its own, or KIND:FILENAME?query#8 hex of the content.
        examples: the utterances in the manifest's order.
        context_tokens: room for contexts; 0 where no utterance has one that is read.
        contexts_cut: utterances whose context is read in part; contexts_unused: not at all.
    """

    def __init__(self, name, index: Index, examples, task, reading: Reading, cache, share):
        self.name, self.examples = name, examples
        unread = collections.Counter(bool(e.context) for e in examples if e.context_unread)
        self.contexts_cut, self.contexts_unused = unread[True], unread[False]
        self.context_tokens = reading.context_tokens
        self._index, self._task, self._reading, self._cache = index, task, reading, cache
        self._share = share

    @property
    def languages(self) -> list[str]:
        """Of each utterance, as it states it."""
        return [row.language for row in self.examples]

    def make_room(self, context_tokens: int):
        """Widens contexts, where there are any: fewer shapes are fewer programs to compile."""
        if self.context_tokens:
            self.context_tokens = max(self.context_tokens, context_tokens)
            self._reading.context_tokens = self.context_tokens

    def __iter__(self):
        batches = Prefetch(self._batches(), _AHEAD)
        try:
            yield from batches
        finally:
            batches.close()

    def _plan(self):
        """Yields (bucket, numbers of its rows, those of this process), filled up with None."""
        index, count = self._share
        for bucket, members in zip(self._index.fit.buckets, self._index.epoch(0).buckets):
            size = bucket[2]
            for first in range(0, len(members), size):
                chosen = members[first : first + size].tolist()
                chosen += [None] * (size - len(chosen))
                yield bucket, chosen, chosen[index * size // count : (index + 1) * size // count]

    def _batches(self):
        own = (
            (self.examples[n], (0, n)) for _, _, own in self._plan() for n in own if n is not None
        )
        feed = Feed(self._task, own, self._index.fit, self._cache)
        for bucket, chosen, own in self._plan():
            examples = [None if n is None else _cut(next(feed)[1], bucket) for n in own]
            batch, faults = collate(examples, bucket, self._reading, 0, silence=True)
            for n, fault in zip(own, faults):
                if fault:
                    raise DataError(
                        f"{self.name}: {self.examples[n].id}: {fault.reason}: {fault.detail};"
                        f" {_WHOLE}"
                    )
            yield batch, [None if n is None else self.examples[n] for n in chosen]


def _cut(example, bucket):
    """The example; the tokens of its reference, which nothing reads, take no more than the room."""
    if isinstance(example, Fault):
        return example
    return example | {"ids": example["ids"][: bucket[1]]}


def longer(buckets):
    """The buckets and, behind them, each twice as long as the one before, up to LONGEST seconds."""
    buckets = list(buckets)
    while 0 < buckets[-1][0] < LONGEST:
        seconds, tokens, utterances = buckets[-1]
        buckets.append((2 * seconds, 2 * tokens, max(1, utterances // 2)))
    return tuple(buckets)


def evaluation(
    name: str,
    vocab,
    *,
    buckets,
    data_folder,
    prompted: bool,
    normalizer: str,
    context_tokens: float = math.inf,
    cache_gib: float = 0.0,
    multiple: int = 1,
    share: tuple[int, int] = (0, 1),
) -> Evaluation:
    """Opens a task or SPEC for evaluation; `tasks.members` gives those of a mixture.

    Args:
        name: task or SPEC.
        vocab: of text/vocab.py.
        buckets: (seconds, tokens decoded at most, utterances), ascending.
        data_folder: keeps what sources make or convert.
        prompted: whether the instruction stands on every row, and the context that a row has.
        normalizer: NAME@VERSION, applied to the references before they are tokenised.
        context_tokens: of a context that is read; longer ones are cut, see `prompts.cut`.
        cache_gib: decoded audio kept in memory, for an evaluation that is repeated.
        multiple: of devices that share a batch, to which utterances are rounded up.
        share: which of how many equal parts of a batch's rows are this process's; their number
            divides `multiple`.

    Raises:
        ConfigError: a wrong name or bucket. DataError: an utterance is bad or fits no bucket: an
            evaluation never shrinks silently.
    """
    resolved = tasks.resolve(name, data_folder)
    if len(resolved) != 1:
        raise ConfigError(
            f"{name} is a mixture; evaluate its tasks one by one:"
            f" {', '.join(source.name for source, _, _ in resolved)}"
        )
    source, task, _ = resolved[0]
    config.check_scored(buckets)
    shapes = tuple((s, tokens, -(-rows // multiple) * multiple) for s, tokens, rows in buckets)
    fit = Fit(shapes, silence=True, key="eval.buckets (eval: --buckets)")
    index = Index(source, fit, lambda text: 0)
    left = len(index.epoch(0).rows) - sum(index.sizes)
    if left:
        raise DataError(
            f"{source.name}: {left} utterances fit no bucket: {index.misfits()}; an evaluation"
            " leaves nothing out: enlarge the largest"
        )
    _check_faults(index, 0.0, f"; {_WHOLE}", '; where nothing is said, write "text": ""')
    bound = tasks.bind(task, vocab, normalizer)
    cache = files.WaveCache(round(cache_gib * 2**30))
    texts = {row.context: "" for row in index.epoch(0).rows}
    texts = {text: prompts.normal_context(normalizer, text) for text in texts}
    cut = {t: prompts.cut(t, lambda t: _tokens(vocab, t) <= context_tokens) for t in texts.values()}
    examples = tuple(_told(row, *cut[texts[row.context]]) for row in index.epoch(0).rows)
    told = max(_tokens(vocab, text) for _, text in cut.values())
    reading = Reading(vocab, prompted=prompted, context_tokens=-(-told // _CONTEXT) * _CONTEXT)
    return Evaluation(source.name, index, examples, bound, reading, cache, share)


def _check_faults(index: Index, allowed: float, cure: str, silent: str):
    """Raises where rows alone, before any audio is read, are worse than the allowed fraction.

    `cure`: what to do about it; `silent`: what more, where a row has no text.
    """
    if len(index.faults) > allowed * index.recordings:
        row, reason = index.faults[0]
        lacking = reason.removeprefix("no ")
        named = lacking not in manifest.ALIASES or row.silent
        hint = "" if named else f", {manifest.hint(row, lacking)}"
        raise DataError(
            f"{index.name}: line {row.line} ({row.id}): {reason}{hint}; {len(index.faults)} of"
            f" {index.recordings} rows have such a fault{cure}{silent if lacking == 'text' else ''}"
        )


def _tokens(vocab, text):
    return len(vocab.encode(text)) if text else 0


def _told(row, unread, text):
    """The row with what is read of its context, where that is not all."""
    if not unread:
        return row
    return dataclasses.replace(row, context=text, context_unread=unread)


def _counter(vocab, normalizer):
    """text -> number of tokens after normalisation."""
    return lambda text: len(vocab.encode(normalize(normalizer, text)))
