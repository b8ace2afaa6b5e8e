"""Batches of an evaluation: every utterance once, in the evaluation's own buckets.

Dims: B utterances of the global batch.
"""

import bisect
import collections
from collections.abc import Callable
import dataclasses
import functools
import hashlib
import itertools
import math
from typing import NamedTuple

from seedasr_jax import config
from seedasr_jax.audio import files, pauses
from seedasr_jax.batch import CONTINUED
from seedasr_jax.data_pipelines import reading, tasks
from seedasr_jax.data_pipelines.batching import Fault, PromptText, collate
from seedasr_jax.data_pipelines.feed import Feed
from seedasr_jax.data_pipelines.index import Fit, Index, check_faults
from seedasr_jax.data_pipelines.stream import Prefetch
from seedasr_jax.errors import ConfigError, DataError
from seedasr_jax.text import prompts
from seedasr_jax.text.counted import Counted
from seedasr_jax.text.normalize import normalize
from seedasr_jax.text.template import Template

BUCKETS = "eval.buckets (eval: --buckets)"
_COMPLETE = "an evaluation excludes nothing: correct the row or remove it from the manifest"
_WHOLE_WAVE = (0, None)
_AHEAD = 4  # batches
_ROWS_AHEAD = 4  # rows whose audio is read ahead; each may be half an hour long
_CACHED_BYTES = 1 << 28  # two hours of audio, cached between the search for pauses and decoding


