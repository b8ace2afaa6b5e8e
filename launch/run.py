"""Composition root of training: joins core, data and config into stages that survive any kill."""

import contextlib
import dataclasses
import functools
import os
import pathlib
import re
import shutil
import types

from seedasr_jax import checkpoint as checkpoints
from seedasr_jax import config, inventory
from seedasr_jax import workdir as disk
from seedasr_jax.data_pipelines import loader, named
from seedasr_jax.errors import DONE, ConfigError, DataError, UserError, nearest
from seedasr_jax.launch import checks, parents, recipes, runtime, stage
from seedasr_jax.launch.progress import say
from seedasr_jax.launch.stage import Job
from seedasr_jax.launch.stop import Stop
from seedasr_jax.parallel import processes
from seedasr_jax.text import prompts, vocab, vocab_training
from seedasr_jax.train import graph, handed, loop


def train(expanded: config.Graph | None, workdir, *, only="", again="") -> int:
    """Runs a graph's unfinished stages.

    Args:
        expanded: the graph, or None for the one that the workdir holds.
        workdir: where everything goes.
        only: the one stage to run.
        again: a stage to run again, with all that start from it.

    Returns:
        The exit code: 0, 130 after Ctrl-C, 75 after SIGTERM or SIGHUP.

    Raises:
        ConfigError: a stale stage, a missing parent, a config that does not fit, or a workdir that
            another process writes to.
        UserError: data or a checkpoint that cannot be used.
    """
    runtime.compute_here()
    runtime.check_joined()
    workdir = pathlib.Path(os.path.realpath(workdir))  # also of a link to itself
    with contextlib.ExitStack() as held:
        stop, looked = held.enter_context(Stop()), held.enter_context(inventory.once())
        decided = processes.first(
            lambda: _decided(expanded, workdir, only, again, held) | {"looked": looked}
        )
        looked |= decided["looked"]
        job = processes.together(lambda: _job(decided, workdir))
        for name in decided["chosen"]:
            if stop.before_stage():
                return stop.exit_code
            if name not in decided["due"]:
                say(f"{name}: finished")
                parents.settle(job, name)
                continue
            try:
                stage.run(job, name, stop.asked)
            except loop.Stopped:
                return stop.exit_code
    return DONE


