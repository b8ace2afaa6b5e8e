"""Options of the model, a group of a recipe like those of schema.py."""

import dataclasses
from typing import ClassVar

from seedasr_jax.config.bounds import above, at_least, below_one, one_of, require, within
from seedasr_jax.config.groups import Tagged, register
from seedasr_jax.config.prompt import Prompt

RATE = 16_000  # Hz, of every wave that enters a model
NYQUIST = RATE // 2
FFT = 512  # samples, of the spectrum below the mel filters
# Keys of Augment that a front end applies, with the value that disables each.
PERTURBATIONS = {
    "tempo": (1.0, 1.0),
    "warp": (1.0, 1.0),
    "speed": (1.0, 1.0),
    "eq_db": 0.0,
    "noise": 0.0,
    "reverb": 0.0,
}


@dataclasses.dataclass(frozen=True)
class Frontend(Tagged):
    """Front end: waves to features, `width` per frame; see models/frontends.py."""

    kind: str

    applies: ClassVar[tuple[str, ...]] = ()  # keys of PERTURBATIONS that it implements


@register("log_mel", "seedasr_jax.models.frontends:LogMel")
@dataclasses.dataclass(frozen=True)
class LogMel(Frontend):
    """Log-mel filter bank: 25 ms windows every 10 ms."""

    applies = tuple(PERTURBATIONS)

    mels: int = at_least(1)
    low_hz: float = at_least(0)
    high_hz: float = within(0, NYQUIST)
    floor: float = above(0, 1)  # added to mel energy / utterance mean before the logarithm
    norm: str = one_of("bin", "level", "both")  # normalisation per bin, over all bins, or both

    def check(self):
        low, high = self.low_hz, self.high_hz
        require(low < high, "low_hz", f"less than high_hz = {high:g}", low)
        width = RATE / FFT
        bins = max(1, int((high - low) / width))
        expected = f"at most {bins}, the bins of {width:g} Hz from low_hz to high_hz"
        require(self.mels <= bins, "mels", expected, self.mels)

    @property
    def width(self) -> int:
        """Features per frame."""
        return 2 * self.mels if self.norm == "both" else self.mels


@register("whisper_mel", "seedasr_jax.models.frontends:WhisperMel")
@dataclasses.dataclass(frozen=True)
class WhisperMel(Frontend):
    """Whisper's log-mel filter bank: 25 ms windows every 10 ms."""

    mels: int = within(1, 200)
    # samples: a shorter utterance is padded to it, and the padding counts as speech; one window,
    # 400, at least
    least: int = within(400, 1_000_000)

    @property
    def width(self) -> int:
        """Features per frame."""
        return self.mels


@dataclasses.dataclass(frozen=True)
class Encoder(Tagged):
    """Speech encoder: see models/encoders.py; `imports` may add kinds."""

    kind: str
    frontend: Frontend
    layers: int = at_least(1)
    width: int = at_least(1)


@register("luise", "seedasr_jax.models.luise:Luise")
@dataclasses.dataclass(frozen=True)
class Luise(Encoder):
    """Convolutions or stacking, then Conformer blocks (Seed-ASR section 3.2)."""

    front: str = one_of("conv", "stack")  # strided 3x3 convolutions, or stacked frames projected
    channels: int = at_least(1)  # of the convolutions in front
    subsampling: int = at_least(1)  # features per encoder frame: 4 (40 ms) or 8 (80 ms)
    heads: int = at_least(1)
    ffn_dim: int = at_least(1)
    kernel: int = within(1, 1_000)  # frames
    causal: bool  # depthwise convolution without future frames
    clip: int = at_least(0)  # reach of learned relative keys, frames; 0: sinusoidal positions
    bias: bool  # in projections and convolutions
    dropout: float = below_one()

    def check(self):
        width = self.width
        require(width % self.heads == 0, "heads", f"a divisor of width = {width}", self.heads)
        require(self.clip or width % 2 == 0, "width", "an even number where clip is 0", width)
        rate, expected = self.subsampling, "a power of 2 where front is 'conv'"
        require(self.front != "conv" or rate.bit_count() == 1, "subsampling", expected, rate)


@register("aut", "seedasr_jax.models.aut:Aut")
@dataclasses.dataclass(frozen=True)
class Aut(Encoder):
    """Encoder of Qwen3-ASR: convolutions by chunks, attention in windows."""

    channels: int = at_least(1)  # of the three convolutions
    heads: int = at_least(1)
    ffn_dim: int = at_least(1)
    chunk: int = at_least(8)  # features, convolved together: 100, 1 s
    window: int = at_least(1)  # chunks that attend to each other: 8

    def check(self):
        width = self.width
        require(width % self.heads == 0, "heads", f"a divisor of width = {width}", self.heads)
        require(width % 2 == 0, "width", "an even number", width)


@register("whisper", "seedasr_jax.models.whisper:WhisperEncoder")
@dataclasses.dataclass(frozen=True)
class Whisper(Encoder):
    """Encoder of Whisper: two convolutions, then Transformer blocks."""

    heads: int = at_least(1)
    ffn_dim: int = at_least(1)
    positions: int = at_least(1)  # frames of 20 ms at most: 1,500, 30 s

    def check(self):
        width = self.width
        require(width % self.heads == 0, "heads", f"a divisor of width = {width}", self.heads)
        require(width % 2 == 0, "width", "an even number", width)


@dataclasses.dataclass(frozen=True)
class Quantizer:
    """Speech tokenizer whose labels the self-supervised stages predict."""

    codes: int = at_least(1)  # labels, and rows of the head that predicts them
    width: int = at_least(1)  # of projected features; k-means uses the encoder's width
    layer: int = at_least(0)  # clustered by k-means, 1 the lowest; 0: the best of init.probe


