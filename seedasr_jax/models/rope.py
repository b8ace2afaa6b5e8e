"""Rotary position embedding of the decoder, and its rescalings for long contexts.

    @config.register("mine", "my_module:mine")  # decorates the options, a config.RopeScaling

`mine(options, rates, theta)` maps the unscaled radians per position [K/2] to the scaled ones and a
factor on cosines and sines.

Dims: B batch, N positions, H heads, K head width.
"""

import math

import jax.numpy as jnp

from seedasr_jax import config, shapes


def rope(x, positions, theta, scaling: config.RopeScaling):
    """Rotary embedding (arXiv 2104.09864) of x [B N H K] with paired halves, as in Llama and Qwen3.

    `positions`: [B N] int32, may repeat; `theta`: base of the wavelengths.
    """
    dims = shapes.check(x, "B N H K")
    shapes.check(positions, "B N", dims)
    rates = theta ** -(jnp.arange(0, dims["K"], 2, dtype=jnp.float32) / dims["K"])
    rates, magnitude = scaling.maker()(scaling, rates, theta)
    angles = positions[..., None, None].astype(jnp.float32) * shapes.align(rates, x)  # [B N 1 K/2]
    sin, cos = jnp.sin(angles), jnp.cos(angles)
    if magnitude != 1:
        sin, cos = sin * magnitude, cos * magnitude
    low, high = jnp.split(x.astype(jnp.float32), 2, -1)
    return jnp.concatenate([low * cos - high * sin, high * cos + low * sin], -1).astype(x.dtype)


def unscaled(options, rates, theta):
    """As in pretraining."""
    del options, theta
    return rates, 1.0


def linear(options: config.LinearRope, rates, theta):
    """Position interpolation (arXiv 2306.15595)."""
    del theta
    return rates / options.factor, 1.0


def llama3(options: config.Llama3Rope, rates, theta):
    """Rescales long wavelengths, and those in between in part (Llama 3.1's reference code)."""
    del theta
    turns = options.positions * rates / (2 * math.pi)  # of the original context
    low, high = options.low, options.high
    share = jnp.clip((turns - low) / (high - low), 0, 1)  # that stays as it is
    return rates * (share + (1 - share) / options.factor), 1.0


def yarn(options: config.Yarn, rates, theta):
    """YaRN (arXiv 2309.00071), sections 3.2 and 3.4: "NTK by parts" and a temperature."""
    count = len(rates)

    def dimension(turns):  # whose wavelength makes so many turns in the original context
        length = options.positions / (turns * 2 * math.pi)
        return count * math.log(length) / math.log(theta)

    first, last = dimension(options.fast), dimension(options.slow)
    if options.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, 2 * count - 1)
    last += 0.001 * (first == last)
    share = 1 - jnp.clip((jnp.arange(count, dtype=jnp.float32) - first) / (last - first), 0, 1)
    return rates * (share + (1 - share) / options.factor), options.magnitude
