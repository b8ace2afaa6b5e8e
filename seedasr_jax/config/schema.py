"""Schema of a config: strict frozen dataclasses; those of the model are in model.py.

Fields have no defaults: every value is in a recipe (`configs/common.py` has the common ones). The
right-hand sides bound the values (bounds.py); methods `check` compare fields with each other.
Fields declared as `setting()` or with `run=True` may change at any restart; all others form the
recipe, which is hashed.
"""

from collections.abc import Mapping
import dataclasses
import itertools
import math
from typing import Any

from seedasr_jax.config.bounds import (
    INT32,
    above,
    ascending,
    at_least,
    local_path,
    one_of,
    require,
    require_once,
    setting,
    within,
)
from seedasr_jax.config.model import PERTURBATIONS, RATE, Model
from seedasr_jax.config.optim import Optim
from seedasr_jax.config.scored import longer

SLACK = 1e-6  # rounding error allowed in products of floats


def check_buckets(buckets):
    """Raises a ConfigError unless there are buckets (seconds, tokens, utterances), ascending."""
    require(bool(buckets), "buckets", "(seconds, tokens, utterances), ...", tuple(buckets))
    for bucket in buckets:
        expected = "seconds and tokens of 0 or more, utterances of 1 or more"
        require(min(bucket) >= 0 and bucket[2] >= 1, "buckets", expected, bucket)
    for small, large in itertools.pairwise(buckets):
        ascend = small[0] <= large[0] and small[1] <= large[1] and small[:2] != large[:2]
        require(ascend, "buckets", "ascending seconds and tokens", f"{small} before {large}")


def check_scored(buckets):
    """`check_buckets` of an evaluation's buckets (seconds, limit of decoded tokens, utterances)."""
    check_buckets(buckets)
    most = INT32 // RATE  # seconds, because samples are counted in int32
    known = all(0 < s <= most and 1 <= tokens < INT32 > rows for s, tokens, rows in buckets)
    expected = f"seconds above 0, at most {most}; tokens and utterances from 1, below 2^31"
    require(known, "buckets", expected, tuple(buckets))


@dataclasses.dataclass(frozen=True)
class Vocab:
    """A tokenizer on disk, or one trained on the training text of the graph."""

    path: str = local_path()  # folder, file, or checkpoint with a tokenizer; empty: train one
    kind: str = one_of("word", "bpe", "unigram", "char")
    size: int = at_least(1)


CONTEXT_KINDS = (
    "dialogue_history",
    "agent_name",
    "agent_description",
    "edit_history",
    "participants",
    "video_edit_history",
    "hotwords",
)


@dataclasses.dataclass(frozen=True)
class Contexts:
    """Contexts beside the speech, as shares of utterances; the rest has a relevant context."""

    tokens: int = at_least(0)  # limit of a context; 0: no contexts
    plain: float = within(0, 1)  # share without a context
    irrelevant: float = within(0, 1)  # share with another utterance's text, or unspoken names
    distractors: int = at_least(0)  # limit of unspoken names listed beside spoken ones
    # relative shares of CONTEXT_KINDS, 0 if not given; empty: the frequencies of the data
    kinds: Mapping[str, float] = at_least(0)

    def check(self):
        left = 1 - self.plain
        given = not self.tokens or self.plain < 1
        require(given, "plain", f"less than 1 beside tokens = {self.tokens}", self.plain)
        require(self.irrelevant <= left + SLACK, "irrelevant", f"0 to {left:g}", self.irrelevant)
        unknown = [kind for kind in self.kinds if kind not in CONTEXT_KINDS]
        require(not unknown, "kinds", f"shares of {', '.join(CONTEXT_KINDS)}", unknown)
        shared = not self.kinds or any(self.kinds.values())
        require(shared, "kinds", "a share above 0", dict(self.kinds))


@dataclasses.dataclass(frozen=True)
class Data:
    """Training data of a stage."""

    mixture: tuple[tuple[str, float], ...] = above(0)  # (task, mixture or SPEC, rate)
    buckets: tuple[tuple[float, int, int], ...]  # (seconds, tokens, utterances), ascending
    stretch: float = at_least(1)  # bucket by seconds * stretch: headroom for a slower tempo
    min_seconds: float = at_least(0)
    max_bad_fraction: float = within(0, 1)
    normalizer: str  # name@version, applied to training text
    contexts: Contexts
    cache_gib: float = at_least(0, run=True)  # decoded audio kept in memory

    def check(self):
        require(self.mixture, "mixture", "(task, mixture or SPEC, rate), ...", self.mixture)
        names = [name for name, _ in self.mixture]
        require_once(names, "mixture", "each source once, at the sum of its rates")
        check_buckets(self.buckets)

    @property
    def has_audio(self) -> bool:
        """Whether audio is read; rows need none if the buckets have 0 seconds."""
        return self.buckets[-1][0] > 0

    @property
    def has_text(self) -> bool:
        """Whether text is read; rows need none if the buckets have 0 tokens."""
        return any(tokens for _, tokens, _ in self.buckets)