@dataclasses.dataclass(frozen=True)
class Converter(Tagged):
    """Converter of encoder frames to the decoder's inputs: see models/converters.py."""

    kind: str


@register("linear", "seedasr_jax.models.converter:Converter")
@dataclasses.dataclass(frozen=True)
class Linear(Converter):
    """Splicing and one linear layer (Seed-ASR section 3.3)."""

    splice: int = at_least(1)  # frames concatenated into one


@dataclasses.dataclass(frozen=True)
class RopeScaling(Tagged):
    """Rescaling of rotary positions for contexts longer than in pretraining: models/rope.py."""

    kind: str


@register("none", "seedasr_jax.models.rope:unscaled")
@dataclasses.dataclass(frozen=True)
class Unscaled(RopeScaling):
    """Rotary positions as in pretraining."""


@register("linear", "seedasr_jax.models.rope:linear")
@dataclasses.dataclass(frozen=True)
class LinearRope(RopeScaling):
    """All positions divided by `factor`."""

    factor: float = at_least(1)


@register("llama3", "seedasr_jax.models.rope:llama3")
@dataclasses.dataclass(frozen=True)
class Llama3Rope(RopeScaling):
    """Positions of wavelengths longer than the original context / `low` divided by `factor`.

    Those shorter than the original context / `high` stay; in between the two are interpolated.
    """

    factor: float = at_least(1)
    low: float = above(0)
    high: float = above(0)
    positions: int = at_least(1)  # of the original context

    def check(self):
        require(self.low < self.high, "low", f"less than high = {self.high:g}", self.low)


@register("yarn", "seedasr_jax.models.rope:yarn")
@dataclasses.dataclass(frozen=True)
class Yarn(RopeScaling):
    """YaRN (arXiv 2309.00071): wavelengths of few turns in the original context are rescaled."""

    factor: float = at_least(1)
    fast: float = above(0)  # turns from which a wavelength stays
    slow: float = above(0)  # turns up to which it is rescaled by `factor`
    positions: int = at_least(1)  # of the original context
    truncate: bool  # bounds between the two are rounded to whole dimensions
    magnitude: float = above(0)  # factor on cosines and sines

    def check(self):
        require(self.slow < self.fast, "slow", f"less than fast = {self.fast:g}", self.slow)


@register("mlp", "seedasr_jax.models.converter:Mlp")
@dataclasses.dataclass(frozen=True)
class Mlp(Converter):
    """Splicing and two linear layers with biases."""

    splice: int = at_least(1)  # frames concatenated into one
    hidden: int = at_least(1)  # width between the two
    activation: str = one_of("gelu", "relu", "silu")


@dataclasses.dataclass(frozen=True)
class Moe:
    """Mixture of experts in place of the decoder's feed-forward layers; experts 0: none."""

    experts: int = at_least(0)
    active: int = at_least(0)  # experts per token
    balance: float = within(0, 100)  # weight of the load-balancing loss in training
    z: float = within(0, 100)  # weight of the z-loss, which keeps router logits small

    def check(self):
        routed = not self.experts or 1 <= self.active <= self.experts
        require(routed, "active", f"1 to experts = {self.experts}", self.active)


@dataclasses.dataclass(frozen=True)
class Decoder(Tagged):
    """The language model: see models/decoders.py; `imports` may add kinds."""

    kind: str
    width: int = at_least(1)
    vocabulary: int = at_least(0)  # rows of the embedding as published; 0: the tokenizer's size


@register("transformer", "seedasr_jax.models.decoder:Decoder")
@dataclasses.dataclass(frozen=True)
class Transformer(Decoder):
    """Decoder of the Qwen3, Qwen3-MoE or Llama architecture."""

    layers: int = at_least(1)
    heads: int = at_least(1)
    kv_heads: int = at_least(1)
    head_dim: int = at_least(2)
    ffn_dim: int = at_least(1)  # hidden width; with experts, of each expert
    moe: Moe
    qk_norm: bool  # Qwen3: true, Llama: false
    tied: bool
    rope_theta: float = above(1)
    rope_scaling: RopeScaling
    norm_eps: float = above(0, 1)
    embed_scale: float = above(0, 1e4)  # factor on embeddings, initialised with std 1/sqrt(width)

    def check(self):
        even = self.heads % self.kv_heads == 0
        require(even, "kv_heads", f"a divisor of heads = {self.heads}", self.kv_heads)
        require(self.head_dim % 2 == 0, "head_dim", "an even number", self.head_dim)  # rotary


@dataclasses.dataclass(frozen=True)
class Lora:
    """Low-rank adapters on the decoder's attention projections; rank 0: none."""

    rank: int = at_least(0)
    alpha: float = above(0, 1e4)


@dataclasses.dataclass(frozen=True)
class Variant(Tagged):
    """Variant of the recogniser: `paper`, or one registered by a module of `imports`."""

    kind: str


@register("paper", "seedasr_jax.models.acllm:AcLLM")
@dataclasses.dataclass(frozen=True)
class Paper(Variant):
    """Seed-ASR's variant: speech in consecutive positions, converted from encoder frames."""


@dataclasses.dataclass(frozen=True)
class Model:
    """Everything that determines a parameter's shape or a forward pass."""

    encoder: Encoder
    quantizer: Quantizer
    converter: Converter
    decoder: Decoder
    lora: Lora
    prompt: Prompt
    variant: Variant
    # of the computation; trained parameters are float32 (float16 would need loss scaling)
    dtype: str = one_of("float32", "bfloat16")
