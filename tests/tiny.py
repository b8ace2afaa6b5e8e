"""Tiny models and batches for tests. Random everywhere: a bias of 0 hides a leak.

Dims: B batch, T frames, S samples.
"""

import dataclasses
import pathlib

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from seedasr_jax import batch as batches
from seedasr_jax import config
from seedasr_jax.configs import common
from seedasr_jax.models import acllm
from seedasr_jax.models.acllm import Tokens
import seedasr_jax.small  # noqa: F401  (registers its kinds)
from seedasr_jax.text import vocab_training
from seedasr_jax.text.template import Template

PARTS = ("encoder", "ctc_head", "converter", "decoder")
TOKENS = Tokens(pad=0, start=2, eos=3)
VOCABULARY = 20
PROMPT = config.build(common.prompt(), config.Prompt)
FEATURES = config.LogMel("log_mel", mels=8, low_hz=20.0, high_hz=4000.0, floor=1e-5, norm="bin")
SUMS = ("counts", "second", "frames")  # parameters that are never below 0
ALL_DRAWS = dict(
    tempo=(0.9, 1.1),
    warp=(0.9, 1.1),
    speed=(0.95, 1.05),
    eq_db=4.0,
    noise=0.6,
    reverb=0.5,
    frequency_masks=1,
    frequency_width=3,
    time_masks=2,
    time_fraction=0.2,
)


def template(tokenizer, **changes):
    """The common prompt, or one with `changes`, for a tokenizer."""
    prompt = config.build(common.prompt(**changes), config.Prompt)
    config.check(prompt, "prompt")
    return Template(prompt, tokenizer)


def vocabulary(texts, folder, **options):
    """A tokenizer trained on texts, which knows the common prompt."""
    return vocab_training.train(texts, folder, instructions=PROMPT.literals, **options)


def encoder(**changes):
    """An encoder's config: 2 layers of 16."""
    small = dict(subsampling=4, heads=2, kernel=5, channels=4)
    small["frontend"] = dataclasses.asdict(FEATURES)
    return config.build(common.conformer(2, 16) | small | changes, config.Encoder)


def decoder(**changes):
    """A decoder's config: 2 layers of 16, 4 query heads on 2 groups."""
    small = dict(heads=4, kv_heads=2, head_dim=8, rope_theta=100.0)
    return config.build(common.qwen3(2, 16) | small | changes, config.Decoder)


def stage(kind, parts, trains, *, objective=(), seconds=0.4, **changes):
    """A stage of the tiny model; `changes` are those of its recipe, "a.b" for nested keys."""
    c = common.graph("tiny")
    c.model.encoder = dataclasses.asdict(encoder())
    c.model.converter.splice = 2
    c.model.decoder = dataclasses.asdict(decoder())
    c.optim = common.adamw(2e-3, warmup=5)
    s = c.stages.only = common.stage(kind, steps=40)
    s.init = dict.fromkeys(parts, "fresh")
    s.trains = trains
    s.objective.update(dict(objective))
    s.data = common.data((("manifest:none.jsonl", 1.0),), ((seconds, 6, 8),))
    if "optim" in changes:
        c.optim = changes.pop("optim")
    if any(key.startswith("model.variant.") for key in changes):
        c.model.variant = common.small()
    c.update_from_flattened_dict(changes)
    return config.expand(c).stages["only"]


def values(state, seed=0):
    """A state of shapes with every parameter drawn by NumPy, biases and adapters too.

    Through shapes alone: initialisers would compile a program per shape.
    """
    rng = np.random.default_rng(seed)

    def fill(path, param):
        matrix = path[-1] not in ("bias", "scale", "content_bias", "position_bias")
        size = param.shape[-2] ** -0.5 if matrix and len(param.shape) > 1 else 0.2
        mean = 1.0 if path[-1] == "scale" else 0.0
        drawn = np.asarray(rng.normal(mean, size, param.shape), np.float32)
        return param.replace(abs(drawn) if path[-1] in SUMS else drawn)

    return nnx.map_state(fill, state)


