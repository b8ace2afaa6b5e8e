"""Optimiser: schedule, clipping, AdamW or Adafactor, rates by part; and k-means as one."""

from flax import nnx
import jax
import jax.numpy as jnp
import optax

from seedasr_jax import config
from seedasr_jax.errors import ConfigError
from seedasr_jax.models import names
from seedasr_jax.models.layers import LoraParam, is_matrix
from seedasr_jax.quantize import kmeans


def part_of(path, param) -> str:
    """The part that a parameter belongs to: its module, or `lora` for every adapter."""
    return names.LORA if isinstance(param, LoraParam) else str(path[0])


def by_part(params: nnx.State, of):
    """A tree like `params` with of(path, param, part) at each parameter."""
    return nnx.map_state(lambda path, p: p.replace(of(path, p, part_of(path, p))), params)


def schedule(optim: config.Optim, steps: int):
    """Step -> learning rate: linear warm-up, then decay to `final` of the peak."""
    rest = max(1, steps - optim.warmup)
    decays = {
        "cosine": lambda: optax.cosine_decay_schedule(optim.lr, rest, optim.final),
        "linear": lambda: optax.linear_schedule(optim.lr, optim.lr * optim.final, rest),
        "constant": lambda: optax.constant_schedule(optim.lr),
    }
    warm = optax.linear_schedule(optim.lr / max(1, optim.warmup), optim.lr, optim.warmup)
    return optax.join_schedules([warm, decays[optim.decay]()], [optim.warmup])


def _scale_by_part(rates):
    def update(updates, state, params=None):
        del params
        scaled = by_part(updates, lambda _, p, part: p[...] * rates.get(part, 1.0))
        return scaled, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _fit_kmeans(keep):
    """Online Lloyd: the gradient is minus the batch's sums (quantize/kmeans.py)."""

    def init(params):
        parts = {part_of(path, param) for path, param in nnx.to_flat_state(params)}
        if parts != {names.CODEBOOK}:
            raise ConfigError(
                f"optim.name 'kmeans' fits a codebook alone, found trains {sorted(parts)}"
            )
        return optax.ScaleByScheduleState(jnp.zeros((), jnp.int32))

    def update(gradients, state, params):
        stored = {path[-1]: p[...] for path, p in nnx.to_flat_state(params)}
        batch = {path[-1]: -p[...] for path, p in nnx.to_flat_state(gradients)}
        key = jax.random.fold_in(jax.random.key(0), state.count)
        new = kmeans.advance(stored, batch, keep, key)
        updates = by_part(params, lambda path, *_: new[path[-1]] - stored[path[-1]])
        return updates, optax.ScaleByScheduleState(state.count + 1)

    return optax.GradientTransformation(init, update)


def _each_layer(stateless: optax.GradientTransformation) -> optax.GradientTransformation:
    """Applies a transformation without state to each layer of stacked updates [L ...] alone."""

    def update(updates, state, params=None):
        del params
        return jax.vmap(lambda own: stateless.update(own, optax.EmptyState())[0])(updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _adafactor(optim, alone):
    """Second moments as a row and a column of each matrix (arXiv 1804.04235, algorithm 4).

    A matrix is the two largest axes of a parameter; an update's root mean square is held at 1 over
    the whole parameter, all layers of a stack, unless these learn apart.
    """
    momentum = [optax.ema(optim.b1, debias=False)] if optim.b1 else []
    scale = optax.scale_by_factored_rms(decay_rate=optim.b2, epsilon=optim.eps)
    return [scale, alone(optax.clip_by_block_rms(1.0)), *momentum]


def _adam(optim, alone):
    del alone  # each element by itself
    return [optax.scale_by_adam(optim.b1, optim.b2, optim.eps)]


_SCALES = {"adamw": _adam, "adafactor": _adafactor}


def make(optim: config.Optim, steps: int, *, apart=False) -> optax.GradientTransformation:
    """The optax chain of a stage.

    Args:
        optim: its config.
        steps: of the stage.
        apart: whether layers, the first axis of every parameter, learn apart: no update of one
            depends on another's gradients.
    """
    if optim.name == "kmeans":
        return _fit_kmeans(optim.b1)

    def decayed(params):
        return by_part(params, lambda path, *_: is_matrix(path))

    alone = _each_layer if apart else lambda whole: whole
    chain = [alone(optax.clip_by_global_norm(optim.clip))] if optim.clip else []
    chain += [
        *_SCALES[optim.name](optim, alone),
        optax.add_decayed_weights(optim.weight_decay, decayed),
        optax.scale_by_learning_rate(schedule(optim, steps)),
    ]
    if optim.rates:
        chain.append(_scale_by_part(dict(optim.rates)))
    return optax.chain(*chain)
