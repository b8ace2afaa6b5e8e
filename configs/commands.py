"""Every stage of Seed-ASR on a laptop: commands in five languages, spoken on the spot.

    seedasr train --config=commands --workdir=runs/commands
    seedasr train --config=commands:none --workdir=runs/unlabelled  # no clock: transcripts alone
    seedasr train --config=commands:plain_lm --workdir=runs/plain_lm  # no lists before context_sft

ssl1 -> probe -> kmeans -> ssl2, whose encoder no later stage uses (only the probe reads
transcripts); ctc and lm, from scratch; then sft -> context_sft -> rl. Settings were chosen on
`dev`, which has voices and sentences of its own; see docs/results.md.

Ours, not the paper's: the `ctc` stage, phone and token labels from the synthesiser's timing
(kind `clocked_ctc`), lists that `lm` copies from (kind `copying_lm`), several labels per frame in
`ssl1` (kind `dense_ssl1`), the CTC auxiliary loss, and the options of `model.variant`.
"""

from seedasr_jax.configs import common

TRAIN = (("synth:commands?split=train", 1.0),)
DEV = ("synth:commands?split=dev",)
BUCKETS = ((2.2, 20, 8), (3.0, 20, 6), (5.6, 20, 4))
TEXT = ((0.0, 12, 8), (0.0, 20, 8))
FEW = ((5.6, 20, 6),)  # for few steps: compiling a shape takes as long as 200 of them
SPEECH = ((5.6, 0, 6),)
LISTED = 36  # tokens of a list of names
JOINT = "beam4,alpha=6,prune=off"  # pruning without the list would exclude unseen names

ARMS = {  # labels of the frames of `ctc`, and whether `lm` trains on lists of names
    "clock": ("clock", True),
    "none": ("none", True),
    "plain_lm": ("clock", False),
}


def get_config(arm="clock"):
    """`arm`: one of ARMS."""
    labels, listed = common.pick(ARMS, arm)
    clocked = labels == "clock"
    tokenizer = dict(path="", kind="bpe", size=1800)
    c = common.graph("commands", imports=common.SMALL, vocab=tokenizer)
    local = dict(kind="local_luise", attending=1)
    c.model.encoder = common.conformer(4, 144, ffn_dim=144, clip=24, **local)
    c.model.encoder.frontend.update(floor=1e-3)
    c.model.quantizer = dict(codes=64, width=16, layer=0)  # the probe determines the layer
    c.model.converter = dict(kind="mean", splice=1)
    heads = dict(heads=4, kv_heads=2, head_dim=36)
    c.model.decoder = common.qwen3(4, 144, ffn_dim=192, embed_scale=12.0, **heads)
    c.model.decoder.qk_norm = False  # copying from lists is learned sooner
    c.model.variant = common.small(
        speech_positions="ctc_onsets",
        speech_position=64,
        transcript_position=90,
        converter_input="ctc_posteriors",
        mix=True,
        flag=True,
        spelled=True,
        phones=512,
        labels=4,
    )
    c.eval.tokens = 32

    def stage(name, steps, init, trains, optim, buckets=FEW, kind="", **objective):
        s = c.stages[name] = common.stage(kind or name, steps)
        s.init, s.trains, s.optim = init, trains, optim
        s.objective.update(objective)
        s.data = common.data(TRAIN, buckets)
        if steps <= 400:
            s.run = dict(log_every=10)
        return s

    hide, hearing = common.best_rq(start=0.06, span=8), ("encoder", "ssl_head")
    unheard = dict(encoder="fresh", ssl_head="fresh")
    teacher = dict(teacher="ssl1:encoder", probe="probe")
    adamw = common.adamw(4e-3, warmup=100)
    init = unheard | dict(quantizer="fresh")
    s = stage("ssl1", 400, init, hearing, adamw, SPEECH, "dense_ssl1", **hide)
    s = stage("probe", 300, dict(encoder="ssl1", probe="fresh"), ("probe",), common.adamw(5e-3))
    s.eval = dict(tasks=DEV, decode="ctc", every=0)
    init = teacher | dict(codebook="fresh")
    s = stage("kmeans", 150, init, ("codebook",), common.kmeans(), SPEECH)
    init = unheard | teacher | dict(codebook="kmeans")
    s = stage("ssl2", 400, init, hearing, adamw, SPEECH, **hide)
    s.model = dict(variant=dict(labels=1))

    trains = ("encoder", "ctc_head") + ("phone_head",) * clocked
    init = dict.fromkeys(trains, "fresh")
    kind, adamw = "clocked_ctc" if clocked else "ctc", common.adamw(5e-3, warmup=200)
    s = stage("ctc", 11000, init, trains, adamw, BUCKETS, kind)
    s.data.stretch = 1.15
    factors = dict(tempo=(0.87, 1.15), warp=(0.8, 1.25))
    s.augment = common.no_augment(**factors, eq_db=6.0, frequency_masks=1)
    s.eval = dict(tasks=DEV, decode="ctc", every=2750)

    init, adamw = dict(decoder="fresh"), common.adamw(1.3e-3)
    s = stage("lm", 8500, init, ("decoder",), adamw, TEXT, "copying_lm", tail=6, sustained=clocked)
    if listed:
        s.data.contexts.update(tokens=LISTED, plain=0.15, irrelevant=0.25, distractors=4)

    trains, adamw = ("encoder", "ctc_head", "converter"), common.adamw(5e-5)
    init = dict(encoder="ctc", ctc_head="ctc", converter="fresh", decoder="lm")
    s = stage("sft", 300, init, trains, adamw, ctc_weight=0.3)
    s.data.stretch, s.augment = 1.15, c.stages.ctc.augment
    s.eval = dict(tasks=DEV, decode=JOINT, every=0)
    init = dict.fromkeys(("encoder", "ctc_head", "converter", "decoder"), "sft")
    s = stage("context_sft", 300, init, trains, adamw, ctc_weight=0.3)
    s.data.stretch, s.augment = 1.15, c.stages.ctc.augment
    s.data.contexts.update(tokens=LISTED, plain=0.4, irrelevant=0.25, distractors=3)
    s.eval = dict(decode=JOINT)
    init = dict.fromkeys(init, "context_sft")
    s = stage("rl", 100, init, trains, common.adamw(1e-4))
    s.objective = dict(ce_weight=0.01, hypotheses=4, temperature=0.0)
    s.objective.update(keyword_weight=2.0, unit="mixed")
    s.data.contexts.update(tokens=LISTED, plain=0.5, irrelevant=0.2, distractors=3)
    s.eval = dict(decode=JOINT)
    return c.lock()
