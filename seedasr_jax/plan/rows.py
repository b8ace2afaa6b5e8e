"""A row of a plan: what one compiled program takes, as people and programs read it."""

import dataclasses

from seedasr_jax import flops
from seedasr_jax.audio import files
from seedasr_jax.parallel import mesh as meshes
from seedasr_jax.parallel.memory import GIB
from seedasr_jax.plan import hlo, roofline
from seedasr_jax.plan.programs import Program
from seedasr_jax.plan.topologies import Topology

HEADROOM = 0.1  # of HBM that must stay free
USUAL = 0.6  # of the bound's speed, assumed for a second estimate of the cost


@dataclasses.dataclass(frozen=True)
class Row:
    """One program of one stage, as `--json` has it."""

    stage: str
    program: str
    bucket: tuple[float, int, int]  # seconds, tokens, utterances of the global batch
    mesh: dict[str, int]
    devices: int
    chips: int
    hosts: int
    hbm_bytes: dict[str, int]  # of a device, by part; headroom below 0: what is missing
    fits: bool
    flops: float  # useful, of one run on all devices
    flops_per_frame: float  # of 10 ms
    collectives: list[dict]
    bytes_ici: float  # that a device sends in a step
    bytes_dcn: float
    step_seconds_bound: float | None  # None where it does not compile: too large
    mfu_bound: float
    bound_by: str
    seconds: dict[str, float]  # the bound by each resource alone
    audio_hours_per_second: float  # at the bound
    host_bytes_per_second: float  # of 16-bit audio, that each host must load, at the bound
    compile_seconds: float
    note: str = ""


def row(compiled, program: Program, held: flops.Sizes, mesh, topology: Topology, **more) -> Row:
    """A row of a compiled program; None: the compiler found that it does not fit."""
    chip, axes = topology.chip, dict(zip(meshes.AXES, mesh.devices.shape))
    capacity = chip.hbm_bytes // chip.devices
    common = dict(
        program=program.name,
        mesh=axes,
        devices=topology.device_count,
        chips=topology.chips,
        hosts=topology.hosts,
        flops=program.flops,
        flops_per_frame=program.flops / max(1, held.utterances * held.frames),
    )
    own = sum(program.bytes.values())
    if compiled is None:
        none = dict.fromkeys(("bytes_ici", "bytes_dcn", "mfu_bound", "audio_hours_per_second"), 0.0)
        none |= dict(step_seconds_bound=None, host_bytes_per_second=0.0, seconds={})
        hbm = program.bytes | {"act": 0, "other": 0, "headroom": capacity - own}
        return Row(
            hbm_bytes=hbm, fits=False, collectives=[], bound_by="hbm", **none, **common, **more
        )
    memory = compiled.memory_analysis()
    text = hlo.Program(compiled.as_text(), program.most)
    hbm = program.bytes | {"act": memory.temp_size_in_bytes - program.inside}
    beside = memory.output_size_in_bytes - memory.alias_size_in_bytes
    held_by = memory.argument_size_in_bytes + beside + memory.generated_code_size_in_bytes
    hbm["other"] = held_by - (own - program.beside - program.inside)
    hbm["headroom"] = capacity - sum(hbm.values())
    bound = roofline.bound(text, axes, topology)
    heard = held.utterances * held.frames / 100  # seconds
    host_bytes = heard * files.RATE * 2 / topology.hosts / program.runs
    seconds = bound.seconds | {"data": host_bytes / (chip.dcn_bandwidth * chip.hosts)}
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
        audio_hours_per_second=heard / 3600 / (step * program.runs),
        host_bytes_per_second=host_bytes / step,
        **common,
        **more,
    )


def network_share(row: Row) -> float:
    """Fraction of the step-time bound during which the busier of ICI and DCN is active."""
    return max(row.seconds["ici"], row.seconds["dcn"]) / row.step_seconds_bound


def costs(row: Row, steps: int, price: float) -> dict[str, float]:
    """What `steps` of it take, at the bound and at what is usual of it.

    Args:
        row: of a program that fits the compiler.
        steps: how many.
        price: of an hour of a chip; 0: not known.

    Returns:
        chip_hours_bound, chip_hours_usual; with a price dollars_bound and dollars_usual.
    """
    bound = row.step_seconds_bound * steps * row.chips / 3600
    hours = {"bound": bound, "usual": bound / USUAL}
    found = {f"chip_hours_{which}": amount for which, amount in hours.items()}
    return found | {f"dollars_{which}": n * price for which, n in hours.items() if price}


def describe(found: Row) -> str:
    """A row for people, a line."""
    hbm = found.hbm_bytes
    used = sum(size for part, size in hbm.items() if part != "headroom")
    shape = " x ".join(f"{axis} {size}" for axis, size in found.mesh.items() if size > 1)
    seconds, tokens, rows = found.bucket
    if found.step_seconds_bound is None:
        speed = found.note
    else:
        speed = (
            f"step {found.step_seconds_bound:.3f} s or more, MFU at most {found.mfu_bound:.2f}"
            f" ({found.bound_by})"
        )
    return (
        f"{found.stage} {found.program} {rows} x {seconds:g} s, {tokens} tokens ({shape}):"
        f" {used / GIB:.2f} GiB per device"
        f" ({', '.join(f'{part} {hbm[part] / GIB:.2f}' for part in hbm if hbm[part])}),"
        f" {'fits' if found.fits else 'does not fit'}; {speed};"
        f" compiled in {found.compile_seconds:.0f} s"
    )


def details(found: Row) -> list[str]:
    """What travels, what must be loaded and what is computed, a line each, for people."""
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
        f"{found.audio_hours_per_second:.2f} audio hours per second at most, for which a host loads"
        f" {found.host_bytes_per_second / 1e9:.3f} GB/s",
        f"{found.flops / 1e12:.1f} useful TFLOP, {found.flops_per_frame / 1e9:.2f} GFLOP a frame of"
        " 10 ms, padding included",
    ]


def cure(found: Row) -> str:
    """What to change where a row does not fit, by what takes most of the memory."""
    hbm = found.hbm_bytes
    if hbm["params"] + hbm["opt"] > hbm["act"] + hbm["kv"]:
        return "parameters and optimiser take most of it: more chips, or a larger mesh.tensor"
    return (
        "activations take most of it: fewer utterances in the bucket or run.accum=2, and"
        " run.remat=block"
    )
