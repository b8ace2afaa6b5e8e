"""What a config holds: strict frozen dataclasses.

None has defaults: every value stands in a recipe (`configs/common.py` has the common ones). Fields
marked `_run()` may change at any restart; all others are the recipe, which is hashed.
"""

import collections.abc
import dataclasses
from typing import Any

from seedasr_jax.errors import ConfigError


def _run():
    return dataclasses.field(metadata={"run": True})


@dataclasses.dataclass(frozen=True)
class Features:
    """Log-mel filter bank: 25 ms windows every 10 ms."""

    mels: int
    low_hz: float
    high_hz: float
    floor: float  # added to mel energy over the utterance's mean energy, before the logarithm
    norm: str  # statistics of the utterance: "bin", of each bin; "level", of all; or "both"

    @property
    def width(self) -> int:
        """Features per frame."""
        return 2 * self.mels if self.norm == "both" else self.mels


@dataclasses.dataclass(frozen=True)
class Encoder:
    """Conformer and its front end. `kind`: see models/encoders.py; `imports` may add some."""

    kind: str
    front: str  # "conv": strided 3x3 convolutions; "stack": one linear layer over stacked frames
    channels: int  # of the convolutional front end
    subsampling: int  # mel frames per encoder frame: 4 (40 ms) or 8 (80 ms)
    layers: int
    attending: int  # 0: all; else only so many, the last ones, have attention
    width: int
    heads: int
    feedforward: int
    kernel: int
    causal: bool  # depthwise convolution that sees no future frame
    clip: (
        int  # 0: sinusoidal relative positions; else learned relative keys clipped at this distance
    )
    bias: bool  # in projections and convolutions
    dropout: float


@dataclasses.dataclass(frozen=True)
class Quantizer:
    """Speech tokenizer of the self-supervised stages: what they predict."""

    codes: int  # labels, and rows of the head that predicts them
    width: int  # what mel frames are projected to; k-means has the encoder's
    layer: int  # whose output k-means clusters, 1 the lowest; 0: the best of the stage init.probe


@dataclasses.dataclass(frozen=True)
class Converter:
    """Splice and one linear layer."""

    splice: int


@dataclasses.dataclass(frozen=True)
class Moe:
    """Mixture of experts in place of the decoder's feed-forward layers; experts 0: none."""

    experts: int
    active: int  # experts of a token
    balance: float  # weight of the loss that evens their load, where the decoder trains
    z: float  # of the one that keeps router logits small

    def __post_init__(self):
        if self.experts and not 1 <= self.active <= self.experts:
            raise ConfigError(
                f"model.decoder.moe.active: expected 1 to {self.experts} (moe.experts), found"
                f" {self.active}"
            )


@dataclasses.dataclass(frozen=True)
class Decoder:
    """Decoder of Qwen3, Qwen3-MoE or Llama shape."""

    layers: int
    width: int
    heads: int
    groups: int  # key-value heads
    head_width: int
    feedforward: int  # hidden width, of an expert where there are experts
    moe: Moe
    vocabulary: int  # rows of the embedding as published; 0: the tokenizer's size
    qk_norm: bool  # Qwen3: true, Llama: false
    tied: bool
    rope_theta: float
    norm_eps: float
    embed_scale: float  # embeddings start at std 1/sqrt(width) and are multiplied by this


@dataclasses.dataclass(frozen=True)
class Lora:
    """Low-rank adapters on the decoder's attention projections; rank 0: none."""

    rank: int
    alpha: float


@dataclasses.dataclass(frozen=True)
class Small:
    """Devices of the small recipes, ours and not the paper's (models/small.py); off by default."""

    speech_positions: str  # "frames" (the paper's form) or "ctc_onsets"
    speech_position: int  # where the speech's positions start if clocked, or behind the context
    transcript_position: int  # where the transcript's positions start if clocked
    converter_input: str  # "frames" (the paper's form) or "ctc_posteriors"
    mix: bool  # each token's embedding takes a learned share of the one before
    flag: bool  # a learned vector is added to the tokens of a context
    spelled: bool  # embeddings of pieces that are spelled alike start alike
    phones: int  # classes of phones, where the clock labels frames; 0: it does not
    labels: int  # that ssl1 predicts of each encoder frame, one after another; 1: the paper's form

    def __post_init__(self):
        for name, other in (
            ("speech_positions", "ctc_onsets"),
            ("converter_input", "ctc_posteriors"),
        ):
            if getattr(self, name) not in ("frames", other):
                raise ConfigError(
                    f"model.small.{name}: expected 'frames' or {other!r}, found"
                    f" {getattr(self, name)!r}"
                )

    @property
    def needs_ctc(self) -> bool:
        """Whether the LLM's input depends on the CTC head."""
        return self.speech_positions == "ctc_onsets" or self.converter_input == "ctc_posteriors"