def _decided(expanded, workdir, only, again, held) -> dict:
    """What process 0 decides for all after checking everything; it holds the workdir's lock."""
    expanded = anchored(expanded) if expanded else recipes.stored(workdir)
    disk.try_place(workdir, "--workdir")
    _check_free(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    held.enter_context(disk.hold(workdir))
    checks.meshes(Job(workdir, expanded, None, {}), only)
    job = prepare(expanded, workdir)
    redone = _redone(job, again)
    _check_stale(job, redone)
    job = dataclasses.replace(job, redone=redone)
    chosen = _chosen(job, only, redone)
    due = [name for name in chosen if not job.done(name)]
    for name in due:
        disk.try_place(job.folder(name) / disk.CHECKPOINTS, "--workdir")
        disk.try_files(job.folder(name), disk.STAGE, disk.METRICS, disk.SKIPPED)
    checks.stages(job, due)
    for name in due:
        stage.secure(job, name)
    _set_aside(job, redone)
    _name_others(job)
    graph_, hashed = config.to_dict(expanded), config.to_dict(dict(job.recipes))
    stated = {"format_version": disk.FORMAT_VERSION}
    disk.write_json(workdir / disk.CONFIG, stated | graph_)
    return {"graph": graph_, "recipes": hashed, "chosen": chosen, "due": due}


def _check_free(workdir):
    """Raises a ConfigError where a stage's directory is meant, config.json would be replaced, or
    Orbax would take the path as a pattern: it finds no file of its own there and saves nothing.
    """
    if re.search(r"[*?\[]", str(workdir)):
        raise ConfigError(
            f"--workdir: expected a path without *, ? and [, found {workdir}: no checkpoint can be"
            " saved there; choose another --workdir"
        )
    if (workdir / disk.STAGE).exists():
        raise ConfigError(
            f"--workdir: {workdir} is the directory of a stage, expected a workdir: take"
            f" {workdir.parent}"
        )
    path = workdir / disk.CONFIG
    try:
        found = disk.read_json(path) if path.exists() else {}
    except UserError:
        return
    if not found:
        return
    if "stages" not in found:
        raise ConfigError(
            f"--workdir: {path} is not of a workdir (it has no stages), and training would replace"
            " it: choose another --workdir"
        )
    disk.check_config_format(found, path)


def _job(decided, workdir) -> Job:
    """The job of what process 0 decided."""
    expanded = config.stored(decided["graph"], "config")
    _make_caches(expanded, workdir)
    hashed = {name: graph.Recipe(**recipe) for name, recipe in decided["recipes"].items()}
    return Job(workdir, expanded, vocab.open_vocabulary(workdir / disk.VOCAB), hashed)


def _make_caches(expanded, workdir):
    """Makes the folders of what is kept, such as tables of large manifests."""
    for each in expanded.stages.values():
        pathlib.Path(each.run.cache or workdir / disk.CACHE).mkdir(parents=True, exist_ok=True)


def anchored(expanded: config.Graph) -> config.Graph:
    """The graph with its local paths made absolute, so that it can go on from any folder."""

    def path(text):
        local = text and not disk.is_url(text)
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


def prepare(expanded: config.Graph, workdir: pathlib.Path) -> Job:
    """Checks a graph, makes its tokenizer, and hashes its recipes."""
    handed.names(expanded)
    _make_caches(expanded, workdir)
    tokenizer = _tokenizer(expanded, workdir)
    read = functools.cache(_content)
    job = Job(workdir, expanded, tokenizer, {})
    hashed = graph.recipes(
        expanded,
        tokenizer.hash,
        content=lambda spec, stage: read(spec, stage.run.cache or workdir / disk.CACHE),
        outside=parents.outside(job),
    )
    return dataclasses.replace(job, recipes=hashed)


def _content(spec, cache):
    """What identifies a SPEC: of a manifest its content and query, not its path."""
    return checkpoints.without_path(loader.open_named(spec, cache).name)


def _tokenizer(expanded, workdir):
    """The workdir's tokenizer, which is made once and stays."""
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
                f"{loader.SPEECH_ALONE}"
            )
        yield first
        yield from found


def _check_stale(job, redone):
    for name, recipe in job.recipes.items():
        record = job.record(name)
        if name not in redone and record is not None and record.recipe_hash != recipe.hash:
            old = config.to_dict(record.recipe) | {"reads": dict(record.reads)}
            raise ConfigError(graph.stale(name, old, recipe, record.parents))


def _redone(job, again) -> list[str]:
    """The stages that run again: none, or one and its descendants."""
    if not again:
        return []
    if again not in job.graph.stages:
        raise ConfigError(
            f"--from: no stage {again!r}; stages: {', '.join(job.graph.stages)}."
            f"{nearest(again, job.graph.stages)}"
        )
    return graph.descendants(job.graph, again)


def _set_aside(job, redone):
    # Children first: whenever we are killed, none is left beside a parent that is not its own.
    for name in reversed(redone):
        folder = job.folder(name)
        if folder.exists():
            number = 1
            while (old := job.workdir / f"{name}.old-{number}").exists():
                number += 1
            folder.rename(old)
            say(f"{name}: moved to {old.name}")


def _name_others(job):
    """Says which stages of the workdir the recipe no longer has, such as one under another name."""
    try:
        before = recipes.stored(job.workdir).stages
    except UserError:
        return
    for name in before:
        if name not in job.graph.stages and (job.folder(name) / disk.STAGE).exists():
            say(f"{name}: no stage of this recipe any more; {job.folder(name)} stays as it is")


def _chosen(job, only, redone):
    names = graph.order(job.graph)
    if not only:
        return names
    if only not in names:
        raise ConfigError(
            f"--stage: no stage {only!r}; stages: {', '.join(names)}.{nearest(only, names)}"
        )
    for parent in graph.parents(job.graph, only):
        if parent in redone:
            raise ConfigError(
                f"--stage: {only!r} starts from {parent!r}, which --from runs again: leave --stage"
                " out, or set both to one stage"
            )
        if not job.done(parent):
            raise ConfigError(
                f"--stage: {only!r} starts from {parent!r}, which is not finished: run it first"
                f" with --stage={parent}"
            )
    return [only]
