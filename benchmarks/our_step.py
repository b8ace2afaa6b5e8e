"""Our side of train_step.py: the training step of stage `sft`, on one synthetic batch.

python -m our_step bench speech
"""

import dataclasses
import importlib.metadata
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import sizes
import turns

from seedasr_jax import batch as batches
from seedasr_jax import config, flops
from seedasr_jax.configs import common
from seedasr_jax.launch import memory, runtime
from seedasr_jax.models.acllm import Tokens
from seedasr_jax.parallel import sharding
from seedasr_jax.train import build

# Dense bfloat16 FLOP/s from NVIDIA's data sheets; for other devices the rate is measured.
PEAKS = {"A100": 312e12, "H100": 989.4e12, "H200": 989.4e12}
TOKENS = Tokens(pad=0, start=1, eos=2)
FIRST = 3  # lowest id of a word
PRODUCTS = 10  # matrix products, the fastest of which gives the measured rate


def stage(size: sizes.Size, trains: tuple[str, ...]) -> config.Stage:
    """The expanded stage."""
    c = common.graph("train_step")
    c.model.encoder = common.luise("75m") | size.encoder
    c.model.encoder.frontend.mels = size.mels
    c.model.converter.splice = size.splice
    c.model.decoder = common.qwen3(1, 32) | size.decoder
    c.model.dtype, c.run.remat = size.dtype, size.remat
    s = c.stages.sft = common.stage("sft", steps=1000)
    s.init = dict.fromkeys(("encoder", "converter", "decoder"), "fresh")
    s.trains, s.objective.ctc_weight = trains, 0.0
    b1, b2 = sizes.BETAS
    s.optim = common.adamw(
        sizes.LR,
        warmup=0,
        decay="constant",
        b1=b1,
        b2=b2,
        eps=sizes.EPSILON,
        weight_decay=sizes.WEIGHT_DECAY,
        clip=sizes.CLIP,
    )
    bucket = (size.seconds, size.tokens, size.rows)
    s.data = common.data((("manifest:none.jsonl", 1.0),), (bucket,))
    return config.expand(c).stages["sft"]


def made_up(size: sizes.Size) -> batches.Batch:
    """A batch of noise and random words, without padding."""
    rng = np.random.default_rng(0)
    samples, rows = round(size.seconds * sizes.RATE), size.rows
    empty = batches.zeros(rows, samples, 0, 0, size.tokens)
    words = rng.integers(FIRST, size.decoder["vocabulary"], empty.ids.shape)
    return dataclasses.replace(
        empty,
        wave=rng.normal(0, 0.1, empty.wave.shape).astype(np.float32),
        wave_length=np.full(rows, samples, np.int32),
        ids=words.astype(np.int32),
        ids_length=np.full(rows, size.tokens, np.int32),
        weight=np.ones(rows, np.float32),
    )


def peak(dtype: str) -> tuple[float, str]:
    """Peak FLOP/s of matrix products, and the source of the figure: "vendor" or "measured"."""
    kind = jax.devices()[0].device_kind
    for name, rate in PEAKS.items():
        if name in kind and dtype == "bfloat16":
            return rate, "vendor"
    width = 2048
    x = jnp.ones((width, width), dtype)
    product = jax.jit(jnp.matmul)
    product(x, x).block_until_ready()
    seconds = []
    for _ in range(PRODUCTS):
        begin = time.perf_counter()
        product(x, x).block_until_ready()
        seconds.append(time.perf_counter() - begin)
    return 2 * width**3 / min(seconds), "measured"


def prepare(size: sizes.Size, trains: tuple[str, ...]):
    """The facts and the step that turns.serve expects."""
    one, vocabulary = stage(size, trains), size.decoder["vocabulary"]
    built = build.build(one, TOKENS, vocabulary, devices=jax.devices()[:1])
    step, state = built.train_step(), built.fresh()
    batch = jax.device_put(made_up(size), sharding.of_batch(built.mesh))
    full = flops.Sizes(size.rows, round(size.seconds * 16_000), 0, 0, size.tokens)
    rate, source = peak(size.dtype)

    def take():
        nonlocal state
        state, terms = step(state, batch)
        jax.block_until_ready(state.params)
        return float(terms["loss"])

    trees = built.abstract.params, built.abstract.frozen
    train, frozen = (sum(x.size for x in jax.tree.leaves(tree)) for tree in trees)
    return {
        "parameters": train + frozen,
        "trained": train,
        "device": jax.devices()[0].device_kind,
        "flops": sum(flops.train(one, vocabulary, built.needs.parts, full).values()),
        "peak_flops": rate,
        "peak_from": source,
        "versions": {name: importlib.metadata.version(name) for name in ("jax", "flax", "optax")},
    }, take


def device_gib() -> float:
    """Peak memory of the accelerator, 0 for none."""
    stats = jax.devices()[0].memory_stats() or {}
    return stats.get("peak_bytes_in_use", 0) / 2**30


def main():
    """Serves steps, with the settings of `seedasr train`."""
    memory.keep()
    runtime.compute_here()
    size = sizes.SIZES[sys.argv[1]]
    if size.threads:
        turns.keep_cores(size.threads)
        jax.config.update("jax_platforms", "cpu")
    turns.serve(lambda: prepare(size, sizes.TRAINS[sys.argv[2]]), device_gib)


if __name__ == "__main__":
    main()
