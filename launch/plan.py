"""`seedasr plan`: logs each row to stderr once compiled, then prints all to stdout."""

import dataclasses
import json

from seedasr_jax import config
from seedasr_jax.errors import CHECK_FAILED, DONE, ConfigError
from seedasr_jax.launch.progress import say
from seedasr_jax.parallel.memory import GIB
from seedasr_jax.plan import compile as compiling
from seedasr_jax.plan import rows, topologies
from seedasr_jax.train import handed

USUAL = 0.6  # assumed fraction of the bound's speed, for a second estimate of the cost


@dataclasses.dataclass(frozen=True)
class Asked:
    """What to plan of a graph."""

    topology: str  # as written on the command line
    slices: int = 1
    stage: str = ""  # empty: all
    bucket: str = ""  # seconds, or "all"; empty: the largest
    pinned: frozenset[str] = frozenset()  # mesh axes that are not refitted
    scaling: bool = False  # 64 to 4,096 chips, each with the work of a chip of `topology`
    steps: int = 0  # number of steps to price; 0: the stage's own
    price: float = 0.0  # USD per chip-hour; 0: unknown


def run(graph: config.Graph, asked: Asked, *, as_json: bool = False) -> int:
    """Plans a graph; returns the exit code, CHECK_FAILED if a program does not fit.

    Raises:
        ConfigError: an invalid number; see also `compiling.plan`.
    """
    if asked.steps < 0:
        raise ConfigError(f"--steps: expected at least 0, found {asked.steps}")
    if asked.scaling and asked.bucket:
        raise ConfigError("--scaling takes each stage's largest bucket: leave --bucket out")
    handed.names(graph)
    topology = topologies.parse(asked.topology, asked.slices)
    pods = topologies.ladder(topology.chip) if asked.scaling else [topology]
    more = dict(pinned=asked.pinned, given=topology if asked.scaling else None)
    found = []
    for pod in pods:
        size = f"{pod.chips} chips, {pod.device_count} devices, {pod.hosts} hosts"
        say(f"{pod.name}: {size}, {pod.slices} slices")
        for row in compiling.plan(graph, pod, only=asked.stage, bucket=asked.bucket, **more):
            found.append(row)
            say(describe(row))
    priced = [_priced(row, graph, asked) for row in found]
    if as_json:
        both = [dataclasses.asdict(row) | cost for row, cost in zip(found, priced)]
        print(json.dumps(both, indent=1))
    else:
        for row, cost in zip(found, priced):
            print(describe(row) + _cost(cost), *details(row), sep="\n    ")
        for row in found if asked.scaling else ():
            if row.step_seconds_bound is not None:
                print(_scaled(row))
    misfits = [row for row in found if not row.fits]
    for row in misfits:
        say(f"{row.stage} {row.program} does not fit: {cure(row)}")
    return CHECK_FAILED if misfits else DONE


def _priced(row, graph, asked) -> dict:
    """Costs of training for --steps or the stage's own steps; empty if not asked for."""
    if not (asked.steps or asked.price) or row.program != "train" or row.step_seconds_bound is None:
        return {}
    steps = asked.steps or graph.stages[row.stage].steps
    return {"steps": steps} | prices(row, steps, asked.price)


def _cost(cost) -> str:
    if not cost:
        return ""
    hours = f"; {cost['steps']} steps: {cost['chip_hours_bound']:.0f} chip-hours"
    dollars = f" (${cost['dollars_bound']:.0f})" if "dollars_bound" in cost else ""
    usual = f", at {100 * USUAL:.0f} % of the bound {cost['chip_hours_usual']:.0f}"
    more = f" (${cost['dollars_usual']:.0f})" if dollars else ""
    return hours + dollars + usual + more


def _scaled(row) -> str:
    """A line about a step on this number of chips, at constant work per chip."""
    return (
        f"{row.stage} on {row.chips} chips: step-time bound {row.step_seconds_bound:.3f} s, network"
        f" active {100 * network_share(row):.0f} % of it; each device sends"
        f" {row.bytes_ici / 1e9:.2f} GB over ICI and {row.bytes_dcn / 1e9:.2f} GB over DCN"
    )


def network_share(row: rows.Row) -> float:
    """Fraction of the step-time bound during which the busier of ICI and DCN is active."""
    return max(row.seconds["ici"], row.seconds["dcn"]) / row.step_seconds_bound


def prices(row: rows.Row, steps: int, price: float) -> dict[str, float]:
    """The cost of training steps at the bound, and at the fraction USUAL of its speed.

    Returns:
        chip_hours_bound and chip_hours_usual; with a price, in USD per chip-hour, also
        dollars_bound and dollars_usual.
    """
    bound = row.step_seconds_bound * steps * row.chips / 3600
    hours = {"bound": bound, "usual": bound / USUAL}
    found = {f"chip_hours_{which}": amount for which, amount in hours.items()}
    return found | {f"dollars_{which}": n * price for which, n in hours.items() if price}


def describe(found: rows.Row) -> str:
    """A row as one line of text."""
    hbm = found.hbm_bytes
    used = sum(size for use, size in hbm.items() if use != "headroom")
    shape = " x ".join(f"{axis} {size}" for axis, size in found.mesh.items() if size > 1)
    seconds, tokens, utterances = found.bucket
    uses = ", ".join(f"{use} {size / GIB:.2f}" for use, size in hbm.items() if size)
    speed = found.note
    if found.step_seconds_bound is not None:
        speed = f"step-time bound {found.step_seconds_bound:.3f} s, MFU bound {found.mfu_bound:.2f}"
        speed += f" (by {found.bound_by})"
    return (
        f"{found.stage} {found.program} {utterances} x {seconds:g} s, {tokens} tokens ({shape}):"
        f" {used / GIB:.2f} GiB per device ({uses}), {'fits' if found.fits else 'does not fit'};"
        f" {speed}; compiled in {found.compile_seconds:.0f} s"
    )


def details(found: rows.Row) -> list[str]:
    """Communication, data loading and computation of a row, as one line of text each."""
    if found.step_seconds_bound is None:
        return []
    moved = "".join(
        f"; {one['kind']} over {' and '.join(one['axes'])} {one['bytes'] / 1e9:.2f} GB in"
        f" {one['runs']:g} runs"
        for one in found.collectives
    )
    return [
        f"a device sends {found.bytes_ici / 1e9:.2f} GB over ICI and {found.bytes_dcn / 1e9:.2f} GB"
        f" over DCN{moved}",
        f"{found.audio_hours_per_second:.2f} audio hours per second at most, for which each host"
        f" loads {found.host_bytes_per_second / 1e9:.3f} GB/s",
        f"{found.flops / 1e12:.1f} useful TFLOP, {found.flops_per_frame / 1e9:.2f} GFLOP per frame"
        " of 10 ms, padding included",
    ]


def cure(found: rows.Row) -> str:
    """What to change if a row does not fit, by what uses most of the memory."""
    hbm = found.hbm_bytes
    if hbm["params"] + hbm["opt"] > hbm["act"] + hbm["kv"]:
        return "most memory is parameters and optimiser: use more chips or a larger mesh.tensor"
    less = "use fewer utterances per bucket or run.accum=2, and run.remat=block"
    return f"most memory is activations: {less}"