@dataclasses.dataclass(frozen=True)
class Augment:
    """Perturbations of channel and voice, then SpecAugment; probabilities of 0 disable."""

    tempo: tuple[float, float] = ascending(0.2, 5)  # factor of the speaking rate, pitch kept
    warp: tuple[float, float] = ascending(0.2, 5)  # factor of the vocal-tract length
    speed: tuple[float, float] = ascending(0.2, 5)  # factor of playback: tempo and warp
    eq_db: float = within(0, 60)  # standard deviation of a random equaliser
    noise: float = within(0, 1)  # probability
    noise_snr_db: tuple[float, float] = ascending(-60, 120)
    reverb: float = within(0, 1)  # probability
    reverb_seconds: tuple[float, float] = ascending(0.01, 30)  # T60
    frequency_masks: int = within(0, 100)
    frequency_width: int = at_least(0)  # limit in mel bins
    time_masks: int = within(0, 100)
    time_fraction: float = within(0, 1)  # limit per mask, of the utterance

    @property
    def perturbs(self) -> tuple[str, ...]:
        """The enabled PERTURBATIONS."""
        return tuple(key for key, off in PERTURBATIONS.items() if getattr(self, key) != off)

    @property
    def slowest(self) -> float:
        """The smallest factor of the speaking rate that can be drawn."""
        return self.tempo[0] * self.speed[0]


@dataclasses.dataclass(frozen=True)
class Mesh:
    """Axis sizes of the mesh; one may be -1: the remaining devices."""

    data: int = at_least(-1)
    fsdp: int = at_least(-1)
    tensor: int = at_least(-1)
    expert: int = at_least(-1)

    def check(self):
        sizes = dataclasses.asdict(self)
        left = [axis for axis, size in sizes.items() if size == -1]
        for axis, size in sizes.items():
            require(size, axis, "a size above 0, or -1 for one axis of all", size)
        found = f"it for {' and '.join(left)}"
        require(len(left) < 2, "".join(left[:1]), "-1 for one axis alone", found)


@dataclasses.dataclass(frozen=True)
class Run:
    """How a stage runs on the machine; does not change what is learned."""

    accum: int = at_least(1)  # chunks of a batch whose gradients are accumulated
    remat: str = one_of("none", "block", "dots", "offload")  # rematerialisation: layers.py
    log_every: int = at_least(1)
    save_every: int = at_least(1)
    keep: int = at_least(1)  # newest checkpoints of save_every that remain, beside the last one
    tensorboard: bool
    cache: str = local_path()  # of generated or converted audio, and programs; empty: WORKDIR/cache


@dataclasses.dataclass(frozen=True)
class Eval:
    """Scoring on development tasks during training."""

    tasks: tuple[str, ...]
    # (seconds, limit of decoded tokens, utterances), ascending; (): those of `data` and longer
    buckets: tuple[tuple[float, int, int], ...]
    every: int = at_least(0)  # steps; 0: at the end only
    decode: str  # a name of decode/methods.py: ctc, greedy, beam4, beam4,alpha=0.5
    normalizer: str  # for utterances without a language; others: text/languages.py
    unit: str = one_of("word", "char", "mixed")  # likewise
    tokens: int = at_least(1)  # limit of decoded tokens if `buckets` is empty

    def check(self):
        require_once(self.tasks, "tasks", "each task once")
        if self.buckets:
            check_scored(self.buckets)


@dataclasses.dataclass(frozen=True)
class Stage:
    """One node of the stage graph."""

    kind: str
    seed: int = at_least(0)
    steps: int = at_least(1)
    # part -> fresh, a stage of this graph, or a checkpoint; `STAGE:PART` if its name differs there
    init: Mapping[str, str]
    trains: tuple[str, ...]  # parts
    model: Model
    vocab: Vocab
    data: Data
    augment: Augment
    optim: Optim
    objective: Mapping[str, Any]  # options of the kind, checked by the objective
    mesh: Mesh = setting()
    run: Run = setting()
    eval: Eval = setting()

    def check(self):
        augment, frontend = self.augment, self.model.encoder.frontend
        most = f"at most steps = {self.steps}, or set scale_steps, which shortens both"
        require(self.optim.warmup <= self.steps, "optim.warmup", most, self.optim.warmup)

        bins, widest = frontend.width, augment.frequency_width
        leaves = not augment.frequency_masks or widest < bins
        require(leaves, "augment.frequency_width", f"less than {bins} mel bins", widest)
        if not self.data.has_audio:
            return

        least = 1 / augment.slowest
        cause = "1 / (augment.tempo[0] * augment.speed[0]), or speech is cut off"
        expected = f"at least {math.ceil(1e4 * least) / 1e4:g} = {cause}"
        found = self.data.stretch
        require(found >= least - SLACK, "data.stretch", expected, found)
        for key in augment.perturbs:
            applied = ", ".join(frontend.applies) or "none"
            why = f"model.encoder.frontend of kind {frontend.kind!r} applies {applied}"
            expected, found = f"{PERTURBATIONS[key]}: {why}", getattr(augment, key)
            require(key in frontend.applies, f"augment.{key}", expected, found)

    def at_layer(self, layer: int) -> "Stage":
        """The stage with k-means on this layer of the teacher, 1 the lowest."""
        quantizer = dataclasses.replace(self.model.quantizer, layer=layer)
        return dataclasses.replace(self, model=dataclasses.replace(self.model, quantizer=quantizer))

    @property
    def scored(self) -> tuple[tuple[float, int, int], ...]:
        """Evaluation buckets: `eval.buckets`, or those of `data` and longer ones."""
        rows = {seconds: utterances for seconds, _, utterances in self.data.buckets}
        return self.eval.buckets or longer([(s, self.eval.tokens, n) for s, n in rows.items()])


@dataclasses.dataclass(frozen=True)
class Graph:
    """A stage graph, as named by `--config`."""

    name: str
    imports: tuple[str, ...]
    stages: Mapping[str, Stage]

    def check(self):
        require(self.stages, "stages", "at least one stage", "none")
