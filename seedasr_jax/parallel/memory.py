"""Memory of a device by its kind: what runs and what is planned decide alike by it.

So do all processes of a job: of kinds that are not planned for, the least that any of them finds
counts (`agree`).
"""

import jax
import numpy as np

from seedasr_jax.parallel import processes

GIB = 1 << 30

# docs.cloud.google.com/tpu/docs/{v5e, v5p, v6e, tpu7x}, read in November 2026; by `device_kind`.
HBM = {
    "TPU v5 lite": 16 * GIB,
    "TPU v5e": 16 * GIB,
    "TPU v5": 95 * GIB,
    "TPU v5p": 95 * GIB,
    "TPU v6 lite": 32 * GIB,
    "TPU v6e": 32 * GIB,
    "TPU7x": 96 * GIB,  # a chip has two
}
# Of GPUs that cannot be asked, such as those of another process: the vendor's data sheets.
GPUS = {
    "NVIDIA A100-SXM4-40GB": 40 * GIB,
    "NVIDIA A100-SXM4-80GB": 80 * GIB,
    "NVIDIA H100 80GB HBM3": 80 * GIB,
    "NVIDIA H200": 140 * GIB,
    "NVIDIA B200": 180 * GIB,
}
UNKNOWN = min(HBM.values())  # of a kind that neither can be asked nor stands above, such as a CPU
_agreed: dict[str, int] = {}  # by `device_kind`; see `agree`


def of(device: jax.Device) -> int:
    """Bytes of the memory of a device, real or planned."""
    kind = device.device_kind
    known = HBM.get(kind) or _agreed.get(kind)
    if not known and processes.is_alone():
        known = _asked(device)
    return known or GPUS.get(kind, UNKNOWN)


def agree() -> None:
    """Asks the devices of all processes of a job; each calls it, before it decides by `of`."""
    device = jax.local_devices()[0]
    (found,) = processes.stacked((np.array(_asked(device) // GIB),))
    _agreed[device.device_kind] = int(found.min()) * GIB


def _asked(device) -> int:
    """What a device says that can be allocated, to whole GiB; 0: it says nothing."""
    found = device.memory_stats() or {}
    return found.get("bytes_limit", 0) // GIB * GIB
