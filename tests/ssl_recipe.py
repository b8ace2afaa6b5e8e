"""Tones without their text: ssl1 -> probe -> kmeans -> ssl2 of a tiny encoder, for tests.

seedasr train --config=tests/ssl_recipe.py:tones.jsonl --workdir=runs/ssl
"""

import pathlib

import tones_recipe

from seedasr_jax.configs import common


def get_config(manifest):
    """`manifest`: path of what tones.py wrote; beside it `speech.jsonl`, the same without text."""
    c = tones_recipe.get_config(manifest).unlock()
    mixture = f"manifest:{manifest}"
    speech = f"manifest:{pathlib.Path(manifest).with_name('speech.jsonl')}"
    c.imports = ()
    del c.stages["lm"], c.stages["sft"], c.stages["ctc"]
    c.model.quantizer = dict(codes=32, width=8, layer=0)  # the layer is the probe's to say
    c.model.variant = dict(kind="paper")
    c.run.log_every = 5
    c.model.encoder.layers = 2  # of which the probe chooses one

    def stage(name, steps, init, trains, optim, **objective):
        s = c.stages[name] = common.stage(name, steps)
        s.init, s.trains, s.optim, s.objective = init, trains, optim, objective
        s.data = common.data(((speech, 1.0),), ((0.8, 0, 8),))
        return s

    both, hide = ("encoder", "ssl_head"), common.best_rq(start=0.03, span=12)
    fresh = dict(encoder="fresh", ssl_head="fresh")
    adamw = common.adamw(5e-3, warmup=5)
    stage("ssl1", 15, fresh | dict(quantizer="fresh"), both, adamw, **hide)
    s = stage("probe", 15, dict(encoder="ssl1", probe="fresh"), ("probe",), adamw)
    s.data = common.data(((mixture, 1.0),), ((0.8, 4, 8),))
    s.eval = dict(tasks=(f"{mixture}?limit=8",), decode="ctc", every=0)
    teacher = dict(teacher="ssl1:encoder", probe="probe")
    fit = common.kmeans(keep=0.8)
    stage("kmeans", 10, teacher | dict(codebook="fresh"), ("codebook",), fit)
    stage("ssl2", 10, fresh | teacher | dict(codebook="kmeans"), both, adamw, **hide)
    return c.lock()
