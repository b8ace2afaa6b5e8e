"""SeqIO tasks and mixtures: every source is a registered task with metrics, every name is resolved.

A task of your own joins through `config.imports`: its source has a method `rows()` that gives
`manifest.Row`s, and its preprocessors work on the examples of preprocess.py.
"""

import math
import re

from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import index, manifest, preprocess, sources, spec, table
from seedasr_jax.data_pipelines.tf import seqio, tf
from seedasr_jax.data_pipelines.vocabulary import Vocabulary
from seedasr_jax.errors import ConfigError, nearest
from seedasr_jax.text.score import score

SPLIT = "train"  # a source is one split; SeqIO wants a name for it
_WAVE = seqio.Feature(seqio.PassThroughVocabulary(0), add_eos=False, dtype=tf.int16)
_TEXT = seqio.Feature(seqio.PassThroughVocabulary(0), add_eos=False, dtype=tf.string, rank=0)


def wer(targets, predictions):
    """Word error rate in percent of normalised texts."""
    return {"wer": score(targets, predictions, unit="word", resamples=1).error_rate}


def cer(targets, predictions):
    """Character error rate in percent of normalised texts."""
    return {"cer": score(targets, predictions, unit="char", resamples=1).error_rate}


class RowSource(seqio.DataSource):
    """A `sources.Source` for SeqIO, in the manifest's order.

    Training does not read it so: order, joining and buckets are the sampler's, and chosen rows run
    through the task's preprocessors.
    """

    def __init__(self, source: sources.Source):
        super().__init__((SPLIT,), caching_permitted=False)
        self.source = source

    def rows(self):
        return self.source.rows()

    @property
    def supports_arbitrary_sharding(self):
        return False

    def list_shards(self, split):
        return [self.source.name]

    def get_dataset(self, split=SPLIT, shuffle=False, seed=None, shard_info=None, **unused):
        cache = files.WaveCache(0)
        rows = iter(index.fixed(self.source))

        def feed():
            row = next(rows)
            return row, sources.hear(row, cache), (0, 0)

        return preprocess.examples(feed)


def register(source: sources.Source) -> seqio.Task:
    """Registers a source as a task of waves and texts, in place of one with the same content."""
    name = _task_name(source.name)
    seqio.TaskRegistry.remove(name)  # its files may stand in another folder now
    return seqio.TaskRegistry.add(
        name,
        source=RowSource(source),
        preprocessors=(),
        output_features={"wave": _WAVE, "text": _TEXT},
        metric_fns=(wer, cer),
    )


def bind(task: seqio.Task, vocab, normalizer: str, context_tokens=math.inf) -> seqio.Task:
    """The task with its texts normalised and tokenised, registered under all three names.

    `context_tokens`: of a context, at most; see `preprocess.tokenize`.
    """
    bound = task.replace(
        name=_task_name(f"{task.name}:{normalizer}:{vocab.hash[:8]}"),
        preprocessors=(*task.preprocessors, preprocess.tokenize(vocab, normalizer, context_tokens)),
        output_features={
            "wave": _WAVE,
            "ids": seqio.Feature(Vocabulary(vocab), add_eos=False, dtype=tf.int32),
            "context_ids": seqio.Feature(Vocabulary(vocab), add_eos=False, dtype=tf.int32),
        },
    )
    seqio.TaskRegistry.remove(bound.name)
    seqio.TaskRegistry.add_provider(bound.name, bound)
    return bound


def resolve(name: str, data_folder) -> list[tuple[sources.Source, seqio.Task, float]]:
    """A task, a mixture or a SPEC -> its sources with their tasks and shares, which add up to 1.

    Raises:
        ConfigError: nothing has this name; names the nearest.
    """
    if name in seqio.MixtureRegistry.names():
        mixture = seqio.MixtureRegistry.get(name)
        rates = [mixture.get_rate(task) for task in mixture.tasks]
        for task, rate in zip(mixture.tasks, rates):
            if not 0 < rate < math.inf:
                raise ConfigError(
                    f"mixture {name}: expected a rate above 0 of each task, found {rate:g} of"
                    f" {task.name}: leave out what is not to be read"
                )
        return [
            (_source(task), task, rate / sum(rates)) for task, rate in zip(mixture.tasks, rates)
        ]
    if name in seqio.TaskRegistry.names():
        task = seqio.TaskRegistry.get(name)
        return [(_source(task), task, 1.0)]
    if ":" in name:
        source = sources.open_source(name, data_folder)
        return [(source, register(source), 1.0)]
    names = (*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names())
    if re.search(r"\.jsonl?(\?|$)", name):
        raise ConfigError(
            f"{name!r}: a manifest is named with its kind. Did you mean manifest:{name}?"
        )
    raise ConfigError(
        f"{name!r} is no task, mixture or SPEC (KIND:WHERE with KIND {' or '.join(spec.KINDS)});"
        f" tasks of your own are found through config.imports.{nearest(name, names)}"
    )


def members(name: str) -> tuple[str, ...]:
    """The tasks of a mixture; any other name stands for itself."""
    if name in seqio.MixtureRegistry.names():
        return tuple(task.name for task in seqio.MixtureRegistry.get(name).tasks)
    return (name,)


def _source(task) -> sources.Source:
    if isinstance(task.source, RowSource):
        return task.source.source
    if not hasattr(task.source, "rows"):
        raise ConfigError(
            f"task {task.name}: its source {type(task.source).__name__} has no rows(); expected a"
            " method that returns manifest.Row objects, since their order is ours to choose"
        )
    rows = task.source.rows()
    if not isinstance(rows, table.Table):
        rows = map(manifest.cleaned, rows)
    return sources.Source(task.name, table.of(rows))


def _task_name(name: str) -> str:
    return re.sub(r"[^\w.:#]", "_", name)
