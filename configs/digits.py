"""Spoken digits on a laptop: lm -> ctc -> sft, from real recordings, synthesised voices, or both.

    seedasr train --config=digits:train.jsonl --workdir=runs/digits  # yours, and synth:digits
    seedasr train --config=digits --workdir=runs/digits              # synth:digits alone

The manifest may carry a query: `digits:train.jsonl?without=george`. Every twentieth recording is
the development part, which alone is looked at while training. Results: docs/results.md.

Ours, not the paper's: the `ctc` stage, the CTC auxiliary loss, positions clocked by CTC onsets
(`config.model.variant.speech_positions=frames` for the paper's form), and an `lm` that is
pretrained to read slots (kind `copying_lm`).
"""

from seedasr_jax.configs import common

# Mean of a clip is under half a second; strings of up to six with pauses fit 5 s, slowed down.
BUCKETS = ((2.4, 8, 16), (5.6, 8, 8))
TEXT = ((0.0, 8, 8),)


def voices(source, key):
    """Strings and, apart from them, single digits of a source's training part."""
    where = f"{source}{'&' if '?' in source else '?'}{key}=train"
    return ((f"{where}&join=1-6", 0.7), (where, 0.3))


def unheard(source, key):
    """Strings and single digits of a source's development part."""
    where = f"{source}{'&' if '?' in source else '?'}{key}=dev"
    return (f"{where}&join=3-6&seed=0", where)


def get_config(manifest=""):
    """`manifest`: path of a JSONL manifest of single digits; empty: synthesised speech alone."""
    c = common.graph("digits", vocab=dict(path="", kind="word", size=64))
    # Telephone band: the recordings are old. Statistics of the level, not of each bin: in a single
    # digit those of a bin are those of its vowel.
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
    s.augment = common.no_augment(
        tempo=(0.87, 1.15),
        warp=(0.9, 1.1),
        speed=(0.9, 1.12),
        eq_db=5.0,
        noise=0.6,
        reverb=0.3,
    )
    s.optim = common.adamw(1.5e-3)
    s.eval = dict(tasks=dev, decode="ctc", every=1500)

    s = c.stages.sft = common.stage("sft", steps=1200)
    s.init = dict(encoder="ctc", ctc_head="ctc", converter="fresh", decoder="lm")
    s.trains = ("encoder", "ctc_head", "converter")  # the LLM stays as it is
    s.objective = dict(ctc_weight=0.3)
    s.data = common.data(train, BUCKETS, stretch=1.28)
    s.augment = c.stages.ctc.augment
    s.optim = common.adamw(5e-4)
    s.eval = dict(tasks=dev, every=0)
    return c.lock()
