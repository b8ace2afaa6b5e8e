"""Spoken digits on a laptop: lm -> ctc -> sft, from real recordings, synthesised voices, or both.

    seedasr train --config=digits:train.jsonl --workdir=runs/digits  # yours, and synth:digits
    seedasr train --config=digits --workdir=runs/digits              # synth:digits alone

A manifest may have a query: `digits:train.jsonl?without=george`. Every twentieth recording is held
out for development and scored during training. Results: docs/results.md.

Ours, not the paper's: the `ctc` stage, the CTC auxiliary loss, positions by CTC onsets
(`config.model.variant.speech_positions=frames` for the paper's), and an `lm` that is pretrained to
read slots (kind `copying_lm`).
"""

from seedasr_jax.configs import common

# Clips last under 0.5 s on average; strings of up to six with pauses fit 5 s at the slowest tempo.
BUCKETS = ((2.4, 8, 16), (5.6, 8, 8))
TEXT = ((0.0, 8, 8),)


def voices(source, key):
    """Strings and single digits of a source's training fold, each at its rate."""
    where = f"{source}{'&' if '?' in source else '?'}{key}=train"
    return ((f"{where}&join=1-6", 0.7), (where, 0.3))


def unheard(source, key):
    """Strings and single digits of a source's development fold."""
    where = f"{source}{'&' if '?' in source else '?'}{key}=dev"
    return (f"{where}&join=3-6&seed=0", where)


def get_config(manifest=""):
    """`manifest`: path of a JSONL manifest of single digits; empty: synthesised speech alone."""
    c = common.graph("digits", vocab=dict(path="", kind="word", size=64))
    # Telephone band, as the recordings are old; normalisation by the level, as the statistics of a
    # bin in a single digit depend on its vowel.
    log_mel = common.log_mel(mels=40, high_hz=4000.0, floor=1e-3, norm="level")
    c.model.encoder = common.conformer(layers=3, width=128, frontend=log_mel)
    c.model.converter.splice = 2
    c.model.decoder = common.qwen3(3, 144, heads=4, kv_heads=2, head_dim=36, embed_scale=12.0)
    c.imports = common.SMALL
    c.model.variant = common.small(speech_positions="ctc_onsets", transcript_position=24)
    c.eval.tokens = 10
    train, dev = voices("synth:digits", "split"), unheard("synth:digits", "split")
    if manifest:
        where = f"manifest:{manifest}"
        train += voices(where, "part")
        dev = unheard(where, "part")

    s = c.stages.lm = common.stage("copying_lm", steps=1000)
    s.init = dict(decoder="fresh")
    s.trains = ("decoder",)
    s.data = common.data(train, TEXT)
    s.optim = common.adamw(2e-3)

    s = c.stages.ctc = common.stage("ctc", steps=3000)
    s.init = dict(encoder="fresh", ctc_head="fresh")
    s.trains = ("encoder", "ctc_head")
    s.data = common.data(train, BUCKETS, stretch=1.28)
    factors = dict(tempo=(0.87, 1.15), warp=(0.9, 1.1), speed=(0.9, 1.12))
    s.augment = common.no_augment(**factors, eq_db=5.0, noise=0.6, reverb=0.3)
    s.optim = common.adamw(1.5e-3)
    s.eval = dict(tasks=dev, decode="ctc", every=1500)

    s = c.stages.sft = common.stage("sft", steps=1200)
    s.init = dict(encoder="ctc", ctc_head="ctc", converter="fresh", decoder="lm")
    s.trains = ("encoder", "ctc_head", "converter")  # the LLM is frozen
    s.objective = dict(ctc_weight=0.3)
    s.data = common.data(train, BUCKETS, stretch=1.28)
    s.augment = c.stages.ctc.augment
    s.optim = common.adamw(5e-4)
    s.eval = dict(tasks=dev, every=0)
    return c.lock()
