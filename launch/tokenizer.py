"""The tokenizer of a workdir, which is made once, shared by all stages, and stays."""

import os
import pathlib
import re
import shutil

from seedasr_jax import checkpoint as checkpoints
from seedasr_jax import config
from seedasr_jax import workdir as disk
from seedasr_jax.data_pipelines import loader, named
from seedasr_jax.errors import ConfigError, DataError, UserError
from seedasr_jax.launch import recipes
from seedasr_jax.text import prompts, vocab, vocab_training


def of(expanded: config.Graph, workdir: pathlib.Path) -> vocab.Vocabulary:
    """The workdir's tokenizer: the one that is there, else read or trained as the graph says.

    Raises:
        ConfigError: stages that share none, or settings that give another than the workdir's.
        DataError: texts to train on that are not there.
    """
    settings = {stage.vocab for stage in expanded.stages.values()}
    if len(settings) > 1:
        raise ConfigError("config.vocab: the stages of a graph share one; found several")
    (setting,) = settings
    folder, partial = workdir / disk.VOCAB, workdir / f"{disk.VOCAB}.partial"
    known = _opened(folder) if folder.exists() else None
    if known and setting == _begun_with(workdir):
        return known
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
    if setting.path:
        vocab.open_vocabulary(_place(setting.path)).save(partial)
    else:
        texts = _texts(expanded, workdir)
        how = dict(size=setting.size, kind=setting.kind, instructions=_instructions(expanded))
        vocab_training.train(texts, partial, **how)
    if known:
        wanted = vocab.open_vocabulary(partial)
        shutil.rmtree(partial)
        if known.hash != wanted.hash:
            raise ConfigError(
                f"config.vocab gives another tokenizer ({wanted.size} pieces) than {folder}"
                f" ({known.size} pieces), which every stage of it shares: choose a new --workdir"
            )
        return known
    partial.rename(folder)
    return vocab.open_vocabulary(folder)


def _opened(folder):
    """The tokenizer that a workdir has."""
    try:
        return vocab.open_vocabulary(folder)
    except ConfigError as error:
        raise ConfigError(f"{error}; remove {folder}, and it is made again") from error


def _place(path):
    """Where a tokenizer is: `vocab.path`, or beside the checkpoint that it names."""
    marks = (pathlib.Path(path, name) for name in (disk.CONFIG, disk.STAGE))
    step = re.search(r"@\d+$", path) and not os.path.exists(path)
    if vocab.holds(path) or not (step or any(mark.exists() for mark in marks)):
        return path
    return checkpoints.open_checkpoint(path).vocab


def _begun_with(workdir):
    """The settings of the workdir's tokenizer; None where its config.json does not say."""
    try:
        return next(iter(recipes.stored(workdir).stages.values())).vocab
    except UserError:
        return None


def _instructions(expanded) -> tuple[str, ...]:
    """The texts of the prompts of all stages, each once."""
    texts = (text for one in expanded.stages.values() for text in one.model.prompt.literals)
    return tuple(dict.fromkeys(texts))


def _texts(expanded, workdir):
    """The training texts of all stages that read any, each source once."""
    stages = [stage for stage in expanded.stages.values() if stage.data.reads]
    if not stages:
        yield (*_instructions(expanded), prompts.SEPARATOR)[0]  # what every tokenizer knows
    mixtures = {
        (spec, s.data.normalizer, s.run.cache) for s in stages for spec, _ in s.data.mixture
    }
    for spec, normalizer, cache in sorted(mixtures):
        found = named.texts([spec], cache or workdir / disk.CACHE, normalizer)
        first = next(found, None)
        if first is None:
            raise DataError(
                f"{spec}: none of its rows has text, and a stage of this graph reads it"
                f"{loader.AUDIO_ONLY}"
            )
        yield first
        yield from found