@dataclasses.dataclass(frozen=True)
class Model:
    """Everything that decides a parameter's shape or a forward pass."""

    features: Features
    encoder: Encoder
    quantizer: Quantizer
    converter: Converter
    decoder: Decoder
    lora: Lora
    small: Small
    dtype: str  # of the computation; parameters that train are float32


@dataclasses.dataclass(frozen=True)
class Vocab:
    """A tokenizer on disk, or one that is trained on the training text of the graph."""

    path: str  # folder or file; empty: train one
    kind: str  # word, bpe, unigram or char
    size: int


@dataclasses.dataclass(frozen=True)
class Contexts:
    """What the model is told beside the speech; shares are of utterances, the rest is relevant."""

    tokens: int  # at most; 0: there are no contexts
    plain: float  # no context
    irrelevant: float  # names that are not said
    distractors: int  # names that are not said beside those that are, at most


@dataclasses.dataclass(frozen=True)
class Data:
    """What a stage reads."""

    mixture: tuple[tuple[str, float], ...]  # (task, mixture or SPEC, rate)
    buckets: tuple[tuple[float, int, int], ...]  # (seconds, tokens, utterances), ascending
    stretch: float  # an utterance fits a bucket if seconds * stretch do: room for a slower tempo
    min_seconds: float
    max_bad_fraction: float
    normalizer: str  # name@version, applied to training text
    contexts: Contexts
    cache_gib: float = _run()  # decoded audio kept in memory

    @property
    def reads(self) -> bool:
        """Whether text is read: where the buckets have 0 tokens, rows need none."""
        return any(tokens for _, tokens, _ in self.buckets)


@dataclasses.dataclass(frozen=True)
class Augment:
    """Perturbation of channel and voice, then SpecAugment; probabilities of 0 switch off."""

    tempo: tuple[float, float]  # speaking rate, pitch kept
    warp: tuple[float, float]  # vocal-tract length
    speed: tuple[float, float]  # tempo and warp together, as a tape would
    eq_db: float  # standard deviation of a random equaliser
    noise: float  # probability
    noise_snr_db: tuple[float, float]
    reverb: float  # probability
    reverb_seconds: tuple[float, float]  # T60
    frequency_masks: int
    frequency_width: int  # mel bins at most
    time_masks: int
    time_fraction: float  # of the utterance at most, each


@dataclasses.dataclass(frozen=True)
class Optim:
    """AdamW or Adafactor with warm-up and decay, or the fit of k-means."""

    # adamw; adafactor: b1 0 is no momentum, b2 the exponent of how old squares decay; or kmeans: of
    # it only b1 is read, the share of old frames that a step keeps
    name: str
    lr: float
    warmup: int
    decay: str  # cosine, linear or constant
    final: float  # share of the rate at the end
    b1: float
    b2: float
    eps: float
    weight_decay: float
    clip: float  # global norm; 0: none
    rates: collections.abc.Mapping[str, float]  # factor by part; a part that is absent has 1


@dataclasses.dataclass(frozen=True)
class Mesh:
    """Devices by axis; one of them may be -1, whatever is left."""

    data: int
    fsdp: int
    tensor: int
    expert: int


@dataclasses.dataclass(frozen=True)
class Run:
    """How a stage runs on the machine; changes nothing that is learned."""

    accum: int
    remat: str  # none, block, dots or offload: what of a layer is computed again, models/layers.py
    log_every: int
    save_every: int
    keep: int  # checkpoints kept
    tensorboard: bool
    cache: str  # folder of made or converted audio and compiled programs; empty: WORKDIR/cache


@dataclasses.dataclass(frozen=True)
class Eval:
    """Scoring while training, on a development part."""

    tasks: tuple[str, ...]
    every: int  # steps; 0: at the end only
    decode: str  # a name of decode/methods.py: ctc, greedy, beam4, beam4,alpha=0.5
    normalizer: str
    unit: str  # word, char or mixed
    tokens: int  # at most, decoded


@dataclasses.dataclass(frozen=True)
class Stage:
    """One node of the graph."""

    kind: str
    seed: int
    steps: int
    # part -> fresh, a stage of this graph, or a checkpoint; `STAGE:PART` where it has another name
    init: collections.abc.Mapping[str, str]
    trains: tuple[str, ...]
    model: Model
    vocab: Vocab
    data: Data
    augment: Augment
    optim: Optim
    objective: collections.abc.Mapping[str, Any]  # options of the kind, checked by the objective
    mesh: Mesh = _run()
    run: Run = _run()
    eval: Eval = _run()


@dataclasses.dataclass(frozen=True)
class Graph:
    """A stage graph: what `--config` names."""

    name: str
    imports: tuple[str, ...]
    stages: collections.abc.Mapping[str, Stage]
