"""Default values of all recipes and published sizes of models, which recipes copy and change."""

from ml_collections import ConfigDict

from seedasr_jax.errors import ConfigError, nearest

# LUISE: (layers, width). The paper gives totals only; these are our choice (Seed-ASR section 3.6.1;
# BEST-RQ and USM shapes). A layer has 24 * width^2 parameters.
LUISE = {
    "75m": (12, 512),
    "200m": (14, 768),
    "600m": (24, 1024),
    "2b": (32, 1536),
    "5b": (32, 2560),
}


def pick(table, name):
    """The entry of a recipe's argument; a ConfigError with the known names if there is none."""
    if name not in table:
        known = ", ".join(table)
        raise ConfigError(f"expected one of {known}, found {name!r}.{nearest(name, table)}")
    return table[name]


def log_mel(**changes):
    """Log-mel, 100 frames per second."""
    mels = dict(mels=80, low_hz=20.0, high_hz=7600.0, floor=1e-5, norm="bin")
    return dict(kind="log_mel") | mels | changes


def luise(size):
    """The encoder of a size of LUISE: 40 ms per frame."""
    layers, width = pick(LUISE, size)
    return dict(
        kind="luise",
        frontend=log_mel(),
        front="conv",
        channels=256,
        subsampling=4,
        layers=layers,
        width=width,
        heads=width // 64,
        ffn_dim=4 * width,
        kernel=31,
        causal=False,
        clip=0,
        bias=True,
        dropout=0.0,
    )


def conformer(layers, width, **changes):
    """A small encoder: 80 ms per frame from one linear layer over stacked frames."""
    small = dict(front="stack", subsampling=8, heads=4, kernel=11)
    return luise("75m") | dict(layers=layers, width=width, ffn_dim=4 * width) | small | changes


def qwen3(layers, width, **changes):
    """A decoder of Qwen3 shape (arXiv 2505.09388): query and key norms, no biases."""
    return dict(
        kind="transformer",
        layers=layers,
        width=width,
        heads=width // 32,
        kv_heads=width // 32,
        head_dim=32,
        ffn_dim=4 * width,
        moe=dict(experts=0, active=0, balance=0.0, z=0.0),
        vocabulary=0,
        qk_norm=True,
        tied=True,
        rope_theta=1e6,
        rope_scaling=dict(kind="none"),
        norm_eps=1e-6,
        embed_scale=1.0,
    ) | dict(changes)


def qwen3_8b():
    """Qwen3-8B as published (its config.json)."""
    published = dict(heads=32, kv_heads=8, head_dim=128, vocabulary=151_936, tied=False)
    return qwen3(36, 4096, ffn_dim=12_288, **published)


def qwen3_30b_a3b():
    """Qwen3-30B-A3B as published (its config.json): 128 experts, 8 per token.

    The router's losses have the weights of Switch Transformers and ST-MoE (arXiv 2101.03961,
    2202.08906).
    """
    published = dict(heads=32, kv_heads=4, head_dim=128, vocabulary=151_936, tied=False)
    moe = dict(experts=128, active=8, balance=0.01, z=0.001)
    return qwen3(48, 2048, ffn_dim=768, moe=moe, **published)


# Qwen3-ASR as published: encoder (layers, width, heads), decoder (width, hidden width of a layer).
# Sources: github.com/antirez/qwen-asr, MODEL.md; transformers, configuration_qwen3_asr.py.
QWEN3_ASR = {
    "0.6b": ((18, 896, 14), (1024, 3072)),
    "1.7b": ((24, 1024, 16), (2048, 6144)),
}


def qwen3_asr(size):
    """The model of a size of Qwen3-ASR: AuT, two-layer converter, Qwen3 decoder, its prompt."""
    (layers, width, heads), (embed, ffn_dim) = pick(QWEN3_ASR, size)
    encoder = dict(
        kind="aut",
        frontend=dict(kind="whisper_mel", mels=128, least=8_000),
        layers=layers,
        width=width,
        channels=480,
        heads=heads,
        ffn_dim=4 * width,
        chunk=100,
        window=8,
    )
    published = dict(heads=16, kv_heads=8, head_dim=128, vocabulary=151_936)
    return dict(
        encoder=encoder,
        converter=dict(kind="mlp", splice=1, hidden=width, activation="gelu"),
        decoder=qwen3(28, embed, ffn_dim=ffn_dim, **published),
        prompt=chat_prompt(),
    )


def chat_prompt():
    """Prompt and answer of Qwen3-ASR, as its chat template renders them."""
    system, user = "<|im_start|>system\n{}<|im_end|>\n", "<|im_start|>user\n"
    asked = f"{user}<|audio_start|>{{speech}}<|audio_end|><|im_end|>\n<|im_start|>assistant\n"
    return dict(
        plain=(system.format("") + asked,),
        context=(system.format("{context}") + asked,),
        answer="language {language}<asr_text>{text}",
        ends=("<|im_end|>", "<|endoftext|>"),
    )