def drawn(create, seed=0):
    """The module of `create(rngs)` with random parameters."""
    graphdef, state = nnx.split(nnx.eval_shape(lambda: create(nnx.Rngs(0))))
    return nnx.merge(graphdef, jax.tree.map(jnp.asarray, values(state, seed)))


def state(built):
    """A state of a built stage on the host, its rng left out."""
    empty = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), built.abstract.replace(rng=None))
    abstract = built.abstract
    return empty.replace(params=values(abstract.params), frozen=values(abstract.frozen, 1))


def make(kind, *arguments, **options):
    """A module in float32 with random parameters."""
    return drawn(lambda rngs: kind(*arguments, dtype=jnp.float32, rngs=rngs, **options))


def model(parts=PARTS, **changes):
    """An AcLLM with random parameters; `changes` as in `stage`."""
    settings = stage("sft", parts, parts, objective=dict(ctc_weight=0.3), **changes).model
    given = (settings, TOKENS, VOCABULARY, parts)
    return drawn(lambda rngs: acllm.make(*given, remat="none", rngs=rngs))


def batch(rows=8, seconds=0.4, prompt=3, context=2, tokens=6, seed=0, suffix=0):
    """A random Batch with padding everywhere; tokens have room in a CTC at 40 ms."""
    rng = np.random.default_rng(seed)
    samples = round(seconds * 16_000)

    def integers(low, high, *shape):
        return rng.integers(low, high + 1, shape).astype(np.int32)

    drawn = dataclasses.replace(
        batches.zeros(rows, samples, prompt, context, tokens, suffix=suffix),
        wave=rng.normal(0, 0.1, (rows, samples)).astype(np.float32),
        wave_length=integers(samples // 2, samples - 160, rows),
        prompt=integers(4, VOCABULARY - 1, rows, prompt),
        prompt_length=integers(1, prompt, rows),
        context=integers(4, VOCABULARY - 1, rows, context),
        context_length=integers(0, context, rows),
        ids=integers(4, VOCABULARY - 1, rows, tokens),
        ids_length=integers(1, 2, rows) if seconds < 1 else integers(1, tokens - 1, rows),
        start=np.full(rows, TOKENS.start, np.int32),
        weight=np.ones(rows, np.float32),
    )
    behind = integers(4, VOCABULARY - 1, rows, suffix), integers(min(1, suffix), suffix, rows)
    return dataclasses.replace(drawn, suffix=behind[0], suffix_length=behind[1])


def garbage(batch, seed=1):
    """The same Batch with other values, NaN among them, at padding."""
    rng = np.random.default_rng(seed)

    def spoil(x, length):
        noise = rng.integers(-5, 1_000, x.shape).astype(x.dtype)
        noise = np.where(rng.random(x.shape) < 0.5, np.nan, noise) if x.dtype.kind == "f" else noise
        return np.where(np.arange(x.shape[1])[None] < length[:, None], x, noise).astype(x.dtype)

    names = ("wave", "prompt", "context", "suffix", "ids")
    spoiled = {n: spoil(getattr(batch, n), getattr(batch, f"{n}_length")) for n in names}
    return dataclasses.replace(batch, **spoiled)


GOLDEN = pathlib.Path(__file__).parent / "golden"


def golden(name):
    """Arrays of a frozen file, and its parameters ("p/...") by name."""
    arrays = dict(np.load(GOLDEN / f"{name}.npz"))
    parameters = {k[2:]: arrays.pop(k) for k in list(arrays) if k.startswith("p/")}
    return arrays, parameters


def filled(module, parameters):
    """The module with the parameters named by "/"-joined paths; all are used, none is missing."""
    graphdef, state = nnx.split(module)
    left = dict(parameters)

    def fill(path, param):
        value = left.pop("/".join(str(key) for key in path))
        assert value.shape == param.shape, path
        return param.replace(jnp.asarray(value))

    state = nnx.map_state(fill, state)
    assert not left, sorted(left)
    return nnx.merge(graphdef, state)


def augment(**changes):
    """Perturbation settings, all off but `changes`."""
    return config.build(common.no_augment(**changes), config.Augment)
