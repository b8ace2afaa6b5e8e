"""Step-time bound of a compiled program: the time that its busiest resource needs alone.

Nothing is fitted: peak FLOPs, HBM and link rates are the vendor's (topologies.py), the work is read
from the compiled program. A real step is slower because resources wait for each other.
"""

import collections
import dataclasses
import math

from seedasr_jax.plan import costs, hlo, traffic
from seedasr_jax.plan.topologies import Topology

# Products of [N K] by [K N] for each head in a splash kernel, half of them masked.
_SPLASH = {"fwd": 2, "dq": 3, "dkv": 4}


@dataclasses.dataclass(frozen=True)
class Bound:
    """Bounds of one step, and what each device sends in it."""

    seconds: dict[str, float]  # by resource: compute, hbm, ici, dcn
    bytes_ici: float
    bytes_dcn: float
    collectives: list[dict]  # kind, axes, runs, bytes, largest


def bound(module: hlo.Module, mesh: dict[str, int], topology: Topology) -> Bound:
    """The bounds of a program compiled for a mesh, axis -> size in order, of a topology."""
    chip = topology.chip
    found = costs.collectives(module, mesh, topology.slices)
    dcn = sum(one.times * one.sent_dcn for one in found)
    ici = sum(one.times * one.sent for one in found) - dcn
    # Includes what rematerialisation computes again.
    executed = costs.flops(module) + splash_flops(module) + megablox_flops(module, mesh)
    accessed = traffic.hbm_bytes(module) - megablox_unread_bytes(module, mesh)
    # Along any axis, a collective uses at most all links of a chip in one direction.
    seconds = {
        "compute": executed * chip.devices / chip.flops,
        "hbm": accessed * chip.devices / chip.hbm_bandwidth,
        "ici": ici * chip.devices / (chip.ici_bandwidth / 2),
        "dcn": dcn * chip.devices / chip.dcn_bandwidth,
    }
    return Bound(seconds, ici, dcn, summary(found))


def summary(found: list[costs.Collective]) -> list[dict]:
    """Totals by kind and axes, sorted by bytes in descending order."""
    by = collections.defaultdict(list)
    for one in found:
        by[one.kind, one.axes].append(one)
    rows = [
        {
            "kind": kind,
            "axes": list(axes),
            "runs": sum(one.times for one in some),
            "bytes": sum(one.times * one.sent for one in some),
            "largest": max(one.size for one in some),
        }
        for (kind, axes), some in by.items()
    ]
    return sorted(rows, key=lambda row: -row["bytes"])


def splash_flops(module: hlo.Module) -> float:
    """FLOPs of the splash attention kernels, whose bodies are not in the HLO."""
    total = 0.0
    for one, shapes, times in costs.calls(module):
        products = next((n for kind, n in _SPLASH.items() if f"splash_mha_{kind}" in one.name), 0)
        if products:
            # Integer masks come first; there is no batch axis if a device has one example.
            dims = next(shape.dims for shape in shapes if shape.dtype in ("bf16", "f32"))
            *rows, size, width = dims
            total += times * math.prod(rows) * products * 2.0 * size * size * width / 2
    return total


def megablox_flops(module: hlo.Module, mesh: dict[str, int]) -> float:
    """FLOPs of Megablox's grouped matrix products, whose bodies are not in the HLO.

    At even load a device's experts process a fraction 1 / expert of the rows passed to the kernel.
    """
    total = 0.0
    for one, shapes, times in _products_by_groups(module):
        rows, inner = next(shape.dims for shape in shapes if len(shape.dims) == 2)
        total += times * 2.0 * rows * inner * one.shapes[0].dims[-1]
    return total / mesh["expert"]


def megablox_unread_bytes(module: hlo.Module, mesh: dict[str, int]) -> float:
    """Bytes of rows that are passed to Megablox's products but not accessed, at even load.

    Rows and results are the arrays with two axes; weights have three.
    """
    total = 0.0
    for one, shapes, times in _products_by_groups(module):
        rows = [shape for shape in (*shapes, *one.shapes) if len(shape.dims) == 2]
        total += times * sum(shape.bytes for shape in rows)
    return total * (1 - 1 / mesh["expert"])


def _products_by_groups(module):
    return [call for call in costs.calls(module) if "gmm" in call[0].name]
