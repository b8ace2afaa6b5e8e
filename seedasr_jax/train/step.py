"""One optimiser step. Everything that changes a parameter is on this page.

Dims: B global batch, A micro-batches; `...` stands for the other axes of a Batch field.
"""

import dataclasses
import functools
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
import optax

from seedasr_jax.parallel import compiler, layout, sharding
from seedasr_jax.train import optim


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
        """A copy with changes."""
        return dataclasses.replace(self, **changes)


def make_train_step(graphdef, objective, tx, rates, state_sharding, batch_sharding, accum=1):
    """Builds the jitted step: (state, batch [B ...]) -> (state, metrics).

    `objective.weigh(batch, rng)` gives each loss term's weight over the global batch before the
    forward pass; `objective.loss(model, batch, weights, rng)` returns the total and its terms, each
    divided by its weight, so that terms and gradients add up over micro-batches to those of the
    whole batch under any padding, accumulation or mesh. Random draws fold in `batch.position`, one
    per example: the mask that `weigh` counts is the mask that `loss` applies, whatever the layout.
    `rates` (optim.rates) are reported only: `tx` applies them.
    """

    def loss(params, frozen, batch, weights, rng):
        return objective.loss(nnx.merge(graphdef, params, frozen), batch, weights, rng)

    @functools.partial(jax.jit, inline=True)  # traced once, for its shapes and for the loop
    def grad_fn(*arguments):
        with layout.over(batch_sharding.mesh):  # the backward pass is constrained too
            # Frozen parts: no gradient, no optimiser state.
            return jax.grad(loss, has_aux=True)(*arguments)

    def micro_batches(x):
        # [B ...] -> [B/A A ...] -> [A B/A ...]: strided, so no example moves to another device.
        return x.reshape(x.shape[0] // accum, accum, *x.shape[1:]).swapaxes(0, 1)

    def train_step(state, batch):
        rng = jax.random.fold_in(state.rng, state.step)
        weights = objective.weigh(batch, rng)
        micros = jax.tree.map(micro_batches, batch)

        def add(total, micro):
            out = grad_fn(state.params, state.frozen, micro, weights, rng)
            return jax.tree.map(jnp.add, total, out), None

        one = jax.tree.map(lambda x: x[0], micros)
        out = jax.eval_shape(grad_fn, state.params, state.frozen, one, weights, rng)
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, jnp.float32), out)
        (grads, terms), _ = jax.lax.scan(add, zeros, micros)

        norm = optax.tree.norm(grads)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        new = (optax.apply_updates(state.params, updates), opt_state)
        finite = jnp.isfinite(norm)  # a bad batch changes only the counts; see loop._give_up
        params, opt_state = jax.tree.map(
            lambda n, o: jnp.where(finite, n, o), new, (state.params, state.opt_state)
        )
        trains = objective.stage.trains
        changes = optim.norms(updates, trains)
        changes = {part: jnp.where(finite, norm, 0.0) for part, norm in changes.items()}
        report = {
            "grad_norm": norm,
            "update_norm": changes,
            "param_norm": optim.norms(params, trains),
            "learning_rate": rates(state.step - state.skipped),
        }
        state = state.replace(
            step=state.step + 1, skipped=state.skipped + ~finite, params=params, opt_state=opt_state
        )
        return state, terms | {"weights": weights} | report

    # Every process logs the terms: they are replicated.
    everywhere = sharding.replicated(batch_sharding.mesh)
    ins, outs = (state_sharding, batch_sharding), (state_sharding, everywhere)
    return jax.jit(
        train_step,
        donate_argnums=0,
        in_shardings=ins,
        out_shardings=outs,
        compiler_options=compiler.options(batch_sharding),
    )
