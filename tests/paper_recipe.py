"""Tones through a stage of every kind, in the paper's form at the size of a test: no small device.

seedasr train --config=tests/paper_recipe.py:tones.jsonl --workdir=runs/paper

Strided convolutions, splice 4, a decoder with experts, an untied head and adapters, Adafactor.
"""

import ssl_recipe
import tones_recipe

from seedasr_jax.configs import common

STEPS = 24


def get_config(manifest):
    """`manifest`: path of what tones.py wrote, with keywords; `speech.jsonl` beside it."""
    c = tones_recipe.get_config(manifest).unlock()
    c.name, c.imports = "paper", ()
    c.run.update(log_every=1, save_every=100, tensorboard=False)
    c.eval.update(tokens=4)
    shape = dict(heads=2, kernel=5, subsampling=4, front="conv", channels=4, bias=True)
    frontend = c.model.encoder.frontend
    c.model.encoder = common.conformer(2, 32, **shape) | dict(frontend=frontend)
    c.model.converter.splice = 4
    experts = dict(experts=4, active=2, balance=0.01, z=0.001)
    decoder = dict(heads=4, kv_heads=2, head_dim=16, moe=experts, tied=False)
    c.model.decoder = common.qwen3(2, 32, **decoder)
    c.model.variant = dict(kind="paper")
    c.model.quantizer = dict(codes=32, width=8, layer=0)  # the layer is the probe's to say
    for name, stage in ssl_recipe.get_config(manifest).stages.items():
        c.stages[name] = stage
    c.stages.lm.kind, c.stages.lm.objective = "lm", dict()
    c.stages.ctc.augment = common.no_augment(frequency_masks=2, frequency_width=3, time_masks=2)
    development = (f"manifest:{manifest}?limit=8",)
    c.stages.ctc.eval.update(tasks=development, every=0)
    adafactor, decay = common.adafactor(5e-3, warmup=4), dict(encoder=0.5)
    parts = ("encoder", "converter", "decoder")
    for kind, sources, decode in (
        ("sft", ("ctc", "fresh", "lm"), "greedy"),
        ("context_sft", ("sft",) * 3, "beam2,alpha=0.5"),
        ("rl", ("context_sft",) * 3, "greedy"),
    ):
        s = c.stages[kind] = common.stage(kind, STEPS)
        s.init, s.trains = dict(zip(parts, sources)), ("encoder", "converter", "lora")
        s.init["lora"] = "fresh" if kind == "sft" else sources[0]
        s.objective, s.eval = dict(ctc_weight=0.0), dict(tasks=development, decode=decode)
        s.data, s.augment = common.copy(c.stages.ctc.data), c.stages.ctc.augment
        s.optim, s.model = adafactor | dict(rates=decay), dict(lora=dict(rank=4))
    for kind in ("context_sft", "rl"):
        c.stages[kind].data.contexts.update(tokens=4, plain=0.3, irrelevant=0.3, distractors=1)
    c.stages.rl.objective = dict(
        ce_weight=0.01, hypotheses=2, temperature=1.0, keyword_weight=2.0, unit="word"
    )
    for stage in c.stages.values():
        stage.steps = STEPS
        if "warmup" in stage.optim:  # the fit of k-means has none
            stage.optim.warmup = min(stage.optim.warmup, 4)
    return c.lock()
