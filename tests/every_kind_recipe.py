"""Tones through a stage of every kind, a few steps of each, for runs in several processes.

seedasr train --config=tests/every_kind_recipe.py:tones.jsonl --workdir=runs/every
"""

import ssl_recipe
import tones_recipe

from seedasr_jax.configs import common

STEPS = 4


def get_config(manifest):
    """`manifest`: path of what tones.py wrote, with keywords; `speech.jsonl` beside it."""
    c = tones_recipe.get_config(manifest).unlock()
    c.imports = ("reads",)
    c.model.quantizer = dict(codes=32, width=8, layer=0)
    for name, stage in ssl_recipe.get_config(manifest).stages.items():
        c.stages[name] = stage
    c.run.update(log_every=1, save_every=2)
    parts = ("encoder", "ctc_head", "converter", "decoder")
    for name, parent in (("context_sft", "sft"), ("rl", "context_sft")):
        s = c.stages[name] = common.copy(c.stages.sft)
        s.kind, s.init = name, dict.fromkeys(parts, parent)
        s.data.contexts = dict(tokens=4, plain=0.3, irrelevant=0.3, distractors=1)
    c.stages.rl.objective = dict(
        ce_weight=0.01, hypotheses=2, temperature=1.0, keyword_weight=2.0, unit="word"
    )
    for stage in c.stages.values():
        stage.steps = STEPS
    c.stages.ctc.eval.every = 2
    return c.lock()
