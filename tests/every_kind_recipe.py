"""Tones through a stage of every kind, three steps of each, for runs in several processes.

seedasr train --config=tests/every_kind_recipe.py:tones.jsonl --workdir=runs/every
"""

import ssl_recipe
import tones_recipe

from seedasr_jax.configs import common

STEPS = 3


def get_config(manifest):
    """`manifest`: path of what tones.py wrote, with keywords; `speech.jsonl` beside it."""
    c = tones_recipe.get_config(manifest).unlock()
    c.imports = ("reads", "compiled_once")
    c.stages.lm.kind, c.stages.lm.objective = "lm", dict()
    c.run.update(log_every=1, save_every=2, tensorboard=False)
    c.eval.update(tokens=2)
    # 15 programs are compiled: what makes one longer and no other kind of program is left out.
    c.model.encoder.layers = 2  # of which the probe chooses one
    c.model.variant = dict(kind="paper")
    c.model.quantizer = dict(codes=32, width=8, layer=0)
    c.stages.ctc.augment = common.no_augment()
    development = (f"manifest:{manifest}?limit=9",)  # more than a batch: a process has no row of it
    c.stages.ctc.eval.update(tasks=development, every=0)
    del c.stages["sft"]
    for name, stage in ssl_recipe.get_config(manifest).stages.items():
        c.stages[name] = stage
    parts = ("encoder", "converter", "decoder")
    for name, sources, decode in (
        ("sft", ("ctc", "fresh", "lm"), "greedy"),
        ("context_sft", ("sft",) * 3, "beam2,alpha=0.5"),
        ("rl", ("context_sft",) * 3, "greedy"),
    ):
        s = c.stages[name] = common.stage(name, STEPS)
        s.init, s.trains = dict(zip(parts, sources)), ("converter",)
        s.objective, s.eval = dict(ctc_weight=0.0), dict(tasks=development, decode=decode)
        s.data, s.optim = common.copy(c.stages.ctc.data), c.stages.ctc.optim
    c.stages.sft.trains = ("encoder", "converter")
    for name in ("context_sft", "rl"):
        c.stages[name].data.contexts.update(tokens=4, plain=0.3, irrelevant=0.3, distractors=1)
    c.stages.rl.objective = dict(
        ce_weight=0.01, hypotheses=2, temperature=0.0, keyword_weight=2.0, unit="word"
    )
    for stage in c.stages.values():
        stage.steps = STEPS
        if "warmup" in stage.optim:
            stage.optim.warmup = 1
    return c.lock()
