"""An evaluation's batches: every utterance once, in shapes of its own.

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
from seedasr_jax.data_pipelines.batching import Fault, Reading, collate
from seedasr_jax.data_pipelines.feed import Feed
from seedasr_jax.data_pipelines.index import Fit, Index, check_faults
from seedasr_jax.data_pipelines.stream import Prefetch
from seedasr_jax.errors import ConfigError, DataError
from seedasr_jax.text import prompts
from seedasr_jax.text.counted import Counted
from seedasr_jax.text.normalize import normalize

BUCKETS = "eval.buckets (eval: --buckets)"
_WHOLE = "an evaluation leaves nothing out: mend the row or take it out of the manifest"
_WHOLE_WAVE = (0, None)
_AHEAD = 4  # batches
_ROWS_AHEAD = 4  # whose audio is being read: each may last half an hour
_TWICE = 1 << 28  # bytes of audio kept by a process that looks for pauses, then decodes: two hours


class Evaluation:
    """Iterates over (Batch, rows): every utterance once, bucket by bucket; None for an empty row.

    The Batch has this process's share of the rows, and room in `ids` for what may be decoded. An
    utterance that is cut takes several rows, one after another: CONTINUED stands for the later
    ones. One in which nothing sounds takes a row of weight 0.

    Attributes:
        name: as results name the task: its own, or KIND:FILENAME?query#8 hex of the content.
        examples: the utterances in the manifest's order.
        context_tokens: room for contexts; 0 where no utterance has one that is read.
        contexts_cut: utterances whose context is read in part; contexts_unused: not at all.
        unknown: utterances whose reference has tokens that the tokenizer cannot write.
    """

    def __init__(
        self,
        name,
        index: Index,
        examples,
        task,
        reading: Reading,
        *,
        cache,
        shapes,
        share,
        limit,
        join,
        unknown: int,
    ):
        """Made by `evaluation`, whose `pieces` are `limit`; `shapes`: its buckets, rounded up."""
        self.name, self.examples, self.unknown = name, examples, unknown
        unread = collections.Counter(bool(e.context) for e in examples if e.context_unread)
        self.contexts_cut, self.contexts_unused = unread[True], unread[False]
        self.context_tokens = reading.context_tokens
        self._index, self._task, self._reading, self._cache = index, task, reading, cache
        self._shapes, self._share, self._limit, self._join = shapes, share, limit, join
        self._pieces = None  # as `_find_pieces`

    @property
    def languages(self) -> list[str]:
        """Of each utterance, as it states it."""
        return [row.language for row in self.examples]

    def fingerprint(self) -> str:
        """SHA-256 (hex) of what decides the batches: processes that share one have the same."""
        own = ((e.id, e.seconds, e.context) for e in self.examples)
        text = repr((self._shapes, self.context_tokens, self._limit, *own))
        return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()

    def make_room(self, context_tokens: int):
        """Widens contexts, where there are any: fewer shapes are fewer programs to compile."""
        if self.context_tokens:
            self.context_tokens = max(self.context_tokens, context_tokens)
            self._reading.context_tokens = self.context_tokens

    def __iter__(self):
        if self._pieces is None:  # found here: in a thread processes cannot meet
            self._pieces = self._find_pieces()
        return self._prefetched(self._pieces)

    def _prefetched(self, pieces):
        batches = Prefetch(self._batches(pieces), _AHEAD)
        try:
            yield from batches
        finally:
            batches.close()

    def _find_pieces(self) -> list[list[tuple[int, int]]]:
        """Of each utterance the stretches (first sample, end) that are decoded.

        Each process listens to its share of the utterances, once.
        """
        if self._limit is None:
            return [[_WHOLE_WAVE] for _ in self.examples]
        seconds, pause = self._limit
        seconds = min(seconds, self._shapes[-1][0])
        index, count = self._share if self._join else (0, 1)

        def listen():
            own = self._read(range(index, len(self.examples), count))
            return [[n, pauses.pieces(example["wave"], seconds, pause)] for n, example in own]

        found = dict(self._join(listen) if self._join else listen())
        return [[tuple(piece) for piece in found[n]] for n in range(len(self.examples))]

    def _plan(self, pieces):
        """Yields (shape, its rows, those of this process); None is no row.

        Pieces of an utterance stand in one shape, one after another.
        """
        members = [[] for _ in self._shapes]
        for n, (example, own) in enumerate(zip(self.examples, pieces)):
            sizes = [example.seconds if end is None else (end - a) / files.RATE for a, end in own]
            longest, rooms = max(sizes, default=0.0), [seconds for seconds, _, _ in self._shapes]
            # What rounding adds to the longest has a place too; see `pauses.pieces`.
            place = min(bisect.bisect_left(rooms, longest), len(rooms) - 1)
            members[place] += [_Piece(n, *piece) for piece in enumerate(own or [None])]
        index, count = self._share
        for shape, own in zip(self._shapes, members):
            size = shape[2]
            for first in range(0, len(own), size):
                rows = own[first : first + size]
                rows += [None] * (size - len(rows))
                yield shape, rows, rows[index * size // count : (index + 1) * size // count]

    def _batches(self, pieces):
        plan = list(self._plan(pieces))
        sounding = (piece.utterance for _, _, own in plan for piece in own if _sounds(piece))
        examples = self._read(n for n, _ in itertools.groupby(sounding))
        at, example = None, None
        for shape, rows, own in plan:
            filled = []
            for piece in own:
                if _sounds(piece) and piece.utterance != at:
                    at, example = next(examples)
                filled.append(_part(example, piece, shape[1]) if _sounds(piece) else None)
            batch, faults = collate(filled, shape, self._reading, 0, silence=True)
            for piece, fault in zip(own, faults):
                if fault:
                    raise self._error(piece.utterance, fault)
            yield batch, [self._example(piece) for piece in rows]

    def _example(self, piece):
        if piece is None:
            return None
        return CONTINUED if piece.number else self.examples[piece.utterance]

    def _read(self, numbers):
        """Yields (number, example) of utterances."""
        here, there = itertools.tee(numbers)
        with reading.Reader(self._index.fit, self._cache) as reader:
            turns = (reading.Turn(reader, self.examples[n], (0, n)) for n in here)
            feed = Feed(self._task, reading.ahead(turns, _ROWS_AHEAD))
            for n, (_, example) in zip(there, feed):
                if isinstance(example, Fault):
                    raise self._error(n, example)
                yield n, example

    def _error(self, n, fault):
        return DataError(
            f"{self.name}: {self.examples[n].id}: {fault.reason}: {fault.detail}; {_WHOLE}"
        )


class _Piece(NamedTuple):
    utterance: int
    number: int  # of the piece, within the utterance
    span: tuple[int, int | None] | None  # first sample, end; None: nothing sounds


def _sounds(piece):
    return piece is not None and piece.span is not None


def _part(example, piece, tokens):
    """The example with a stretch of its wave. Its reference, which nothing reads, fits the room."""
    return example | {"wave": example["wave"][slice(*piece.span)], "ids": example["ids"][:tokens]}


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
    pieces: tuple[float, float] | None = None,
    join: Callable[[Callable[[], list]], list] | None = None,
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
        pieces: seconds of the longest piece that is decoded and of the longest pause in it: beyond
            them utterances are cut, see audio/pauses.py. None: none is cut.
        join: calls a function in every process and joins the lists (JSON) that it returns, so that
            pauses are looked for once. None: this process looks for all.

    Raises:
        ConfigError: a wrong name or bucket. DataError: an utterance is bad or, where none is cut,
            fits no bucket: an evaluation never shrinks silently.
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
    room = shapes if pieces is None else ((math.inf, shapes[-1][1], 1),)
    fit = Fit(room, silence=True, key=BUCKETS)
    index = Index(source, fit, None)
    _check_room(source, index, shapes, pieces)
    left = len(index.epoch(0).rows) - sum(index.sizes)
    if left:
        raise DataError(
            f"{source.name}: {left} utterances fit no bucket: {index.misfits()}; an evaluation"
            " leaves nothing out: enlarge the largest"
        )
    check_faults(index, 0.0, f"; {_WHOLE}", '; where nothing is said, write "text": ""')
    bound = tasks.bind(task, vocab, normalizer)
    twice = _TWICE if pieces and share[1] == 1 else 0
    cache = files.WaveCache(max(round(cache_gib * 2**30), twice))
    rows = tuple(index.epoch(0).rows)
    texts = {text: prompts.normal_context(normalizer, text) for text in {r.context for r in rows}}
    cut = {t: prompts.cut(t, lambda t: _tokens(vocab, t) <= context_tokens) for t in texts.values()}
    examples = tuple(_as_read(row, *cut[texts[row.context]]) for row in rows)
    longest = max(_tokens(vocab, text) for _, text in cut.values())
    reading = Reading(vocab, prompted=prompted, context_tokens=config.context_room(longest))
    counted = Counted(vocab, functools.partial(normalize, normalizer))
    unknown = sum(counted.count(row.text)[1] > 0 for row in examples)
    how = dict(cache=cache, shapes=shapes, share=share, limit=pieces, join=join, unknown=unknown)
    return Evaluation(source.name, index, examples, bound, reading, **how)


def _check_room(source, index, shapes, pieces):
    """Checks that the longest piece has a bucket: buckets cut nothing that the model could take."""
    longest = float(index.epoch(0).rows.column("seconds").max(initial=0.0))
    whole = min(longest, pieces[0]) if pieces else 0.0
    if shapes[-1][0] + files.ROUNDING_SECONDS < whole:
        raise ConfigError(
            f"{source.name}: the longest piece that is decoded has {whole:g} s: expected as long a"
            f" bucket in {BUCKETS}, found {shapes[-1][0]:g} s"
        )


def _tokens(vocab, text):
    return len(vocab.encode(text)) if text else 0


def _as_read(row, unread, text):
    """The row with what is read of its context, where that is not all."""
    if not unread:
        return row
    return dataclasses.replace(row, context=text, context_unread=unread)