def prompt(**changes):
    """Instruction (Seed-ASR, figure 2), context if there is one, speech."""
    informed = "There are relevant contexts, transcribe the speech into text:"
    return dict(
        plain=("Transcribe the speech into text:", "{speech}"),
        context=(informed, "{context}", "{speech}"),
        answer="{text}",
        ends=(),
    ) | dict(changes)


SMALL = ("seedasr_jax.small",)  # `imports` of recipes with our devices for small models


def small(**changes):
    """The recogniser's variant with our devices for small decoders, all disabled; see SMALL."""
    return dict(
        kind="small",
        speech_positions="frames",
        speech_position=0,
        transcript_position=0,
        converter_input="frames",
        mix=False,
        flag=False,
        spelled=False,
        phones=0,
        labels=1,
    ) | dict(changes)


def adamw(lr, **changes):
    """AdamW, warm-up, cosine to 5 %."""
    return dict(
        name="adamw",
        lr=lr,
        warmup=50,
        decay="cosine",
        final=0.05,
        b1=0.9,
        b2=0.98,
        eps=1e-8,
        weight_decay=0.01,
        clip=1.0,
        rates=dict(),
    ) | dict(changes)


def adafactor(lr, **changes):
    """Adafactor without momentum, with the constants of arXiv 1804.04235; otherwise as `adamw`."""
    common = {key: value for key, value in adamw(lr).items() if key not in ("b1", "b2")}
    return common | dict(name="adafactor", momentum=0.0, decay_rate=0.8, eps=1e-30) | changes


def best_rq(**changes):
    """Masking of an SSL stage as in BEST-RQ (arXiv 2202.01855); Seed-ASR does not state its own."""
    return dict(start=0.01, span=40, noise=0.1) | changes


def kmeans(keep=0.99):
    """The fit of k-means: sums over frames, decayed by `keep` per step."""
    return dict(name="kmeans", keep=keep)


def no_augment(**changes):
    """Every perturbation disabled."""
    return dict(
        tempo=(1.0, 1.0),
        warp=(1.0, 1.0),
        speed=(1.0, 1.0),
        eq_db=0.0,
        noise=0.0,
        noise_snr_db=(5.0, 30.0),
        reverb=0.0,
        reverb_seconds=(0.1, 0.6),
        frequency_masks=0,
        frequency_width=27,
        time_masks=0,
        time_fraction=0.05,
    ) | dict(changes)


def graph(name, **changes):
    """A graph without stages, with the defaults of all stages."""
    c = ConfigDict(sort_keys=False)
    c.name = name
    c.imports = ()
    c.scale_steps = 1.0
    c.seed = 0
    c.mesh = dict(data=1, fsdp=-1, tensor=1, expert=1)
    c.vocab = dict(path="", kind="bpe", size=1000)
    c.model = dict(
        encoder=luise("75m"),
        quantizer=dict(codes=8192, width=16, layer=0),
        converter=dict(kind="linear", splice=4),
        decoder=qwen3(12, 512),
        lora=dict(rank=0, alpha=16.0),
        prompt=prompt(),
        variant=dict(kind="paper"),
        dtype="float32",
    )
    c.augment = no_augment()
    c.run = dict(accum=1, remat="none", tensorboard=True, cache="")
    c.run.update(log_every=50, save_every=500, keep=2)
    c.eval = dict(tasks=(), buckets=(), every=0, decode="greedy", tokens=64)
    c.eval.update(normalizer="basic@2", unit="mixed")
    c.stages = ConfigDict(sort_keys=False)
    c.update(changes)
    return c


def data(mixture, buckets, **changes):
    """A stage's data; `mixture` is ((SPEC, rate), ...)."""
    return dict(
        mixture=mixture,
        buckets=buckets,
        stretch=1.0,
        min_seconds=0.1,
        max_bad_fraction=0.01,
        normalizer="basic@2",
        contexts=dict(tokens=0, plain=1.0, irrelevant=0.0, distractors=0, kinds=dict()),
        cache_gib=1.0,
    ) | dict(changes)


def stage(kind, steps):
    """A stage to which the recipe adds init, trains, data and optim."""
    options = dict(tail=0, sustained=False) if kind == "copying_lm" else {}
    return ConfigDict(dict(kind=kind, steps=steps, objective=options), sort_keys=False)


def copy(group):
    """A copy of a stage (or any group of keys) to change."""
    return ConfigDict(group.to_dict(), sort_keys=False)
