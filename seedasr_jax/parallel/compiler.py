"""Compiler options of this package's programs."""

import functools

import jax
import jax.numpy as jnp

# XLA:CPU hands matrix products, sums and what surrounds them to a library (YNNPACK). Its fusions of
# products make a step of the small recipes a tenth to a third slower than XLA's own; its sums over
# all but the last axis are 3 to 20 times faster.
_CPU = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"}
# XLA:TPU turns a product with a weight that is sharded over many devices into a loop over their
# shards, and reads the activations again for each. Weights that are gathered beforehand are
# gathered while the layer before is computed.
_TPU = {"xla_jf_spmd_threshold_for_windowed_einsum_mib": "1000000"}
# For a program that is only planned. XLA:TPU tries window after window for each product, down to
# machine code, unless one promises this share of the peak, and for fusions of so many instructions
# at most. The search is most of a compile; instructions, memory and collectives are the same
# without it (tests/test_golden_plans.py).
_PLANNED = {
    "xla_jf_convolution_performance_target": "0.1",
    "xla_jf_fusion_max_instruction_count_for_window_config": "1",
}


def options(sharding: jax.sharding.Sharding | None = None) -> dict[str, str]:
    """For `jax.jit(compiler_options=...)`, by the devices that a program runs on.

    Args:
        sharding: of an input; None: the default devices.

    Returns:
        {option: value}, without those that this version of XLA does not know.
    """
    device = jax.devices()[0] if sharding is None else next(iter(sharding.device_set))
    if device.platform == "cpu":
        return _known(tuple(_CPU.items()), jax.devices("cpu")[0])
    return _TPU if device.platform == "tpu" else {}


def planned(device: jax.Device) -> dict[str, str]:
    """More options, for `Lowered.compile`, of a program that is planned for `device` and not run.

    Returns:
        {option: value}, without those that this version of XLA does not know.
    """
    return _known(tuple(_PLANNED.items()), device) if device.platform == "tpu" else {}


@functools.cache
def _known(options, device) -> dict[str, str]:
    place = jax.sharding.SingleDeviceSharding(device)
    smallest = jax.jit(lambda: jnp.zeros(()), out_shardings=place).lower()

    def knows(key, value):
        try:
            smallest.compile({key: value})
        except jax.errors.JaxRuntimeError:
            return False
        return True

    return {key: value for key, value in options if knows(key, value)}
