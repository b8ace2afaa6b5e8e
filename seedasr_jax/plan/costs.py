"""Costs of a compiled program: collectives and FLOPs; traffic.py counts HBM bytes.

Devices are numbered as in the program: by their position in the mesh.
"""

import dataclasses
import math
import re

import numpy as np

from seedasr_jax.plan.hlo import Instruction, Module

COLLECTIVES = (
    *("all-gather", "all-reduce", "reduce-scatter"),
    *("all-to-all", "ragged-all-to-all", "collective-permute"),
)
_SCATTERED = "all-reduce-scatter"  # libtpu's reduce-scatter: an all-reduce, then a slice
_MEGASCALE = '"xla_megascale_runtime"'  # marks libtpu's transfers between slices
_TRANSFERS = {
    "ALL_REDUCE": "all-reduce",
    "REDUCE_SCATTER": "reduce-scatter",
    "ALL_GATHER": "all-gather",
    "ALL_TO_ALL": "all-to-all",
    "ONE_TO_ONE": "collective-permute",
}


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective instruction of a program."""

    kind: str
    axes: tuple[str, ...]  # mesh axes that its groups span
    group: int  # devices in a group
    slices: int  # slices that a group spans
    size: float  # bytes on a device of the full array: after gathering, or before reducing
    times: float  # executions in a step

    @property
    def sent(self) -> float:
        """Bytes that a device sends in one execution of the ring algorithm."""
        share = (self.group - 1) / self.group
        return self.size * {"all-reduce": 2 * share, "collective-permute": 1}.get(self.kind, share)

    @property
    def sent_dcn(self) -> float:
        """The part of `sent` that leaves the slice: a slice's data once, split over its chips."""
        if self.slices == 1:
            return 0.0
        if self.kind == "collective-permute":
            return self.sent
        within = self.group // self.slices
        share = (self.slices - 1) / self.slices
        return self.size / within * share * (2 if self.kind == "all-reduce" else 1)


