"""LUISE at full size on speech alone: ssl1 -> probe -> kmeans -> ssl2 (Seed-ASR section 3.2).

    seedasr plan --config=luise_ssl:2b --topology=v5p:4x4x8
    seedasr train --config=luise_ssl:2b --workdir=runs/luise_ssl

Sizes 75m, 200m, 600m, 2b and 5b. Reads data/TAG/speech.jsonl for every tag in TAGS and, for the
probe alone, transcripts from data/TAG/paired.jsonl. Planned only, never trained.
"""

from seedasr_jax.configs import common, pods

TAGS = ("en", "zh", "ar", "es", "fr", "id", "ja", "ko", "pt")
PROBED = ((pods.SPAN / 2, 128, pods.ROWS),)


def get_config(size="2b"):
    """`size`: of the encoder."""
    c = pods.graph("luise_ssl", vocab=dict(path="", kind="bpe", size=8_000))
    c.model.encoder = common.luise(size)
    c.run.remat = "dots"
    c.model.quantizer = dict(codes=8_192, width=16, layer=0)  # the probe determines the layer

    def stage(name, steps, init, trains, optim, **objective):
        s = c.stages[name] = common.stage(name, steps)
        s.init, s.trains, s.optim = init, trains, optim
        s.objective.update(objective)
        s.data = common.data(pods.speech(TAGS, "speech"), pods.HEARD)
        return s

    hearing, unheard = ("encoder", "ssl_head"), dict(encoder="fresh", ssl_head="fresh")
    teacher = dict(teacher="ssl1:encoder", probe="probe")
    adamw = common.adamw(4e-4, warmup=10_000)
    init = unheard | dict(quantizer="fresh")
    stage("ssl1", 200_000, init, hearing, adamw, **common.best_rq())
    init = dict(encoder="ssl1", probe="fresh")
    s = stage("probe", 5_000, init, ("probe",), common.adamw(1e-3))
    s.data = common.data(pods.speech(TAGS, "paired"), PROBED)
    s.eval = dict(tasks=tuple(spec for spec, _ in pods.speech(TAGS, "dev")), decode="ctc", every=0)
    init = teacher | dict(codebook="fresh")
    s = stage("kmeans", 500, init, ("codebook",), common.kmeans())
    s.model = dict(quantizer=dict(codes=2_048))
    init = unheard | teacher | dict(codebook="kmeans")
    s = stage("ssl2", 200_000, init, hearing, adamw, **common.best_rq())
    s.model = dict(quantizer=dict(codes=2_048))
    return c.lock()
