"""Tones to a small imported Qwen3-ASR, through the stages of the shipped recipe.

seedasr train --config=tests/qwen3_asr_recipe.py:tones.jsonl,BUNDLE --workdir=runs/tuned
"""

import json
import pathlib

from seedasr_jax.configs import common, qwen3_asr


def get_config(argument):
    """`argument`: MANIFEST,BUNDLE or MANIFEST,BUNDLE,lora."""
    manifest, bundle, *adapters = argument.split(",")
    recipe = json.loads(pathlib.Path(bundle, "config.json").read_text())["recipe"]
    c = common.graph("tuned", vocab=dict(path=bundle, kind="bpe", size=400))
    model = {name: recipe["model"][name] for name in ("encoder", "converter", "decoder", "prompt")}
    model["prompt"] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in model["prompt"].items()
    }
    c = qwen3_asr.tuned(c, model, bool(adapters)).unlock()
    c.run.update(log_every=1, save_every=100, tensorboard=False)
    for stage in c.stages.values():
        stage.steps, stage.optim.warmup, stage.optim.lr = 3, 1, 1e-3
        stage.data.mixture = ((f"manifest:{manifest}?language=en&context=own", 1.0),)
        stage.data.buckets = ((0.8, 40, 4),)
        stage.data.contexts.update(tokens=16, distractors=1)
        stage.eval = dict(tasks=(f"manifest:{manifest}?language=en&limit=4",), tokens=24, every=0)
    c.stages.rl.objective.hypotheses = 2
    return c.lock()
