"""What every token reads is gathered once, before the first one, where it fits.

A decoder that is sharded over fsdp would be gathered layer by layer at each token: of 8B parameters
over 32 devices 14 GiB, 241 times a batch. Over tensor and expert it stays sharded: along those,
activations move.
"""

from flax import nnx
import jax

from seedasr_jax.models import layers
from seedasr_jax.parallel import memory, sharding

SHARE = 1 / 2  # of a device's memory that the copy may take; caches and the optimiser need the rest


def once(state: nnx.State, mesh, dtype) -> tuple[nnx.State, bool]:
    """The parameters, those of the decoder gathered if they fit, and whether they do.

    Args:
        state: of a model with a decoder, while a program is traced.
        mesh: of the program.
        dtype: of the computation; matrices are gathered in it.
    """
    if not fits(state, mesh, dtype):
        return state, False
    used = layers.as_used(state["decoder"], dtype)
    if mesh.size > 1:
        placed = sharding.of_params(used, mesh, gathered=True)
        used = jax.tree.map(jax.lax.with_sharding_constraint, used, placed)
    return nnx.merge_state(state, nnx.State({"decoder": used})), True


def fits(state: nnx.State, mesh, dtype) -> bool:
    """Whether the copy takes at most SHARE of a device; arguments as of `once`, or shapes."""
    return copied(state, mesh, dtype) <= SHARE * memory.of(mesh.devices.flat[0])


def copied(state: nnx.State, mesh, dtype) -> int:
    """Bytes of a device that a gathered decoder takes beside the parameters.

    Arguments as of `once`, or shapes. What changes neither its place nor its type is no copy.
    """
    own, used = state["decoder"], places(state, mesh, dtype)["decoder"]
    own = sharding.placed(own, sharding.of_params(own, mesh))

    def bytes_of(before, after):
        size = sharding.bytes_of(after)
        return 0 if (size, before.dtype) == (sharding.bytes_of(before), after.dtype) else size

    return sum(jax.tree.leaves(jax.tree.map(bytes_of, own, used)))


def places(state: nnx.State, mesh, dtype) -> nnx.State:
    """The decoder alone, gathered: shapes with their shardings. Arguments as of `once`."""
    own = state["decoder"]
    used = jax.eval_shape(lambda own: layers.as_used(own, dtype), own)
    used = sharding.placed(used, sharding.of_params(used, mesh, gathered=True))
    return nnx.State({"decoder": used})
