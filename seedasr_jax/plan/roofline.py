"""How fast a compiled step can be at most: each resource alone, as if all others were free.

Nothing is fitted: peak, HBM and link rates are the vendor's (topologies.py), work is read from the
compiled program. A real step is slower, for resources wait for each other.
"""

import collections
import dataclasses
import math

from seedasr_jax.plan import costs, hlo, traffic
from seedasr_jax.plan.topologies import Topology

# Products of [N K] by [K N] that a splash kernel does for a head, half of them masked.
_SPLASH = {"fwd": 2, "dq": 3, "dkv": 4}


@dataclasses.dataclass(frozen=True)
class Bound:
    """Of one step, on each device."""

    seconds: dict[str, float]  # compute, hbm, ici, dcn
    bytes_ici: float
    bytes_dcn: float
    collectives: list[dict]  # kind, axes, runs, bytes, largest


def bound(program: hlo.Program, mesh: dict[str, int], topology: Topology) -> Bound:
    """What the vendor's rates say of a program.

    Args:
        program: compiled.
        mesh: axis -> size, in order.
        topology: where it runs.
    """
    chip = topology.chip
    found = costs.collectives(program, mesh, topology.slices)
    dcn = sum(one.times * one.dcn for one in found)
    ici = sum(one.times * one.moved for one in found) - dcn
    # What is computed again included.
    executed = costs.flops(program) + splash(program) + grouped(program, mesh)
    # Whatever its axis, a collective can use no more than all links of a chip, one way.
    seconds = {
        "compute": executed * chip.devices / chip.flops,
        "hbm": (traffic.of(program) - unread(program, mesh)) * chip.devices / chip.hbm_bandwidth,
        "ici": ici * chip.devices / (chip.ici_bandwidth / 2),
        "dcn": dcn * chip.devices / chip.dcn_bandwidth,
    }
    return Bound(seconds, ici, dcn, summary(found))


def summary(found: list[costs.Collective]) -> list[dict]:
    """By kind and axes, the most bytes first."""
    by = collections.defaultdict(list)
    for one in found:
        by[one.kind, one.axes].append(one)
    rows = [
        {
            "kind": kind,
            "axes": list(axes),
            "runs": sum(one.times for one in some),
            "bytes": sum(one.times * one.moved for one in some),
            "largest": max(one.size for one in some),
        }
        for (kind, axes), some in by.items()
    ]
    return sorted(rows, key=lambda row: -row["bytes"])


def splash(program: hlo.Program) -> float:
    """FLOPs of the splash attention kernels, which HLO does not show."""
    total = 0.0
    for one, shapes, times in costs.calls(program):
        for kind, products in _SPLASH.items():
            if f"splash_mha_{kind}" in one.name:
                # Masks of integers come first; without a batch where a device has one example.
                *rows, size, width = next(
                    shape.dims for shape in shapes if shape.dtype in ("bf16", "f32")
                )
                heads = math.prod(rows)
                total += times * heads * products * 2.0 * size * size * width / 2
    return total


def grouped(program: hlo.Program, mesh: dict[str, int]) -> float:
    """FLOPs of Megablox's products by groups of rows, which HLO does not show either.

    A device's experts get their share of the rows that it sees: at even load, one of `expert`.
    """
    total = 0.0
    for one, shapes, times in _products_by_groups(program):
        rows, inner = next(shape.dims for shape in shapes if len(shape.dims) == 2)
        total += times * 2.0 * rows * inner * one.shapes[0].dims[-1]
    return total / mesh["expert"]


def unread(program: hlo.Program, mesh: dict[str, int]) -> float:
    """Bytes of rows that Megablox's products are given and leave alone, at even load.

    Kernels have three axes, rows and what becomes of them two.
    """
    total = 0.0
    for one, shapes, times in _products_by_groups(program):
        rows = [shape for shape in (*shapes, *one.shapes) if len(shape.dims) == 2]
        total += times * sum(shape.bytes for shape in rows)
    return total * (1 - 1 / mesh["expert"])


def _products_by_groups(program):
    return [call for call in costs.calls(program) if "gmm" in call[0].name]
