"""Memory of a device by its kind: what runs and what is planned decide alike by it."""

import jax

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
# Of other kinds: not asked of the device, for all processes of a job must decide alike.
UNKNOWN = min(HBM.values())


def of(device: jax.Device) -> int:
    """Bytes of the memory of a device, real or planned."""
    return HBM.get(device.device_kind, UNKNOWN)
