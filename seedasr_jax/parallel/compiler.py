"""Compiler options of this package's programs."""

import contextlib
import functools

import jax
import jax.numpy as jnp

# XLA:CPU delegates matrix products, sums and their surroundings to a library (YNNPACK). Its fusions
# of products make a step of the small recipes 10 to 33 % slower than XLA's; its sums over all but
# the last axis are 3 to 20 times faster.
_CPU = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"}
# XLA:TPU makes a product with a weight sharded over many devices a loop that reads the activations
# once per shard. With this threshold the weight is gathered while the previous layer is computed.
_TPU = {"xla_jf_spmd_threshold_for_windowed_einsum_mib": "1000000"}
# For programs that are planned but never run: shortens the search for windows of products, which is
# most of XLA:TPU's compile time. It compiles candidates to machine code until one promises this
# fraction of peak performance, in fusions of at most this many instructions. Instructions, memory
# and collectives stay the same (tests/test_golden_plans.py).
_PLANNED = {
    "xla_jf_convolution_performance_target": "0.1",
    "xla_jf_fusion_max_instruction_count_for_window_config": "1",
}


def options(sharding: jax.sharding.Sharding | None = None) -> dict[str, str]:
    """Options for `jax.jit(compiler_options=...)` that this version of XLA knows.

    `sharding`: of any input, for the devices that the program runs on; None: the default devices.
    """
    device = jax.devices()[0] if sharding is None else next(iter(sharding.device_set))
    if device.platform == "cpu":
        return _known(tuple(_CPU.items()), jax.devices("cpu")[0])
    return _TPU if device.platform == "tpu" else {}


def planned(device: jax.Device) -> dict[str, str]:
    """Further options, for `Lowered.compile`, of a program that is only planned for `device`."""
    return _known(tuple(_PLANNED.items()), device) if device.platform == "tpu" else {}


@functools.cache
def _known(options, device) -> dict[str, str]:
    """The options that the compiler of `device` accepts."""
    sharding = jax.sharding.SingleDeviceSharding(device)
    smallest = jax.jit(lambda: jnp.zeros(()), out_shardings=sharding).lower()
    known = {}
    for key, value in options:
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            smallest.compile({key: value})
            known[key] = value
    return known
