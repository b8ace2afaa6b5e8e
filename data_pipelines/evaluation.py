"""An evaluation's batches: every utterance once, in shapes of its own.

Dims: B utterances of the global batch.
"""

import collections
import dataclasses
import math

from seedasr_jax import config
from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import tasks
from seedasr_jax.data_pipelines.batching import Fault, Reading, collate
from seedasr_jax.data_pipelines.feed import Feed
from seedasr_jax.data_pipelines.index import Fit, Index, check_faults
from seedasr_jax.data_pipelines.stream import Prefetch
from seedasr_jax.errors import ConfigError, DataError
from seedasr_jax.text import prompts

LONGEST = 300.0  # seconds that are scored in one piece where no bucket is named
_WHOLE = "an evaluation leaves nothing out: mend the row or take it out of the manifest"
_AHEAD = 4  # batches
_CONTEXT = 16  # room for contexts is a multiple of it: few shapes to compile


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
    check_faults(index, 0.0, f"; {_WHOLE}", '; where nothing is said, write "text": ""')
    bound = tasks.bind(task, vocab, normalizer)
    cache = files.WaveCache(round(cache_gib * 2**30))
    texts = {row.context: "" for row in index.epoch(0).rows}
    texts = {text: prompts.normal_context(normalizer, text) for text in texts}
    cut = {t: prompts.cut(t, lambda t: _tokens(vocab, t) <= context_tokens) for t in texts.values()}
    examples = tuple(_told(row, *cut[texts[row.context]]) for row in index.epoch(0).rows)
    told = max(_tokens(vocab, text) for _, text in cut.values())
    reading = Reading(vocab, prompted=prompted, context_tokens=-(-told // _CONTEXT) * _CONTEXT)
    return Evaluation(source.name, index, examples, bound, reading, cache, share)


def _tokens(vocab, text):
    return len(vocab.encode(text)) if text else 0


def _told(row, unread, text):
    """The row with what is read of its context, where that is not all."""
    if not unread:
        return row
    return dataclasses.replace(row, context=text, context_unread=unread)
