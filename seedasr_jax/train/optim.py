"""Optimisers: AdamW and Adafactor with schedule, clipping and rates by part; k-means."""

from flax import nnx
import jax
import jax.numpy as jnp
import optax

from seedasr_jax import config
from seedasr_jax.errors import ConfigError
from seedasr_jax.models import names
from seedasr_jax.models.layers import LoraParam, is_matrix
from seedasr_jax.quantize import kmeans as online


def part_of(path, param) -> str:
    """The part of a parameter: its top-level module, or `lora` for every adapter."""
    return names.LORA if isinstance(param, LoraParam) else str(path[0])


def by_part(params: nnx.State, of):
    """Maps each parameter to of(path, param, part), in a tree like `params`."""
    return nnx.map_state(lambda path, p: p.replace(of(path, p, part_of(path, p))), params)


def norms(params: nnx.State, parts: tuple[str, ...]) -> dict[str, jax.Array]:
    """L2 norm of the parameters of each of `parts`, or of their gradients or updates."""
    leaves = {part: [] for part in parts}
    for path, param in nnx.to_flat_state(params):
        leaves.get(part_of(path, param), []).append(param[...])
    return {part: optax.tree.norm(leaves[part]) for part in parts}


def schedule(options: config.Scheduled, steps: int):
    """Step -> learning rate: linear warm-up, then decay to the fraction `final` of the peak."""
    rest = max(1, steps - options.warmup)
    decays = {
        "cosine": lambda: optax.cosine_decay_schedule(options.lr, rest, options.final),
        "linear": lambda: optax.linear_schedule(options.lr, options.lr * options.final, rest),
        "constant": lambda: optax.constant_schedule(options.lr),
    }
    warm = optax.linear_schedule(options.lr / max(1, options.warmup), options.lr, options.warmup)
    return optax.join_schedules([warm, decays[options.decay]()], [options.warmup])


def _scale_by_part(rates):
    def update(updates, state, params=None):
        del params
        scaled = by_part(updates, lambda _, p, part: p[...] * rates.get(part, 1.0))
        return scaled, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _fit_kmeans(keep):
    """Online Lloyd algorithm; the gradient is minus the batch's sums (quantize/kmeans.py)."""

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
        new = online.advance(stored, batch, keep, key)
        updates = by_part(params, lambda path, *_: new[path[-1]] - stored[path[-1]])
        return updates, optax.ScaleByScheduleState(state.count + 1)

    return optax.GradientTransformation(init, update)


def _each_layer(stateless: optax.GradientTransformation) -> optax.GradientTransformation:
    """Applies a stateless transformation to each layer of stacked updates [L ...] separately."""

    def update(updates, state, params=None):
        del params
        return jax.vmap(lambda x: stateless.update(x, optax.EmptyState())[0])(updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _scheduled(options: config.Scheduled, steps, apart, scale):
    """Chains clipping, `scale(alone)`, weight decay of matrices, the rate and its factors by part.

    `alone` makes a transformation apply to each layer separately if `apart`.
    """

    def decayed(params):
        return by_part(params, lambda path, *_: is_matrix(path))

    alone = _each_layer if apart else lambda whole: whole
    chain = [alone(optax.clip_by_global_norm(options.clip))] if options.clip else []
    chain += [
        *scale(alone),
        optax.add_decayed_weights(options.weight_decay, decayed),
        optax.scale_by_learning_rate(schedule(options, steps)),
    ]
    if options.rates:
        chain.append(_scale_by_part(dict(options.rates)))
    return optax.chain(*chain)


def adamw(options, steps, *, apart=False) -> optax.GradientTransformation:
    """AdamW; `options`: config.AdamW. Other arguments as of `make`."""

    def scale(alone):
        del alone  # Adam is elementwise
        return [optax.scale_by_adam(options.b1, options.b2, options.eps)]

    return _scheduled(options, steps, apart, scale)


def adafactor(options, steps, *, apart=False) -> optax.GradientTransformation:
    """Adafactor (arXiv 1804.04235, algorithm 4); `options`: config.Adafactor.

    Factored over a parameter's two largest axes. An update's root mean square is clipped at 1 over
    the whole parameter, with all layers of a stack, or per layer if `apart`. Other arguments as of
    `make`.
    """

    def scale(alone):
        momentum = [optax.ema(options.momentum, debias=False)] if options.momentum else []
        squares = optax.scale_by_factored_rms(decay_rate=options.decay_rate, epsilon=options.eps)
        return [squares, alone(optax.clip_by_block_rms(1.0)), *momentum]

    return _scheduled(options, steps, apart, scale)


def kmeans(options, steps, *, apart=False) -> optax.GradientTransformation:
    """Fits k-means; `options`: config.KMeans. Other arguments as of `make`."""
    del steps, apart
    return _fit_kmeans(options.keep)


def rates(options: config.Optim, steps: int, parts: tuple[str, ...]):
    """Number of earlier updates -> learning rate of each of `parts`; {} if there is no schedule."""
    if not isinstance(options, config.Scheduled):
        return lambda updates: {}
    rate = schedule(options, steps)
    return lambda updates: {part: options.rates.get(part, 1.0) * rate(updates) for part in parts}


def make(options: config.Optim, steps: int, *, apart=False) -> optax.GradientTransformation:
    """The optax chain of a stage.

    `apart`: whether layers, the first axis of every parameter, are optimised separately, so that no
    layer's update depends on another's gradients.
    """
    return options.maker()(options, steps, apart=apart)
