"""Tones as words: lm -> ctc -> sft of a tiny model, for tests.

seedasr train --config=tests/tones_recipe.py:tones.jsonl --workdir=runs/tones
"""

from seedasr_jax.configs import common


def get_config(manifest):
    """`manifest`: path of what tones.py wrote."""
    c = common.graph("tones", vocab=dict(path="", kind="word", size=40))
    c.imports = common.SMALL
    c.mesh = dict(data=-1, fsdp=1, tensor=1, expert=1)
    c.model.encoder = common.conformer(1, 32, heads=2, kernel=3, subsampling=4, bias=False)
    c.model.encoder.frontend.update(mels=16, high_hz=4000.0, floor=1e-3)
    c.model.converter.splice = 2
    c.model.decoder = common.qwen3(1, 32, heads=2, kv_heads=1, head_dim=16, embed_scale=5.6)
    c.model.variant = common.small(speech_positions="ctc_onsets", transcript_position=16)
    c.run.update(log_every=4, save_every=3)
    c.eval.tokens = 6
    mixture = ((f"manifest:{manifest}", 1.0),)

    def data(seconds):
        return common.data(mixture, ((seconds, 4, 8),), max_bad_fraction=0.1)

    s = c.stages.lm = common.stage("copying_lm", steps=12)
    s.init = dict(decoder="fresh")
    s.trains = ("decoder",)
    s.data = data(0.0)
    s.optim = common.adamw(6e-3, warmup=5)

    s = c.stages.ctc = common.stage("ctc", steps=12)
    s.init = dict(encoder="fresh", ctc_head="fresh")
    s.trains = ("encoder", "ctc_head")
    s.data = data(0.8)
    s.augment = common.no_augment(time_masks=1)
    s.optim = common.adamw(5e-3, warmup=5)
    s.eval = dict(tasks=(f"manifest:{manifest}?limit=8",), decode="ctc", every=6)

    s = c.stages.sft = common.stage("sft", steps=12)
    s.init = dict(encoder="ctc", ctc_head="ctc", converter="fresh", decoder="lm")
    s.trains = ("encoder", "ctc_head", "converter")
    s.objective = dict(ctc_weight=0.3)
    s.data = data(0.8)
    s.augment = c.stages.ctc.augment
    s.optim = common.adamw(6e-3, warmup=5)
    return c.lock()
