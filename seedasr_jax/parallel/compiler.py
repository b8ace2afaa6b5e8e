"""Compiler options of this package's programs."""

import functools

import jax
import jax.numpy as jnp

# XLA:CPU delegates matrix products, sums and their surroundings to a library (YNNPACK). With its
# fusions of products a step of the small recipes is a tenth to a third slower than with XLA's own;
# its sums over all but the last axis are 3 to 20 times faster.
_CPU = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"}
# XLA:TPU turns a product with a weight that is sharded over many devices into a loop over the
# shards, which reads the activations once per shard. This threshold disables that: the weight is
# gathered beforehand, while the previous layer is computed.
_TPU = {"xla_jf_spmd_threshold_for_windowed_einsum_mib": "1000000"}
# For programs that are planned but never run. XLA:TPU compiles candidate windows of each product to
# machine code until one promises the given fraction of peak performance, for fusions of at most the
# given number of instructions. This search is most of the compile time; instructions, memory and
# collectives are the same without it (tests/test_golden_plans.py).
_PLANNED = {
    "xla_jf_convolution_performance_target": "0.1",
    "xla_jf_fusion_max_instruction_count_for_window_config": "1",
}


def options(sharding: jax.sharding.Sharding | None = None) -> dict[str, str]:
    """Options for `jax.jit(compiler_options=...)`, by the devices that a program runs on.

    Args:
        sharding: sharding of any input; None: the default devices.

    Returns:
        {option: value}, without options unknown to this version of XLA.
    """
    device = jax.devices()[0] if sharding is None else next(iter(sharding.device_set))
    if device.platform == "cpu":
        return _known(tuple(_CPU.items()), jax.devices("cpu")[0])
    return _TPU if device.platform == "tpu" else {}


def planned(device: jax.Device) -> dict[str, str]:
    """Further options, for `Lowered.compile`, of a program that is only planned for `device`.

    Returns:
        {option: value}, without options unknown to this version of XLA.
    """
    return _known(tuple(_PLANNED.items()), device) if device.platform == "tpu" else {}


@functools.cache
def _known(options, device) -> dict[str, str]:
    """The options that the compiler of `device` accepts."""
    sharding = jax.sharding.SingleDeviceSharding(device)
    smallest = jax.jit(lambda: jnp.zeros(()), out_shardings=sharding).lower()

    def knows(key, value):
        try:
            smallest.compile({key: value})
        except jax.errors.JaxRuntimeError:
            return False
        return True

    return {key: value for key, value in options if knows(key, value)}
