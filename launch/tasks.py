"""Tasks that are scored, opened as a stage and its model take them."""

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
    """A function that opens a task by its name, for a way to decode.

    Args:
        stage: whose normaliser references have.
        vocab: of text/vocab.py.
        mesh: of the model.
        template: what stands around the speech; None: the model reads no prompt.
        cache: where made or converted audio is kept.
        processes: `share` and `gather` of `loader.evaluation`, in a job of several.
    """
    how = dict(data_folder=cache, template=template, normalizer=stage.data.normalizer)
    how |= dict(multiple=sharding.padded_rows(1, mesh)) | processes
    return functools.partial(_opened, vocab, how)


def _opened(vocab, how, name, scoring):
    shapes = dict(buckets=scoring.buckets, context_tokens=scoring.context_tokens)
    return loader.evaluation(name, vocab, **shapes, pieces=scoring.pieces, **how)
