"""`seedasr plan`: rows as they are compiled on stderr, then all of them on stdout."""

import dataclasses
import json
import sys

from seedasr_jax.errors import CHECK_FAILED, DONE, ConfigError
from seedasr_jax.launch.progress import say
from seedasr_jax.parallel import mesh
from seedasr_jax.plan import compile as compiling
from seedasr_jax.plan import rows, topologies
from seedasr_jax.train import handed


def run(graph, options) -> int:
    """Plans; returns the exit code, CHECK_FAILED where something does not fit.

    Args:
        graph: the expanded recipe.
        options: of the command line.

    Raises:
        ConfigError: a number that means nothing, or what compiling.plan raises.
    """
    if options.steps < 0:
        raise ConfigError(f"--steps: expected at least 0, found {options.steps}")
    if options.scaling and options.bucket:
        raise ConfigError("--scaling takes each stage's largest bucket: leave --bucket out")
    handed.names(graph)
    topology = topologies.parse(options.topology, options.slices)
    pods = topologies.ladder(topology.chip) if options.scaling else [topology]
    axes = {path.rpartition(".")[2] for path, _ in options.overrides if ".mesh." in f".{path}"}
    more = dict(pinned=axes & set(mesh.AXES), given=topology if options.scaling else None)
    found = []
    for pod in pods:
        say(
            f"{pod.name}: {pod.chips} chips, {pod.device_count} devices,"
            f" {pod.hosts} hosts, {pod.slices} slices"
        )
        for row in compiling.plan(graph, pod, only=options.stage, bucket=options.bucket, **more):
            found.append(row)
            say(rows.describe(row))
    priced = [_priced(row, graph, options) for row in found]
    if options.json:
        both = [dataclasses.asdict(row) | cost for row, cost in zip(found, priced)]
        json.dump(both, sys.stdout, indent=1)
        print()
    else:
        for row, cost in zip(found, priced):
            print(rows.describe(row) + _cost(cost), *rows.details(row), sep="\n    ")
        compiled = [row for row in found if row.step_seconds_bound is not None]
        for row in compiled if options.scaling else ():
            print(_scaled(row))
    misfits = [row for row in found if not row.fits]
    for row in misfits:
        say(f"{row.stage} {row.program} does not fit: {rows.cure(row)}")
    return CHECK_FAILED if misfits else DONE


def _priced(row, graph, options) -> dict:
    """What training costs, where that was asked: of --steps, or of the stage's own."""
    asked = options.steps or options.price
    if not asked or row.program != "train" or row.step_seconds_bound is None:
        return {}
    steps = options.steps or graph.stages[row.stage].steps
    return {"steps": steps} | rows.costs(row, steps, options.price)


def _cost(cost) -> str:
    if not cost:
        return ""
    hours = f"; {cost['steps']} steps: {cost['chip_hours_bound']:.0f} chip-hours"
    dollars = f" (${cost['dollars_bound']:.0f})" if "dollars_bound" in cost else ""
    usual = f", at {100 * rows.USUAL:.0f} % of the bound {cost['chip_hours_usual']:.0f}"
    more = f" (${cost['dollars_usual']:.0f})" if dollars else ""
    return hours + dollars + usual + more


def _scaled(row) -> str:
    """A step with the same work per chip, on this number of chips."""
    return (
        f"{row.stage} on {row.chips} chips: step-time bound {row.step_seconds_bound:.3f} s, network"
        f" active {100 * rows.network_share(row):.0f} % of it; each device sends"
        f" {row.bytes_ici / 1e9:.2f} GB over ICI and {row.bytes_dcn / 1e9:.2f} GB over DCN"
    )
