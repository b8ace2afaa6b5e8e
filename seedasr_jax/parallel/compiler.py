"""What XLA is told when it compiles the programs of this package."""

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


def options(sharding: jax.sharding.Sharding | None = None) -> dict[str, str]:
    """For `jax.jit(compiler_options=...)`, by the devices that a program runs on.

    Args:
        sharding: of an input; None: the default devices.

    Returns:
        {option: value}, without those that this version of XLA does not know.
    """
    device = jax.devices()[0] if sharding is None else next(iter(sharding.device_set))
    return {"cpu": _known, "tpu": lambda: _TPU}.get(device.platform, dict)()


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
