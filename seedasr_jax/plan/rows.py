"""A row of a plan: memory, costs and bounds of one compiled program."""

import dataclasses

from seedasr_jax import flops
from seedasr_jax.audio import files
from seedasr_jax.parallel import mesh as meshes
from seedasr_jax.plan import hlo, roofline
from seedasr_jax.plan.programs import Program
from seedasr_jax.plan.topologies import Topology

FRAME = files.RATE // 100  # samples: `flops_per_frame` counts 10 ms, whatever the front end's hop
HEADROOM = 0.1  # fraction of HBM that must stay free


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
    parsed = hlo.Module(compiled.as_text(), program.max_trips)
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
