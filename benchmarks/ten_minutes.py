"""Ten labelled minutes and five hours without text: ssl1 -> probe -> kmeans -> ssl2, then ctc.

    seedasr train --config=benchmarks/ten_minutes.py --workdir=runs/ten-minutes

The recipe of `make study-ssl`, which measures the benefit of self-supervision for CTC: the same
`ctc` stage, on ten minutes of English, starts from a fresh encoder, ssl1's, and ssl2's.
"""

from seedasr_jax.configs import common

SPEECH = "synth:commands?split=train"
LABELLED = "synth:commands?split=train&language=en&minutes=10"
DEV, TEST = (f"synth:commands?split={split}&language=en" for split in ("dev", "test"))
ARMS = {"ctc_scratch": "fresh", "ctc_ssl1": "ssl1", "ctc_ssl2": "ssl2"}


def get_config():
    """The graph: ssl1 -> probe -> kmeans -> ssl2 without text, and CTC from three encoders."""
    c = common.graph("study-ssl", vocab=dict(path="", kind="word", size=400))
    c.model.encoder = common.conformer(layers=4, width=144, ffn_dim=144, clip=24)
    c.model.encoder.frontend.update(floor=1e-3)
    c.model.quantizer = dict(codes=64, width=16, layer=0)  # 0: the probe's best layer
    c.imports = common.SMALL
    c.model.variant = common.small(labels=4)  # of 20 ms
    c.run.save_every = 250

    def stage(name, kind, steps, init, trains, optim, **objective):
        s = c.stages[name] = common.stage(kind, steps)
        s.init, s.trains, s.optim = init, trains, optim
        s.objective.update(objective)
        s.data = common.data(((SPEECH, 1.0),), ((2.2, 0, 16), (5.6, 0, 8)))
        return s

    def labelled(s):
        s.data = common.data(((LABELLED, 1.0),), ((2.2, 20, 8), (5.6, 48, 5)), stretch=1.0)
        s.eval = dict(tasks=(DEV,), decode="ctc", every=0, unit="word")

    masks, trained = common.best_rq(start=0.06, span=8), ("encoder", "ssl_head")
    fresh = dict(encoder="fresh", ssl_head="fresh")
    teacher = dict(teacher="ssl1:encoder", probe="probe")
    adamw = common.adamw(4e-3, warmup=200)
    stage("ssl1", "ssl1", 10_000, fresh | dict(quantizer="fresh"), trained, adamw, **masks)
    init = dict(encoder="ssl1", probe="fresh")
    labelled(stage("probe", "probe", 400, init, ("probe",), common.adamw(5e-3)))
    init = teacher | dict(codebook="fresh")
    stage("kmeans", "kmeans", 150, init, ("codebook",), common.kmeans())
    init = fresh | teacher | dict(codebook="kmeans")
    s = stage("ssl2", "ssl2", 10_000, init, trained, adamw, **masks)
    s.model = dict(variant=dict(labels=1))
    for name, start in ARMS.items():
        init = dict(encoder=start, ctc_head="fresh")
        s = stage(name, "ctc", 1500, init, tuple(init), common.adamw(2e-3, warmup=100))
        labelled(s)
        s.data.stretch = 1.12
        s.augment = common.no_augment(
            tempo=(0.9, 1.1),
            warp=(0.9, 1.1),
            frequency_masks=2,
            frequency_width=12,
            time_masks=2,
            time_fraction=0.1,
        )
    return c.lock()
