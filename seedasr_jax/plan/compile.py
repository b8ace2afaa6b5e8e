"""Compiles the real programs of every stage and bucket for a pod, without the pod.

`build.build` makes the same programs for planned devices as for real ones; libtpu compiles them.
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
from seedasr_jax.train import graph as graphs


def devices(topology: Topology):
    """The devices that JAX would see on a topology.

    Raises:
        UserError: libtpu is not installed.
        ConfigError: libtpu does not support the topology.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            "plan: expected libtpu, the TPU compiler, found none: run pip install"
            f" 'jax[tpu]=={jax.__version__}', which installs the version that your jax requires"
        )
    # By default libtpu queries the machine type and takes a lock.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "true")
    # Kernels are counted by name, and HLO has their names only with full tracebacks in locations.
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
            f"plan: the compiler does not support {topology.name}: {str(error).splitlines()[0]};"
            " choose another --topology"
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
    """Compiles a recipe's programs for a pod; yields a row for each as soon as it is compiled.

    Args:
        graph, topology: the recipe and the pod.
        only: a stage; default all.
        bucket: see `fitting.buckets`.
        pinned: mesh axes that keep the recipe's size.
        given: for weak scaling: the pod that the recipe's buckets are sized for; they are rescaled
            to the same work per chip, and only training is planned.

    Raises:
        ConfigError: there is no such stage or bucket, or the mesh does not fit the topology.
    """
    if only and only not in graph.stages:
        raise ConfigError(f"--stage={only}: the recipe has {', '.join(graph.stages)}")
    planned_devices, decoding_rows, built = devices(topology), {}, {}
    for name in [only] if only else graph.stages:
        stage = fitting.with_probed_layer(graph.stages[name])
        if given is not None:
            stage = fitting.rescaled(stage, topology.chips, given.chips)
        stage = fitting.fit(stage, topology, pinned)
        with graphs.of_stage(name):
            built[name] = build.build(stage, fitting.TOKENS, stage.vocab.size, planned_devices)
    handed.parts(graph, built)
    for name, one in built.items():
        stage, mesh = one.stage, one.mesh
        for shape in fitting.buckets(stage, bucket):
            sizes = fitting.sizes(stage, shape)
            options = dict(stage=name, bucket=tuple(shape))
            program = programs.train(one, sizes, shape[0])
            yield compiled(program, sizes, mesh, topology, **options)
            if given is not None:
                continue
            for program in programs.rollout(one, sizes, shape[0]):
                yield compiled(program, sizes, mesh, topology, **options)
            # Stages with the same model have the same decoding programs.
            key = (stage.model, dataclasses.replace(sizes, hypotheses=0), mesh)
            if key not in decoding_rows:
                decoding_rows[key] = [
                    compiled(program, sizes, mesh, topology, **options)
                    for program in programs.decoding(one, sizes, shape[0])
                ]
            yield from (dataclasses.replace(row, **options) for row in decoding_rows[key])
        how = scoring.of(stage.eval.decode, stage.scored, graphs.limits(graph, name))
        context = config.context_room(how.context_tokens)
        for shape in fitting.score_buckets(how, mesh, bucket) if given is None else ():
            sizes = fitting.sizes(stage, shape, context)
            options = dict(stage=name, bucket=tuple(shape))
            for program in programs.score(one, sizes, shape[0]):
                yield compiled(program, sizes, mesh, topology, **options)


def compiled(program: programs.Program, sizes: flops.Sizes, mesh, topology: Topology, **more):
    """Compiles a program; returns its row, which does not fit if HBM ran out."""
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
    return rows.row(found, program, sizes, mesh, topology, note=note, compile_seconds=spent, **more)