class Evaluation:
    """Iterates over (Batch, rows): every utterance once, bucket by bucket; None: a padding row.

    The Batch contains this process's share of the rows, and capacity in `ids` for the decoded
    tokens. An utterance that is cut takes several consecutive rows; CONTINUED marks all but the
    first. A silent utterance takes a row of weight 0.

    Attributes:
        name: the task's name in results.
        examples: the utterances in the manifest's order.
        context_tokens: capacity for contexts; 0 if no utterance has one that is used.
        contexts_cut: utterances whose context is used in part; contexts_unused: not at all.
        unknown: utterances whose reference has tokens that the tokenizer does not know.
    """

    def __init__(
        self,
        name,
        index: Index,
        examples,
        task,
        prompt_text: PromptText,
        *,
        cache,
        shapes,
        share,
        limit,
        gather,
        unknown: int,
    ):
        """Called by `evaluation`; `shapes`: its buckets, rounded up."""
        self.name, self.examples, self.unknown = name, examples, unknown
        unread = collections.Counter(bool(e.context) for e in examples if e.context_unread)
        self.contexts_cut, self.contexts_unused = unread[True], unread[False]
        self.context_tokens = prompt_text.context_tokens
        self._index, self._task, self._prompt_text, self._cache = index, task, prompt_text, cache
        self._shapes, self._share, self._limit, self._gather = shapes, share, limit, gather
        self._segments = None  # from `_find_segments`

    @property
    def languages(self) -> list[str]:
        """The language that each utterance states."""
        return [row.language for row in self.examples]

    def fingerprint(self) -> str:
        """SHA-256 (hex) of what determines the batches; all processes of a job must agree on it."""
        rows = ((e.id, e.seconds, e.context) for e in self.examples)
        text = repr((self._shapes, self.context_tokens, self._limit, *rows))
        return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()

    def widen_contexts(self, context_tokens: int):
        """Raises the capacity for contexts, if any, so that tasks share a compiled program."""
        if self.context_tokens:
            self.context_tokens = max(self.context_tokens, context_tokens)
            self._prompt_text.context_tokens = self.context_tokens

    def __iter__(self):
        if self._segments is None:  # here, because processes cannot communicate from a thread
            self._segments = self._find_segments()
        return self._prefetched(self._segments)

    def _prefetched(self, segments):
        batches = Prefetch(self._batches(segments), _AHEAD)
        try:
            yield from batches
        finally:
            batches.close()

    def _find_segments(self) -> list[list[tuple[int, int]]]:
        """The segments (first sample, end) of each utterance; each process searches its share."""
        if self._limit is None:
            return [[_WHOLE_WAVE] for _ in self.examples]
        seconds, pause = self._limit
        seconds = min(seconds, self._shapes[-1][0])
        index, count = self._share if self._gather else (0, 1)

        def search():
            shard = self._read(range(index, len(self.examples), count))
            return [[n, pauses.segments(example["wave"], seconds, pause)] for n, example in shard]

        found = dict(self._gather(search) if self._gather else search())
        return [[tuple(segment) for segment in found[n]] for n in range(len(self.examples))]

    def _plan(self, segments):
        """Yields (shape, all rows, rows of this process) of each batch; None is a padding row."""
        members = [[] for _ in self._shapes]
        for n, (example, cuts) in enumerate(zip(self.examples, segments)):
            sizes = [example.seconds if end is None else (end - a) / files.RATE for a, end in cuts]
            longest, limits = max(sizes, default=0.0), [seconds for seconds, _, _ in self._shapes]
            # The longest segment may exceed the last limit by rounding; see `pauses.segments`.
            place = min(bisect.bisect_left(limits, longest), len(limits) - 1)
            members[place] += [_Segment(n, *segment) for segment in enumerate(cuts or [None])]
        index, count = self._share
        for shape, found in zip(self._shapes, members):
            size = shape[2]
            for first in range(0, len(found), size):
                rows = found[first : first + size]
                rows += [None] * (size - len(rows))
                yield shape, rows, rows[index * size // count : (index + 1) * size // count]

    def _batches(self, segments):
        plan = list(self._plan(segments))
        audible = (one.utterance for _, _, shard in plan for one in shard if _is_audible(one))
        examples = self._read(n for n, _ in itertools.groupby(audible))
        at, example = None, None
        for shape, rows, shard in plan:
            filled = []
            for segment in shard:
                if _is_audible(segment) and segment.utterance != at:
                    at, example = next(examples)
                filled.append(_cut(example, segment, shape[1]) if _is_audible(segment) else None)
            batch, faults = collate(filled, shape, self._prompt_text, 0, silence=True)
            for segment, fault in zip(shard, faults):
                if fault:
                    raise self._error(segment.utterance, fault)
            yield batch, [self._example(segment) for segment in rows]

    def _example(self, segment):
        if segment is None:
            return None
        return CONTINUED if segment.number else self.examples[segment.utterance]

    def _read(self, numbers):
        """Yields (number, example) of the utterances with these numbers."""
        to_read, to_yield = itertools.tee(numbers)
        with reading.Reader(self._index.fit, self._cache) as reader:
            turns = (reading.Turn(reader, self.examples[n], (0, n)) for n in to_read)
            feed = Feed(self._task, reading.ahead(turns, _ROWS_AHEAD))
            for n, (_, example) in zip(to_yield, feed):
                if isinstance(example, Fault):
                    raise self._error(n, example)
                yield n, example

    def _error(self, n, fault):
        return DataError(
            f"{self.name}: {self.examples[n].id}: {fault.reason}: {fault.detail}; {_COMPLETE}"
        )


class _Segment(NamedTuple):
    utterance: int
    number: int  # of the segment, within the utterance
    span: tuple[int, int | None] | None  # first sample, end; None: silence


def _is_audible(segment):
    return segment is not None and segment.span is not None


def _cut(example, segment, tokens):
    """The example with a segment of its wave. The reference, which is not used, is cut to fit."""
    return example | {"wave": example["wave"][slice(*segment.span)], "ids": example["ids"][:tokens]}


def evaluation(
    name: str,
    vocab,
    *,
    buckets,
    data_folder,
    template: Template | None,
    normalizer: str,
    context_tokens: float = math.inf,
    cache_gib: float = 0.0,
    multiple: int = 1,
    share: tuple[int, int] = (0, 1),
    limit: tuple[float, float] | None = None,
    gather: Callable[[Callable[[], list]], list] | None = None,
) -> Evaluation:
    """Opens a task or SPEC for evaluation; `tasks.members` lists the tasks of a mixture.

    Args:
        name: task or SPEC.
        vocab: of text/vocab.py.
        buckets: (seconds, limit of decoded tokens, utterances), ascending.
        data_folder: folder for audio that sources generate or convert.
        template: the prompt template of rows, with a context if they state one; None: no prompt.
        normalizer: NAME@VERSION, applied to the references before they are tokenised.
        context_tokens: limit of a context; longer ones are cut, see `prompts.cut`.
        cache_gib: decoded audio kept in memory, for an evaluation that is repeated.
        multiple: number of devices that a batch is sharded over; utterances are rounded up to it.
        share: (index, count): this process's slice of a batch's rows, of `count` equal ones;
            `count` divides `multiple`.
        limit: seconds of the longest segment to decode and of the longest pause within it; longer
            utterances are cut, see audio/pauses.py. None: nothing is cut.
        gather: calls a function in every process and concatenates the returned lists (JSON), so
            that each utterance is searched once. None: this process searches all.

    Raises:
        ConfigError: a wrong name or bucket. DataError: an utterance is bad or, if nothing is cut,
            fits no bucket: an evaluation never shrinks silently.
    """
    resolved = tasks.resolve(name, data_folder)
    if len(resolved) != 1:
        raise ConfigError(
            f"{name}: expected a task, found a mixture; evaluate its tasks one by one:"
            f" {', '.join(source.name for source, _, _ in resolved)}"
        )
    source, task, _ = resolved[0]
    config.check_scored(buckets)
    shapes = tuple((s, tokens, -(-rows // multiple) * multiple) for s, tokens, rows in buckets)
    room = shapes if limit is None else ((math.inf, shapes[-1][1], 1),)
    fit = Fit(room, silence=True, key=BUCKETS)
    index = Index(source, fit, None)
    _check_room(source, index, shapes, limit)
    left = len(index.epoch(0).rows) - sum(index.sizes)
    if left:
        raise DataError(
            f"{source.name}: {left} utterances fit no bucket: {index.misfits()}; an evaluation"
            " excludes nothing: enlarge the largest bucket"
        )
    check_faults(index, 0.0, f"; {_COMPLETE}", '; for silence write "text": ""')
    bound = tasks.bind(task, vocab, normalizer, template)
    searched = _CACHED_BYTES if limit and share[1] == 1 else 0
    cache = files.WaveCache(max(round(cache_gib * 2**30), searched))
    rows = tuple(index.epoch(0).rows)
    cut, longest = _cut_contexts(rows, vocab, template, normalizer, context_tokens)
    examples = tuple(_as_read(row, *one) for row, one in zip(rows, cut))
    prompt_text = PromptText(template, config.context_room(longest))
    counted = Counted(vocab, functools.partial(normalize, normalizer))
    unknown = sum(counted.count(row.text)[1] > 0 for row in examples)
    how = dict(cache=cache, shapes=shapes, share=share, limit=limit, gather=gather)
    return Evaluation(source.name, index, examples, bound, prompt_text, unknown=unknown, **how)


def _check_room(source, index, shapes, limit):
    """Checks that a bucket fits the longest segment, so that only the model's limits cut audio."""
    longest = float(index.epoch(0).rows.column("seconds").max(initial=0.0))
    uncut = min(longest, limit[0]) if limit else 0.0
    if shapes[-1][0] + files.ROUNDING_SECONDS < uncut:
        raise ConfigError(
            f"{source.name}: the longest segment to decode has {uncut:g} s: expected a bucket of"
            f" that length in {BUCKETS}, found {shapes[-1][0]:g} s"
        )


def _cut_contexts(rows, vocab, template, normalizer, most):
    """(unread, read) of each row's context, and the maximum number of tokens that are read."""

    def size(text, row):
        if template is not None:
            return template.size(text, row)
        return len(vocab.encode(text)) if text else 0

    keys = [(row.context, template.row(row.language) if template else 0) for row in rows]
    texts = {text: prompts.normal_context(normalizer, text) for text, _ in {*keys}}
    cut = {
        key: prompts.cut(texts[key[0]], lambda text, row=key[1]: size(text, row) <= most)
        for key in {*keys}
    }
    longest = max(size(text, row) for (_, row), (_, text) in cut.items())
    return [cut[key] for key in keys], longest


def _as_read(row, unread, text):
    """The row with its context cut to what is used."""
    if not unread:
        return row
    return dataclasses.replace(row, context=text, context_unread=unread)
