"""The real programs of every stage and bucket, compiled for a pod that is not here.

`build.build` makes for the planned devices what it makes for real ones; PyPI's libtpu compiles it.
"""

import collections.abc
import dataclasses
import importlib.util
import os
import time

import jax

from seedasr_jax import config, flops
from seedasr_jax.decode import scoring
from seedasr_jax.errors import ConfigError, UserError
from seedasr_jax.parallel import compiler
from seedasr_jax.plan import fitting, programs, rows
from seedasr_jax.plan.topologies import Topology
from seedasr_jax.quiet import quiet
from seedasr_jax.train import build, handed


def devices(topology: Topology):
    """The devices that JAX would see on a topology.

    Raises:
        UserError: libtpu is not installed.
        ConfigError: it does not know the topology.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            "plan: libtpu, the TPU compiler, is not installed: pip install"
            f" 'jax[tpu]=={jax.__version__}' brings the one that your jax pins"
        )
    # By default libtpu queries the machine for its type, and takes a lock.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "true")
    # Kernels are counted by their names, which a program has from full locations alone.
    jax.config.update("jax_include_full_tracebacks_in_locations", True)
    from jax.experimental import topologies

    shape = {} if topology.slices == 1 else {"num_slices": topology.slices}
    try:
        with quiet():
            found = topologies.get_topology_desc(
                platform="tpu", topology_name=topology.name, **shape
            ).devices
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"plan: the compiler has no {topology.name}: {str(error).splitlines()[0]}"
        ) from error
    if len(found) != topology.device_count:
        raise UserError(
            f"plan: {topology.name}: expected {topology.device_count} devices, found {len(found)}"
        )
    return found


def plan(
    graph: config.Graph,
    topology: Topology,
    *,
    only: str = "",
    bucket: str = "",
    pinned: collections.abc.Collection[str] = (),
    given: Topology | None = None,
) -> collections.abc.Iterator[rows.Row]:
    """Yields rows as they are compiled.

    Args:
        graph: the recipe.
        topology: the pod.
        only: a stage; default all.
        bucket: see `fitting.buckets`.
        pinned: axes of the mesh that the topology does not choose.
        given: the pod that the recipe's buckets are meant for, whose work per chip is kept; then
            only training is planned. None: this one.

    Raises:
        ConfigError: a stage or bucket that is not there, or a mesh that does not fit.
    """
    if only and only not in graph.stages:
        raise ConfigError(f"--stage={only}: the recipe has {', '.join(graph.stages)}")
    there, known = devices(topology), {}
    built = {}
    for name in [only] if only else graph.stages:
        stage = fitting.known_layer(graph.stages[name])
        if given is not None:
            stage = fitting.stretched(stage, topology.chips, given.chips)
        stage = fitting.fit(stage, topology, pinned)
        with handed.of_stage(name):
            built[name] = build.build(stage, fitting.TOKENS, stage.vocab.size, devices=there)
    handed.parts(graph, built)
    for name, own in built.items():
        stage = own.stage
        for one in fitting.buckets(stage, bucket):
            held = fitting.sizes(stage, one)
            options = dict(stage=name, bucket=tuple(one))
            program = programs.train(own, held, one[0])
            yield compiled(program, held, own.mesh, topology, **options)
            if given is not None:
                continue
            for program in programs.rollout(own, held, one[0]):
                yield compiled(program, held, own.mesh, topology, **options)
            # The same model decodes alike after each stage that trained it.
            key = (stage.model, dataclasses.replace(held, hypotheses=0), own.mesh)
            if key not in known:
                known[key] = [
                    compiled(program, held, own.mesh, topology, **options)
                    for program in programs.decoding(own, held, one[0])
                ]
            yield from (dataclasses.replace(row, **options) for row in known[key])
        how = scoring.of(stage.eval.decode, stage.scored, fitting.limits(graph, name))
        context = config.context_room(how.context_tokens)
        for one in fitting.scored(how, own.mesh, bucket) if given is None else ():
            held = fitting.sizes(stage, one, context)
            for program in programs.score(own, held, one[0]):
                options = dict(stage=name, bucket=tuple(one))
                yield compiled(program, held, own.mesh, topology, **options)


def compiled(program: programs.Program, held: flops.Sizes, mesh, topology: Topology, **more):
    """The row of a program; where the compiler finds that it does not fit, a row that says so."""
    began, found, note = time.monotonic(), None, ""
    try:
        with quiet():
            lowered = program.function.lower(*program.arguments)
            found = lowered.compile(compiler.planned(mesh.devices.flat[0]))
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        note = next(line for line in str(error).splitlines() if line.strip())
    spent = time.monotonic() - began
    return rows.row(found, program, held, mesh, topology, note=note, compile_seconds=spent, **more)
