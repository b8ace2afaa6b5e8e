"""Opens tasks for scoring with the settings of a stage and its model."""

from collections.abc import Callable
import functools

from seedasr_jax import config
from seedasr_jax.data_pipelines import loader
from seedasr_jax.decode.scoring import Scoring
from seedasr_jax.parallel import sharding
from seedasr_jax.text.template import Template


def opener(
    stage: config.Stage, vocab, mesh, *, template: Template | None, cache, **processes
) -> Callable[[str, Scoring], loader.Evaluation]:
    """Returns a function that opens a task by name for a Scoring.

    Args:
        stage: its normaliser is applied to references.
        vocab, mesh: the model's.
        template: the prompt template; None: the model reads no prompt.
        cache: folder for generated or converted audio.
        processes: `share` and `gather` of `loader.evaluation`, in a job of several processes.
    """
    how = dict(data_folder=cache, template=template, normalizer=stage.data.normalizer)
    how |= dict(multiple=sharding.padded_rows(1, mesh)) | processes
    return functools.partial(_opened, vocab, how)


def _opened(vocab, how, name, scoring):
    shapes = dict(buckets=scoring.buckets, context_tokens=scoring.context_tokens)
    return loader.evaluation(name, vocab, **shapes, limit=scoring.limit, **how)
