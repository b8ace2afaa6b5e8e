"""TrainState: everything that a step reads and writes beside the batch, as one pytree."""

import dataclasses
from typing import Any

import jax


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """State between steps. `step` is also the data position: batches are a function of it.

    `frozen` is saved as a reference to the parent stage, never copied.
    """

    step: jax.Array  # scalar int32, steps taken
    skipped: jax.Array  # scalar int32, number of these whose gradients were not finite
    params: Any  # nnx.State of the parameters that train
    frozen: Any  # nnx.State of all others
    opt_state: Any
    rng: jax.Array  # typed key; each step folds its number in

    def replace(self, **changes):
        return dataclasses.replace(self, **changes)
