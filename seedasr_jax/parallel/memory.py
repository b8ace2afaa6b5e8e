"""Memory of a device by its kind.

Decisions that depend on memory are the same in a run and in its plan, and in all processes of a
job: for kinds outside the table, all use the smallest value that any process reads (`agree`).
"""

import jax
import numpy as np

from seedasr_jax.parallel import processes

GIB = 1 << 30

# By `device_kind`; docs.cloud.google.com/tpu/docs/{v5e, v5p, v6e, tpu7x}, read in November 2026.
HBM = {
    "TPU v5 lite": 16 * GIB,
    "TPU v5e": 16 * GIB,
    "TPU v5": 95 * GIB,
    "TPU v5p": 95 * GIB,
    "TPU v6 lite": 32 * GIB,
    "TPU v6e": 32 * GIB,
    "TPU7x": 96 * GIB,  # a chip has two such devices
}
# Vendor's data sheets, for GPUs that report no memory, such as those of another process.
GPUS = {
    "NVIDIA A100-SXM4-40GB": 40 * GIB,
    "NVIDIA A100-SXM4-80GB": 80 * GIB,
    "NVIDIA H100 80GB HBM3": 80 * GIB,
    "NVIDIA H200": 140 * GIB,
    "NVIDIA B200": 180 * GIB,
}
UNKNOWN = min(HBM.values())  # for kinds that report nothing and are in no table, such as CPUs
_agreed: dict[str, int] = {}  # by `device_kind`; see `agree`


def of(device: jax.Device) -> int:
    """Memory of a device, real or planned, in bytes."""
    kind = device.device_kind
    known = HBM.get(kind) or _agreed.get(kind)
    if not known and processes.is_alone():
        known = _reported(device)
    return known or GPUS.get(kind, UNKNOWN)


def agree() -> None:
    """Agrees on this device kind's memory over all processes; all call it before the first `of`."""
    device = jax.local_devices()[0]
    (found,) = processes.stacked((np.array(_reported(device) // GIB),))
    _agreed[device.device_kind] = int(found.min()) * GIB


def _reported(device) -> int:
    """Allocatable bytes as a device reports them, rounded down to GiB; 0 if it reports nothing."""
    found = device.memory_stats() or {}
    return found.get("bytes_limit", 0) // GIB * GIB
