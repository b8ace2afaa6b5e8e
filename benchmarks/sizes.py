"""Sizes of the training step that benchmarks measure; plain numbers, shared by us and peers."""

import dataclasses

LR = 1e-3
BETAS = (0.9, 0.98)
EPSILON = 1e-8
WEIGHT_DECAY = 0.01
CLIP = 1.0
RATE = 16_000  # samples per second
TRAINS = {  # --train -> the trained parts
    "speech": ("encoder", "converter"),
    "all": ("encoder", "converter", "decoder"),
}


@dataclasses.dataclass(frozen=True)
class Size:
    """A model and its batch, which contains no padding."""

    encoder: dict  # keys of config.Encoder
    decoder: dict  # keys of config.Transformer
    splice: int
    rows: int
    seconds: float
    tokens: int
    mels: int = 80
    dtype: str = "float32"
    remat: str = "none"
    threads: int = 2  # CPU threads; 0: runs on an accelerator


def _encoder(layers, width, **changes):
    shape = dict(layers=layers, width=width, heads=width // 64, ffn_dim=4 * width)
    return shape | dict(channels=256, subsampling=4, kernel=31) | changes


def _decoder(layers, width, heads, kv_heads, head_dim, ffn_dim, vocabulary):
    return dict(
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        ffn_dim=ffn_dim,
        vocabulary=vocabulary,
        tied=True,
    )


SIZES = {
    "tiny": Size(
        encoder=_encoder(1, 32, heads=2, channels=8, kernel=5),
        decoder=_decoder(1, 32, 4, 2, 8, 96, 256),
        splice=4,
        rows=2,
        seconds=1.0,
        tokens=4,
    ),
    "bench": Size(
        encoder=_encoder(8, 256),
        decoder=_decoder(4, 512, 8, 4, 64, 1536, 8192),
        splice=4,
        rows=8,
        seconds=10.0,
        tokens=32,
    ),
    # LUISE 600m and the shape of Qwen3-1.7B (its config.json).
    "600m_1.7b": Size(
        encoder=_encoder(24, 1024),
        decoder=_decoder(28, 2048, 16, 8, 128, 6144, 151_936),
        splice=4,
        rows=32,
        seconds=30.72,
        tokens=240,
        dtype="bfloat16",
        remat="block",
        threads=0,
    ),
}
