"""Config: ConfigDict recipes -> strict frozen dataclasses; recipe and run split; dump and hash.

A dataclass here has no defaults: every value stands in a recipe (`configs/common.py` has the common
ones). Fields marked `_run()` may change at any restart; all others are the recipe, which is hashed.
"""

import collections.abc
import copy
import dataclasses
import hashlib
import json
import types
import typing
from typing import Any

from seedasr_jax.errors import ConfigError, nearest


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
class Decoder:
    """Dense decoder of Qwen3 or Llama shape."""

    layers: int
    width: int
    heads: int
    groups: int  # key-value heads
    head_width: int
    feedforward: int
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
    transcript_position: int  # where the transcript's positions start if clocked
    converter_input: str  # "frames" (the paper's form) or "ctc_posteriors"
    mix: bool  # each token's embedding takes a learned share of the one before
    flag: bool  # a learned vector is added to the tokens of a context
    phones: int  # classes of phones, where the clock labels frames; 0: it does not

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
    """AdamW with warm-up and decay, or the fit of k-means."""

    name: str  # adamw, or kmeans: of it only b1 is read, the share of old frames that a step keeps
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
    remat: str  # none, block or dots
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


# Keys beside `stages` that are no stage's: the rest are defaults of every stage.
_GRAPH_KEYS = ("name", "imports", "scale_steps", "stages")


def build(tree, kind, where="config"):
    """Turns nested dicts into the dataclass `kind`, strictly.

    Raises:
        ConfigError: an unknown or missing key, or a value of another type; names the key's whole
            path and the nearest valid names.
    """
    if dataclasses.is_dataclass(kind):
        if not isinstance(tree, collections.abc.Mapping):
            raise ConfigError(f"{where}: expected a group of keys, found {tree!r}")
        fields = {f.name: f.type for f in dataclasses.fields(kind)}
        for name in tree:
            if name not in fields:
                raise ConfigError(f"{where}.{name} is no key.{nearest(name, fields)}")
        missing = [name for name in fields if name not in tree]
        if missing:
            raise ConfigError(
                f"{where}.{missing[0]} is missing; configs/common.py has the common value"
            )
        return kind(**{n: build(tree[n], t, f"{where}.{n}") for n, t in fields.items()})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is collections.abc.Mapping:
        if not isinstance(tree, collections.abc.Mapping):
            raise ConfigError(f"{where}: expected a group of keys, found {tree!r}")
        return types.MappingProxyType(
            {k: build(v, arguments[1], f"{where}.{k}") for k, v in tree.items()}
        )
    if origin is tuple:
        if not isinstance(tree, (tuple, list)):
            raise ConfigError(f"{where}: expected a tuple, found {tree!r}")
        items = arguments
        if arguments[-1] is Ellipsis:
            items = (arguments[0],) * len(tree)
        if len(items) != len(tree):
            raise ConfigError(f"{where}: expected {len(items)} values, found {tree!r}")
        return tuple(build(v, t, f"{where}[{i}]") for i, (v, t) in enumerate(zip(tree, items)))
    if kind is Any:
        return tuple(tree) if isinstance(tree, list) else tree
    if kind is float and isinstance(tree, int) and not isinstance(tree, bool):
        return float(tree)
    if not isinstance(tree, kind) or (kind is int and isinstance(tree, bool)):
        raise ConfigError(f"{where}: expected {kind.__name__}, found {tree!r}")
    return tree


def merge(base, over):
    """Nested dicts: `over` on top of `base`."""
    out = dict(base)
    for key, value in over.items():
        nested = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = merge(out[key], value) if nested else value
    return out


def with_defaults(tree: dict) -> dict:
    """A recipe as nested dicts whose stages hold the graph's defaults, the keys beside `stages`."""
    defaults = {k: v for k, v in tree.items() if k not in _GRAPH_KEYS}
    stages = {n: merge(copy.deepcopy(defaults), s) for n, s in tree["stages"].items()}
    return tree | {"stages": stages}


def expand(recipe) -> Graph:
    """Expands a recipe (ConfigDict or nested dict) to a Graph.

    Keys beside `stages` become defaults of every stage, and `scale_steps` is applied to the steps,
    the warm-up and the intervals of each (at least 1).

    Raises:
        ConfigError: see `build`.
    """
    tree = recipe.to_dict() if hasattr(recipe, "to_dict") else recipe
    for key in ("name", "stages"):
        if key not in tree:
            raise ConfigError(
                f"config.{key} is missing; start from seedasr_jax.configs.common.graph"
            )
    scale = build(tree.get("scale_steps", 1.0), float, "config.scale_steps")
    if scale <= 0:
        raise ConfigError(f"config.scale_steps: expected a number above 0, found {scale}")
    for name, stage in tree["stages"].items():
        if not isinstance(stage, dict):
            raise ConfigError(f"config.stages.{name}: expected a group of keys, found {stage!r}")
    stages = {
        name: _scale(build(stage, Stage, f"config.stages.{name}"), scale)
        for name, stage in with_defaults(tree)["stages"].items()
    }
    imports = build(tree.get("imports", ()), tuple[str, ...], "config.imports")
    return Graph(tree["name"], imports, types.MappingProxyType(stages))


def _scale(stage: Stage, scale) -> Stage:
    """The training's length and every interval, times `scale`; 0 means never and stays."""

    def scaled(part, *names):
        changes = {n: max(1, round(getattr(part, n) * scale)) for n in names if getattr(part, n)}
        return dataclasses.replace(part, **changes)

    return dataclasses.replace(
        scaled(stage, "steps"),
        optim=scaled(stage.optim, "warmup"),
        run=scaled(stage.run, "save_every", "log_every"),
        eval=scaled(stage.eval, "every"),
    )


def to_dict(value, recipe_only=False):
    """A dataclass as nested plain dicts and lists; `recipe_only` leaves the run settings out."""
    if dataclasses.is_dataclass(value):
        return {
            f.name: to_dict(getattr(value, f.name), recipe_only)
            for f in dataclasses.fields(value)
            if not (recipe_only and f.metadata.get("run"))
        }
    if isinstance(value, collections.abc.Mapping):
        return {k: to_dict(v, recipe_only) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_dict(v, recipe_only) for v in value]
    return value


def flatten(tree, prefix="") -> dict:
    """Nested dicts -> {"a.b.c": leaf}; an empty dict is a leaf."""
    out = {}
    for key, value in tree.items():
        path = f"{prefix}.{key}" if prefix else str(key)
        out |= flatten(value, path) if isinstance(value, dict) and value else {path: value}
    return out


def dump(graph: Graph) -> str:
    """The whole expansion as text, a key a line in the dataclasses' order: for golden files."""
    return "".join(f"{k} = {v!r}\n" for k, v in flatten(to_dict(graph)).items())


def digest(tree) -> str:
    """SHA-256 (hex) of nested dicts as canonical JSON."""
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def difference(old: dict, new: dict) -> list[str]:
    """Lines "key: old -> new" for each leaf that differs between two recipes as nested dicts."""
    old, new = flatten(old), flatten(new)
    absent = "(absent)"
    return [
        f"{key}: {old.get(key, absent)!r} -> {new.get(key, absent)!r}"
        for key in dict.fromkeys([*old, *new])
        if old.get(key, absent) != new.get(key, absent)
    ]
