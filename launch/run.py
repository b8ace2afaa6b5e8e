"""Composition root of training: joins core, data and config into stages that survive any kill."""

import contextlib
import os
import pathlib

from seedasr_jax import config, inventory
from seedasr_jax import workdir as disk
from seedasr_jax.errors import DONE
from seedasr_jax.launch import decide, parents, prepare, runtime, stage
from seedasr_jax.launch.job import Job
from seedasr_jax.launch.progress import say
from seedasr_jax.launch.stop import Stop
from seedasr_jax.parallel import processes
from seedasr_jax.text import vocab
from seedasr_jax.train import graph, loop


def train(expanded: config.Graph | None, workdir, *, only="", again="") -> int:
    """Runs a graph's unfinished stages; exit code 0, 130 after Ctrl-C, 75 after SIGTERM or SIGHUP.

    `expanded`: the graph; None: the workdir's own. `only`: the one stage to run. `again`: a stage
    to run again with its descendants.

    Raises:
        ConfigError: a stale stage, a missing parent, a config that does not fit, or a workdir in
            use by another process.
        UserError: data or a checkpoint that cannot be used.
    """
    runtime.compute_here()
    runtime.check_joined()
    workdir = pathlib.Path(os.path.realpath(workdir))  # also of a link to itself
    with Stop() as stop, inventory.once() as looked, contextlib.ExitStack() as resources:
        decided = processes.first(
            lambda: decide.decide(expanded, workdir, only, again, resources) | {"looked": looked}
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


def _job(decided, workdir) -> Job:
    """The job that process 0 decided on."""
    expanded = config.stored(decided["graph"], "config")
    prepare.make_caches(expanded, workdir)
    hashed = {name: graph.Recipe(**recipe) for name, recipe in decided["recipes"].items()}
    return Job(workdir, expanded, vocab.open_vocabulary(workdir / disk.VOCAB), hashed)