def collectives(module: Module, mesh: dict[str, int], slices: int = 1) -> list[Collective]:
    """All collectives of a program.

    Args:
        module: the compiled program.
        mesh: axis -> size, in the order of the mesh.
        slices: number of slices; consecutive device numbers are in the same slice.
    """
    devices = math.prod(mesh.values())
    found = []
    for where, one, times in module.executed():
        kind = one.opcode.removesuffix("-start")
        if kind == "send" and _MEGASCALE in one.attributes:
            found.append(_between_slices(one, times))
        if kind not in COLLECTIVES or len(group := _group(one, devices)) < 2:
            continue
        if kind == "all-reduce" and where.startswith(_SCATTERED):
            kind = "reduce-scatter"
        at = np.array(np.unravel_index(group, tuple(mesh.values())))
        axes = tuple(axis for axis, row in zip(mesh, at) if len(set(row)) > 1)
        spans = len({device * slices // devices for device in group})
        size = _size(one, module.computations[where])
        found.append(Collective(kind, axes, len(group), spans, size, times))
    return found


def _between_slices(one, times):
    """The collective of a transfer to the same device of other slices, which differ in `data`."""

    def stated(key):
        return re.search(rf'_xla_megascale_{key}="([^"]*)"', one.attributes)[1]

    # {1,2}x{0:15}: slices 1 and 2, devices 0 to 15 of each
    ranges = re.match(r"\{([^}]*)\}", stated("target"))[1].split(",")
    ends = [[int(end) for end in span.split(":")] for span in ranges]
    slices = sum(end[-1] - end[0] + 1 for end in ends)
    kind = _TRANSFERS.get(stated("transfer_type"))
    if kind is None:
        raise ValueError(
            f"{one.name}: expected a transfer between slices of {', '.join(_TRANSFERS)}, found"
            f" {stated('transfer_type')}"
        )
    size = one.shapes[0].bytes * (slices if kind == "all-gather" else 1)
    return Collective(kind, ("data",), slices, slices, size, times)


def _size(one, computation):
    """`Collective.size` of an instruction."""
    if one.opcode.startswith("reduce-scatter"):
        return sum(computation[operand].bytes for operand in one.operands)
    if one.opcode in ("all-gather-start", "collective-permute-start"):
        # The result is a tuple (operands, results, contexts).
        arrays = [shape for shape in one.shapes if shape.dims]
        return sum(shape.bytes for shape in arrays[len(one.operands) :])
    return one.bytes


def flops(module: Module) -> float:
    """FLOPs of all matrix products and convolutions, without taps that read padding."""
    products = {"convolution": _convolution, "dot": _dot}
    total = 0.0
    for where, one, times in module.executed():
        if count := products.get(one.opcode):
            total += times * count(one, module.computations[where])
    return total


def calls(module: Module):
    """Yields (instruction, shapes of its operands, executions) of each call of a TPU kernel."""
    for where, one, times in module.executed():
        if one.opcode == "custom-call" and '"tpu_custom_call"' in one.attributes:
            computation = module.computations[where]
            yield one, [computation[operand].shapes[0] for operand in one.operands], times


def _group(one: Instruction, devices: int) -> list[int]:
    """The devices of the first group of a collective."""
    text = one.attributes
    if pairs := re.search(r"source_target_pairs=\{(\{[\d,{} ]*\})\}", text):
        ends = [tuple(map(int, pair)) for pair in re.findall(r"\{(\d+),(\d+)\}", pairs[1])]
        return _reached(ends)
    found = re.search(r"replica_groups=(\S*)", text)
    if found is None:
        return list(range(devices))
    text = text[found.start(1) :]
    if listed := re.match(r"\{(.*?)\}(?:\}|,)", text):
        numbers = re.findall(r"\d+", listed[1].split("}")[0])
        return list(map(int, numbers)) or list(range(devices))
    if mesh := re.match(r"mesh\[([^\]]*)\](?:, device_ids=\(([^ ]*)\))? \{([^}]*)\}", text):
        sizes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", mesh[1])}
        order = _iota(mesh[2]) if mesh[2] else np.arange(math.prod(sizes.values()))
        kept = re.findall(r"'([^']+)'", mesh[3])
        at = tuple(slice(None) if name in kept else 0 for name in sizes)
        return order.reshape(tuple(sizes.values()))[at].reshape(-1).tolist()
    iota = re.match(r"\[(\d+),(\d+)\]<=(\[[\d,]+\](?:T\([\d,]+\))?)", found[1])
    return _iota(iota[3]).reshape(int(iota[1]), int(iota[2]))[0].tolist()


def _iota(text: str) -> np.ndarray:
    """HLO's iota notation: [4,32]T(1,0) is 0 to 127 in shape [4 32], transposed, flattened."""
    dims = tuple(map(int, re.match(r"\[([\d,]+)\]", text)[1].split(",")))
    order = re.search(r"T\(([\d,]+)\)", text)
    numbers = np.arange(math.prod(dims)).reshape(dims)
    if order:
        numbers = numbers.transpose(list(map(int, order[1].split(","))))
    return numbers.reshape(-1)


def _reached(pairs) -> list[int]:
    """The devices on the path or cycle that begins at the first device that sends to another."""
    onward = {source: target for source, target in pairs if source != target}
    found, at = [], min(onward, default=None)
    while at is not None and at not in found:
        found.append(at)
        at = onward.get(at)
    return found


def _dot(one, computation) -> float:
    left = computation[one.operands[0]].shapes[0].dims
    contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", one.attributes)[1]
    inner = math.prod(left[int(axis)] for axis in contracted.split(",") if axis)
    return 2.0 * math.prod(one.shapes[0].dims) * inner


def _convolution(one, computation) -> float:
    left, right = (computation[operand].shapes[0].dims for operand in one.operands[:2])
    inputs, kernel, outputs = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", one.attributes).groups()
    made = dict(zip(outputs, one.shapes[0].dims))
    spatial = sorted(label for label in kernel if label.isdigit())
    window = re.search(r"window=\{([^}]*)\}", one.attributes)
    settings = dict(pair.split("=") for pair in window[1].split()) if window else {}

    def setting(key):
        """One integer per spatial axis; of `pad`, the lower one."""
        default = "x".join(["0_0" if key == "pad" else "1"] * len(spatial))
        values = settings.get(key, default).split("x") if spatial else ()
        return [int(value.split("_")[0]) for value in values]

    sizes, taps = dict(zip(kernel, right)), dict(zip(inputs, left))
    total = 2.0 * made["b"] * made["f"] * sizes["i"]
    axes = map(setting, ("pad", "stride", "lhs_dilate", "rhs_dilate"))
    for label, low, stride, base, dilation in zip(spatial, *axes):
        out = np.arange(made[label])[:, None] * stride
        at = out + np.arange(sizes[label])[None] * dilation - low
        inside = (at >= 0) & (at < (taps[label] - 1) * base + 1)
        total *= (inside & (at % base == 0)).sum()
    return total
