"""The tokenizer of a workdir: created once, shared by all stages, never changed."""

import os
import pathlib
import re
import shutil

from seedasr_jax import checkpoint as checkpoints
from seedasr_jax import config
from seedasr_jax import workdir as disk
from seedasr_jax.data_pipelines import loader, named
from seedasr_jax.errors import ConfigError, DataError
from seedasr_jax.launch import recipes
from seedasr_jax.text import prompts, vocab, vocab_training


def of(expanded: config.Graph, workdir: pathlib.Path) -> vocab.Vocabulary:
    """The workdir's tokenizer: the existing one, else read or trained as the graph states.

    Raises:
        ConfigError: the stages differ in `vocab`, or it defines another than the workdir's.
        DataError: a source has no text to train on.
    """
    settings = {stage.vocab for stage in expanded.stages.values()}
    if len(settings) > 1:
        raise ConfigError("config.vocab: expected one for all stages, found several")
    (setting,) = settings
    folder, partial = workdir / disk.VOCAB, workdir / f"{disk.VOCAB}.partial"
    known = _opened(folder) if folder.exists() else None
    if known and config.to_dict(setting) == _begun_with(workdir):
        return known
    shutil.rmtree(partial, ignore_errors=True)  # left by a killed process
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
                f"config.vocab defines another tokenizer ({wanted.size} pieces) than {folder}"
                f" ({known.size} pieces), which all its stages share: choose a new --workdir"
            )
        return known
    partial.rename(folder)
    return vocab.open_vocabulary(folder)


def _opened(folder):
    try:
        return vocab.open_vocabulary(folder)
    except ConfigError as error:
        raise ConfigError(f"{error}; remove {folder} to create it again") from error


def _place(path):
    """The path of a tokenizer: `vocab.path`, or that of the checkpoint it names."""
    marks = (pathlib.Path(path, name) for name in (disk.CONFIG, disk.STAGE))
    step = re.search(r"@\d+$", path) and not os.path.exists(path)
    if vocab.holds(path) or not (step or any(mark.exists() for mark in marks)):
        return path
    return checkpoints.open_checkpoint(path).vocab


def _begun_with(workdir):
    """The settings of the workdir's tokenizer as stored; None if they cannot be read."""
    first = next(iter(recipes.stored_stages(workdir).values()), None)
    return first.get("vocab") if isinstance(first, dict) else None


def _instructions(expanded) -> tuple[str, ...]:
    """The distinct texts of the prompts of all stages."""
    texts = (text for one in expanded.stages.values() for text in one.model.prompt.literals)
    return tuple(dict.fromkeys(texts))


def _texts(expanded, workdir):
    """The training texts of all stages that read any, each source once."""
    stages = [stage for stage in expanded.stages.values() if stage.data.has_text]
    if not stages:
        yield (*_instructions(expanded), prompts.SEPARATOR)[0]  # text that every tokenizer knows
    mixtures = {
        (spec, s.data.normalizer, s.run.cache) for s in stages for spec, _ in s.data.mixture
    }
    for spec, normalizer, cache in sorted(mixtures):
        found = named.texts([spec], cache or workdir / disk.CACHE, normalizer)
        first = next(found, None)
        if first is None:
            raise DataError(
                f"{spec}: none of its rows has text, which a stage of this graph reads"
                f"{loader.AUDIO_ONLY}"
            )
        yield first
        yield from found
