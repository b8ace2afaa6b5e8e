"""What XLA is told when it compiles the programs of this package."""

import functools

import jax
import jax.numpy as jnp

# XLA:CPU hands matrix products and what surrounds them to a library (YNNPACK) whose fusions make
# a step of the small recipes a tenth to a third slower than XLA's own.
_CPU = {"xla_cpu_experimental_ynn_fusion_type": ""}


def options(sharding: jax.sharding.Sharding | None = None) -> dict[str, str]:
    """For `jax.jit(compiler_options=...)`, by the devices that a program runs on.

    Args:
        sharding: of an input; None: the default devices.

    Returns:
        {option: value}, without those that this version of XLA does not know.
    """
    device = jax.devices()[0] if sharding is None else next(iter(sharding.device_set))
    return _known() if device.platform == "cpu" else {}


@functools.cache
def _known() -> dict[str, str]:
    def knows(key, value):
        try:
            with jax.default_device(jax.devices("cpu")[0]):
                jax.jit(lambda: jnp.zeros(())).lower().compile({key: value})
        except jax.errors.JaxRuntimeError:
            return False
        return True

    return {key: value for key, value in _CPU.items() if knows(key, value)}
