"""Decisions of process 0 before a job trains: all checks, and which stages run."""

import contextlib
import dataclasses
import pathlib
import re

from seedasr_jax import config, filesystem
from seedasr_jax import workdir as disk
from seedasr_jax.errors import ConfigError, UserError, nearest
from seedasr_jax.launch import checks, prepare, recipes, stage
from seedasr_jax.launch.job import Job
from seedasr_jax.launch.progress import say
from seedasr_jax.train import graph


def decide(
    expanded: config.Graph | None,
    workdir: pathlib.Path,
    only: str,
    again: str,
    resources: contextlib.ExitStack,
) -> dict:
    """Checks everything and decides which stages run; the workdir's lock enters `resources`.

    Returns JSON: the `graph` and its `recipes`; the `chosen` stages; the unfinished of them, `due`.
    Raises as `run.train` does.
    """
    expanded = prepare.anchored(expanded) if expanded else recipes.stored(workdir)
    filesystem.check_writable(workdir, "--workdir")
    _check_free(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    resources.enter_context(filesystem.hold(workdir))
    checks.meshes(Job(workdir, expanded, None, {}), only)
    job = prepare.job(expanded, workdir)
    redone = _redone(job, again)
    _check_stale(job, redone)
    job = dataclasses.replace(job, redone=redone)
    chosen = _chosen(job, only, redone)
    due = [name for name in chosen if not job.done(name)]
    for name in due:
        filesystem.check_writable(job.folder(name) / disk.CHECKPOINTS, "--workdir")
        filesystem.check_files(job.folder(name), disk.STAGE, disk.METRICS, disk.SKIPPED)
    checks.stages(job, due)
    for name in due:
        stage.secure(job, name)
    _set_aside(job, redone)
    _name_dropped(job)
    _name_others(job)
    graph_, hashed = config.to_dict(expanded), config.to_dict(dict(job.recipes))
    stated = {"format_version": disk.FORMAT_VERSION}
    disk.write_json(workdir / disk.CONFIG, stated | graph_)
    return {"graph": graph_, "recipes": hashed, "chosen": chosen, "due": due}


def _check_free(workdir):
    """Refuses a stage's directory, another program's config.json, and a glob of Orbax."""
    if re.search(r"[*?\[]", str(workdir)):
        raise ConfigError(
            f"--workdir: expected a path without *, ? and [, found {workdir}: no checkpoint can be"
            " saved there; choose another --workdir"
        )
    if (workdir / disk.STAGE).exists():
        raise ConfigError(
            f"--workdir: expected a workdir, found the directory of a stage, {workdir}: use"
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
            f"--workdir: {path} belongs to another program (it has no stages), and training would"
            " overwrite it: choose another --workdir"
        )
    disk.check_config_format(found, path)


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
    # Children first: after a kill at any point, no child is left beside a new parent.
    for name in reversed(redone):
        folder = job.folder(name)
        if folder.exists():
            number = 1
            while (old := job.workdir / f"{name}.old-{number}").exists():
                number += 1
            folder.rename(old)
            say(f"{name}: moved to {old.name}")


def _name_dropped(job):
    """Logs modules that the workdir's config imported, and the job's no longer does."""
    dropped = [one for one in recipes.stored_imports(job.workdir) if one not in job.graph.imports]
    trained = [name for name in job.graph.stages if (job.folder(name) / disk.STAGE).exists()]
    if dropped and trained:
        say(
            f"config.imports no longer has {', '.join(dropped)}: the checkpoints of"
            f" {', '.join(trained)} will be read without it; add it again to keep what it registers"
        )


def _name_others(job):
    """Logs the workdir's stages that the recipe no longer has, such as renamed ones."""
    for name in recipes.stored_stages(job.workdir):
        if name not in job.graph.stages and (job.folder(name) / disk.STAGE).exists():
            say(f"{name} is no longer a stage of this recipe; {job.folder(name)} is left unchanged")


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
                " out, or set both to the same stage"
            )
        if not job.done(parent):
            raise ConfigError(
                f"--stage: {only!r} starts from {parent!r}, which is not finished: run it first"
                f" with --stage={parent}"
            )
    return [only]
