"""`seedasr plan`: rows as they are compiled on stderr, then all of them on stdout."""

import dataclasses
import json
import sys

from seedasr_jax.launch.progress import say
from seedasr_jax.parallel import mesh
from seedasr_jax.plan import compile as compiling
from seedasr_jax.plan import topologies

MISFIT = 3  # exit code


def run(graph, options) -> int:
    """Plans; returns the exit code, 3 where something does not fit.

    Args:
        graph: the expanded recipe.
        options: of the command line.
    """
    topology = topologies.parse(options.topology, options.slices)
    say(
        f"{topology.name}: {topology.chips} chips, {topology.device_count} devices,"
        f" {topology.hosts} hosts, {topology.slices} slices"
    )
    pinned = {path.rpartition(".")[2] for path, _ in options.overrides if ".mesh." in f".{path}"}
    rows = []
    for row in compiling.plan(
        graph,
        topology,
        only=options.stage,
        bucket=options.bucket,
        pinned=pinned & set(mesh.AXES),
    ):
        rows.append(row)
        say(compiling.describe(row))
    if options.json:
        json.dump([dataclasses.asdict(row) for row in rows], sys.stdout, indent=1)
        print()
    else:
        print("\n".join(map(compiling.describe, rows)))
    misfits = [row for row in rows if not row.fits]
    for row in misfits:
        say(f"{row.stage} does not fit: {compiling.cure(row)}")
    return MISFIT if misfits else 0
