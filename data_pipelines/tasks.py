"""SeqIO tasks and mixtures: registers every source as a task with metrics, and resolves names.

User-defined tasks are registered by a module in `config.imports`: the source has a method `rows()`
that returns `manifest.Row`s, and preprocessors work on the examples of preprocess.py.
"""

import math
import re

from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import index, manifest, preprocess, sources, spec, table, waves
from seedasr_jax.data_pipelines.tf import seqio, tf
from seedasr_jax.data_pipelines.vocabulary import Vocabulary
from seedasr_jax.errors import ConfigError, nearest
from seedasr_jax.text.score import score

SPLIT = "train"  # name of the only split of a source, which SeqIO requires
_WAVE = seqio.Feature(seqio.PassThroughVocabulary(0), add_eos=False, dtype=tf.int16)
_TEXT = seqio.Feature(seqio.PassThroughVocabulary(0), add_eos=False, dtype=tf.string, rank=0)


def wer(targets, predictions):
    """Word error rate in percent of normalised texts."""
    return {"wer": score(targets, predictions, unit="word", resamples=1).error_rate}


def cer(targets, predictions):
    """Character error rate in percent of normalised texts."""
    return {"cer": score(targets, predictions, unit="char", resamples=1).error_rate}


class RowSource(seqio.DataSource):
    """A `sources.Source` for SeqIO, in the manifest's order, which training does not use."""

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
            return row, waves.read_wave(row, cache), (0, 0)

        return preprocess.examples(feed)


def register(source: sources.Source) -> seqio.Task:
    """Registers a source as a task of waves and texts; replaces a task with the same content."""
    name = _task_name(source.name)
    seqio.TaskRegistry.remove(name)  # its files may be in another folder now
    return seqio.TaskRegistry.add(
        name,
        source=RowSource(source),
        preprocessors=(),
        output_features={"wave": _WAVE, "text": _TEXT},
        metric_fns=(wer, cer),
    )


def bind(
    task: seqio.Task, vocab, normalizer: str, template=None, context_tokens=math.inf
) -> seqio.Task:
    """Adds and registers `preprocess.tokenize`, which has the other arguments, to a task."""
    tokenize = preprocess.tokenize(vocab, normalizer, template, context_tokens)
    bound = task.replace(
        name=_task_name(f"{task.name}:{normalizer}:{vocab.hash[:8]}"),
        preprocessors=(*task.preprocessors, tokenize),
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
    """[(source, task, share)] of a task, a mixture or a SPEC; shares add up to 1.

    Raises:
        ConfigError: the name is unknown; names the nearest known one.
    """
    if name in seqio.MixtureRegistry.names():
        mixture = seqio.MixtureRegistry.get(name)
        rates = [mixture.get_rate(task) for task in mixture.tasks]
        for task, rate in zip(mixture.tasks, rates):
            if not 0 < rate < math.inf:
                raise ConfigError(
                    f"mixture {name}: expected a positive rate for each task, found {rate:g} for"
                    f" {task.name}: remove tasks that are not to be used"
                )
        total = sum(rates)
        return [(_source(task), task, rate / total) for task, rate in zip(mixture.tasks, rates)]
    if name in seqio.TaskRegistry.names():
        task = seqio.TaskRegistry.get(name)
        return [(_source(task), task, 1.0)]
    if ":" in name:
        source = sources.open_source(name, data_folder)
        return [(source, register(source), 1.0)]
    names = (*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names())
    if re.search(r"\.jsonl?(\?|$)", name):
        raise ConfigError(f"{name!r}: expected KIND:WHERE. Did you mean manifest:{name}?")
    raise ConfigError(
        f"{name!r}: expected a task, mixture or SPEC (KIND:WHERE with KIND"
        f" {' or '.join(spec.KINDS)}); a module in config.imports registers user-defined tasks."
        f"{nearest(name, names)}"
    )


def members(name: str) -> tuple[str, ...]:
    """The names of a mixture's tasks; for any other name, the name itself."""
    if name in seqio.MixtureRegistry.names():
        return tuple(task.name for task in seqio.MixtureRegistry.get(name).tasks)
    return (name,)


def _source(task) -> sources.Source:
    if isinstance(task.source, RowSource):
        return task.source.source
    if not hasattr(task.source, "rows"):
        raise ConfigError(
            f"task {task.name}: expected a source with a method rows() that returns manifest.Row"
            f" objects, since the sampler orders them, found {type(task.source).__name__} without"
            " it: add the method"
        )
    rows = task.source.rows()
    if not isinstance(rows, table.Table):
        rows = map(manifest.cleaned, rows)
    return sources.Source(task.name, table.of(rows))


def _task_name(name: str) -> str:
    return re.sub(r"[^\w.:#]", "_", name)
