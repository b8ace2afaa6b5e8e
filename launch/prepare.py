"""Turns a graph into a job: makes paths absolute, creates the tokenizer, hashes recipes."""

import dataclasses
import functools
import os
import pathlib
import re
import types

from seedasr_jax import checkpoint as checkpoints
from seedasr_jax import config, filesystem
from seedasr_jax import workdir as disk
from seedasr_jax.data_pipelines import loader
from seedasr_jax.launch import parents, tokenizer
from seedasr_jax.launch.job import Job
from seedasr_jax.train import graph, handed


def anchored(expanded: config.Graph) -> config.Graph:
    """The graph with its local paths made absolute, so that it can resume from any folder."""

    def path(text):
        local = text and not filesystem.is_url(text)
        return os.path.abspath(os.path.expanduser(text)) if local else text

    def spec(text):
        return re.sub(r"(?<=\bmanifest:)[^?#]*", lambda found: path(found[0]), text)

    def source(text):
        where, _ = graph.origin("", text)
        ours = where.partition("@")[0] in expanded.stages
        return path(text) if graph.path_like(where) and not ours else text

    def stage(old: config.Stage):
        return dataclasses.replace(
            old,
            init=types.MappingProxyType({part: source(s) for part, s in old.init.items()}),
            vocab=dataclasses.replace(old.vocab, path=path(old.vocab.path)),
            data=dataclasses.replace(
                old.data, mixture=tuple((spec(s), rate) for s, rate in old.data.mixture)
            ),
            run=dataclasses.replace(old.run, cache=path(old.run.cache)),
            eval=dataclasses.replace(old.eval, tasks=tuple(map(spec, old.eval.tasks))),
        )

    stages = {name: stage(old) for name, old in expanded.stages.items()}
    return dataclasses.replace(expanded, stages=types.MappingProxyType(stages))


def job(expanded: config.Graph, workdir: pathlib.Path) -> Job:
    """Checks a graph, opens or creates its tokenizer, and hashes its recipes."""
    handed.names(expanded)
    make_caches(expanded, workdir)
    vocabulary = tokenizer.of(expanded, workdir)
    read = functools.cache(_content)
    made = Job(workdir, expanded, vocabulary, {})
    hashed = graph.recipes(
        expanded,
        vocabulary.hash,
        content=lambda spec, stage: read(spec, stage.run.cache or workdir / disk.CACHE),
        outside=parents.outside(made),
    )
    return dataclasses.replace(made, recipes=hashed)


def make_caches(expanded, workdir):
    """Creates the stages' cache folders."""
    for each in expanded.stages.values():
        pathlib.Path(each.run.cache or workdir / disk.CACHE).mkdir(parents=True, exist_ok=True)


def _content(spec, cache):
    """The identity of a SPEC; for a manifest its content and query, not its path."""
    return checkpoints.without_path(loader.open_named(spec, cache).name)
