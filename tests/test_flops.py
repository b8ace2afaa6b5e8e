"""Analytic FLOPs against what XLA counts of the real step, its two layers unrolled.

Of the step as it is lowered: nothing is compiled.
"""

import dataclasses

import jax
import pytest

from seedasr_jax import batch as batches
from seedasr_jax import config, flops
from seedasr_jax.configs import common
from seedasr_jax.models import layers
from seedasr_jax.models.acllm import Tokens
from seedasr_jax.train import build

SECONDS, ROWS, VOCABULARY = 10.24, 4, 1_024

STAGES = {
    "ssl1": ("encoder", "ssl_head", "quantizer"),
    "ssl2": ("encoder", "ssl_head", "teacher", "codebook"),
    "probe": ("encoder", "probe"),
    "kmeans": ("teacher", "codebook"),
    "ctc": ("encoder", "ctc_head"),
    "lm": ("decoder",),
    "sft": ("encoder", "converter", "decoder"),
    "rl": ("encoder", "converter", "decoder"),
}
TRAINS = {
    "ssl1": ("encoder", "ssl_head"),
    "ssl2": ("encoder", "ssl_head"),
    "probe": ("probe",),
    "kmeans": ("codebook",),
    "ctc": ("encoder", "ctc_head"),
    "lm": ("decoder",),
    "sft": ("encoder", "converter"),
    "rl": ("encoder", "converter", "decoder"),
}
OBJECTIVE = {
    "ssl1": common.best_rq(),
    "ssl2": common.best_rq(),
    "sft": dict(ctc_weight=0.0),
    "rl": dict(ce_weight=0.01, hypotheses=2, temperature=1.0, keyword_weight=1.0, unit="word"),
}


def tokens(kind):
    """Many where a decoder must outweigh its optimiser, few where CTC has one-hot labels."""
    return 128 if "decoder" in STAGES[kind] else 32


def a_stage(kind):
    c = common.graph("counted")
    c.model.encoder = common.luise("75m") | dict(layers=2, width=512, heads=8, ffn_dim=2_048)
    c.model.encoder.update(front="stack", subsampling=4)
    c.model.decoder = common.qwen3(2, 512, heads=8, kv_heads=4, head_dim=64, ffn_dim=1_536)
    c.model.quantizer = dict(codes=1_024, width=16, layer=2)
    s = c.stages.only = common.stage(kind, 100)
    s.objective.update(OBJECTIVE.get(kind, {}))
    s.init, s.trains = dict.fromkeys(STAGES[kind], "fresh"), TRAINS[kind]
    s.optim = common.kmeans() if kind == "kmeans" else common.adamw(1e-3)
    seconds = 0 if kind == "lm" else SECONDS
    s.data = common.data((("synth:commands", 1.0),), ((seconds, tokens(kind), ROWS),))
    return config.expand(c).stages["only"]


@pytest.mark.parametrize("kind", STAGES)
def test_a_step_is_what_xla_counts(kind, monkeypatch):
    monkeypatch.setattr(layers, "UNROLLED", 2)  # XLA counts the body of a loop once
    stage = a_stage(kind)
    built = build.build(stage, Tokens(0, 1, 2), VOCABULARY, devices=jax.devices()[:1])
    hypotheses = OBJECTIVE["rl"]["hypotheses"] if kind == "rl" else 0
    samples = 0 if kind == "lm" else round(SECONDS * 16_000)
    prompt = 16 if kind in ("sft", "rl") else 0
    extra = built.needs.extra and built.needs.extra(ROWS, (SECONDS, tokens(kind), ROWS))
    batch = batches.abstract(ROWS, samples, prompt, 0, tokens(kind), extra=extra)
    counted = built.train_step().lower(built.abstract, batch).cost_analysis()["flops"]
    sizes = flops.Sizes(ROWS, samples, prompt, 0, tokens(kind), hypotheses)
    of = flops.train(stage, VOCABULARY, STAGES[kind], sizes)
    assert sorted(of) == sorted(STAGES[kind])
    assert sum(of.values()) == pytest.approx(counted, rel=0.05), of


def test_adapters_cost_no_gradient_of_the_weights_that_they_stand_beside():
    base, sizes = a_stage("sft"), flops.Sizes(ROWS, 163_840, 16, 0, 128)
    adapted = dataclasses.replace(base, trains=(*base.trains, "lora"))
    frozen, lora = (
        flops.train(stage, VOCABULARY, STAGES["sft"], sizes) for stage in (base, adapted)
    )
    assert lora == frozen
