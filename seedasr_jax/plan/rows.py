"""A row of a plan: memory, costs and bounds of one compiled program, as JSON and as text."""

import dataclasses

from seedasr_jax import flops
from seedasr_jax.audio import files
from seedasr_jax.parallel import mesh as meshes
from seedasr_jax.parallel.memory import GIB
from seedasr_jax.plan import hlo, roofline
from seedasr_jax.plan.programs import Program
from seedasr_jax.plan.topologies import Topology

FRAME = files.RATE // 100  # samples: `flops_per_frame` counts 10 ms
HEADROOM = 0.1  # fraction of HBM that must stay free
USUAL = 0.6  # assumed fraction of the bound's speed, for a second estimate of the cost


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One program of one stage; the keys of `plan --json`."""

    stage: str
    program: str
    bucket: tuple[float, int, int]  # seconds, tokens, utterances of the global batch
    mesh: dict[str, int]
    devices: int
    chips: int
    hosts: int
    hbm_bytes: dict[str, int]  # on a device, by use; a negative headroom is missing memory
    fits: bool
    flops: float  # useful, of one execution on all devices
    flops_per_frame: float  # of 10 ms
    collectives: list[dict] = dataclasses.field(default_factory=list)
    bytes_ici: float = 0.0  # sent by a device in a step
    bytes_dcn: float = 0.0
    step_seconds_bound: float | None = None  # None: too large to compile
    mfu_bound: float = 0.0
    bound_by: str = "hbm"  # resource with the largest of `seconds`
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)  # by each resource alone
    audio_hours_per_second: float = 0.0  # at the bound
    host_bytes_per_second: float = 0.0  # 16-bit audio that each host must load, at the bound
    compile_seconds: float
    note: str = ""


def row(compiled, program: Program, sizes: flops.Sizes, mesh, topology: Topology, **more) -> Row:
    """The row of a compiled program with further fields `more`.

    Args:
        compiled: jax.stages.Compiled; None: the compiler ran out of memory.
        program, sizes: what was compiled, and the content of its batch.
        mesh, topology: of the planned devices.
    """
    chip, axes = topology.chip, dict(zip(meshes.AXES, mesh.devices.shape))
    capacity = chip.hbm_bytes // chip.devices
    common = dict(
        program=program.name,
        mesh=axes,
        devices=topology.device_count,
        chips=topology.chips,
        hosts=topology.hosts,
        flops=program.flops,
        flops_per_frame=program.flops / max(1, sizes.utterances * sizes.samples / FRAME),
    )
    known = sum(program.bytes.values())
    if compiled is None:
        hbm = program.bytes | {"act": 0, "other": 0, "headroom": capacity - known}
        return Row(hbm_bytes=hbm, fits=False, **common, **more)
    memory = compiled.memory_analysis()
    parsed = hlo.Program(compiled.as_text(), program.max_trips)
    hbm = program.bytes | {"act": memory.temp_size_in_bytes - program.temporary}
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    allocated = memory.argument_size_in_bytes + results + memory.generated_code_size_in_bytes
    hbm["other"] = allocated - (known - program.not_arguments - program.temporary)
    hbm["headroom"] = capacity - sum(hbm.values())
    bound = roofline.bound(parsed, axes, topology)
    audio_seconds = sizes.utterances * sizes.samples / files.RATE
    host_bytes = audio_seconds * files.RATE * 2 / topology.hosts / program.runs
    seconds = bound.seconds | {"data": host_bytes / (chip.dcn_bandwidth * chip.chips_per_host)}
    step = max(seconds.values())
    return Row(
        hbm_bytes=hbm,
        fits=hbm["headroom"] >= HEADROOM * capacity,
        collectives=bound.collectives,
        bytes_ici=bound.bytes_ici,
        bytes_dcn=bound.bytes_dcn,
        step_seconds_bound=step,
        mfu_bound=program.flops / (step * chip.flops * topology.chips),
        bound_by=max(seconds, key=seconds.get),
        seconds=seconds,
        audio_hours_per_second=audio_seconds / 3600 / (step * program.runs),
        host_bytes_per_second=host_bytes / step,
        **common,
        **more,
    )


def network_share(row: Row) -> float:
    """Fraction of the step-time bound during which the busier of ICI and DCN is active."""
    return max(row.seconds["ici"], row.seconds["dcn"]) / row.step_seconds_bound


def costs(row: Row, steps: int, price: float) -> dict[str, float]:
    """The cost of training steps at the bound, and at the fraction USUAL of its speed.

    Returns:
        chip_hours_bound and chip_hours_usual; with a price, in USD per chip-hour, also
        dollars_bound and dollars_usual.
    """
    bound = row.step_seconds_bound * steps * row.chips / 3600
    hours = {"bound": bound, "usual": bound / USUAL}
    found = {f"chip_hours_{which}": amount for which, amount in hours.items()}
    return found | {f"dollars_{which}": n * price for which, n in hours.items() if price}


def describe(found: Row) -> str:
    """A row as one line of text."""
    hbm = found.hbm_bytes
    used = sum(size for use, size in hbm.items() if use != "headroom")
    shape = " x ".join(f"{axis} {size}" for axis, size in found.mesh.items() if size > 1)
    seconds, tokens, rows = found.bucket
    uses = ", ".join(f"{use} {size / GIB:.2f}" for use, size in hbm.items() if size)
    speed = found.note
    if found.step_seconds_bound is not None:
        speed = f"step-time bound {found.step_seconds_bound:.3f} s, MFU bound {found.mfu_bound:.2f}"
        speed += f" (by {found.bound_by})"
    return (
        f"{found.stage} {found.program} {rows} x {seconds:g} s, {tokens} tokens ({shape}):"
        f" {used / GIB:.2f} GiB per device ({uses}), {'fits' if found.fits else 'does not fit'};"
        f" {speed}; compiled in {found.compile_seconds:.0f} s"
    )


def details(found: Row) -> list[str]:
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


def cure(found: Row) -> str:
    """What to change if a row does not fit, by what uses most of the memory."""
    hbm = found.hbm_bytes
    if hbm["params"] + hbm["opt"] > hbm["act"] + hbm["kv"]:
        return "most memory is parameters and optimiser: use more chips or a larger mesh.tensor"
    less = "use fewer utterances per bucket or run.accum=2, and run.remat=block"
    return f"most memory is activations: {less}"
