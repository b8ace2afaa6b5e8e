"""Config: ConfigDict recipes to strict frozen dataclasses; recipe and run settings; dump, hash."""

# ruff: noqa: F401 (this is where others import config from)

from seedasr_jax.config.bounds import above, at_least, check, one_of, require, within
from seedasr_jax.config.groups import Tagged, import_all_later, import_later, register
from seedasr_jax.config.model import (
    FFT,
    PERTURBATIONS,
    RATE,
    Aut,
    Converter,
    Decoder,
    Encoder,
    Frontend,
    Linear,
    LinearRope,
    Llama3Rope,
    LogMel,
    Lora,
    Luise,
    Mlp,
    Model,
    Quantizer,
    RopeScaling,
    Transformer,
    Unscaled,
    Variant,
    Whisper,
    WhisperMel,
    Yarn,
)
from seedasr_jax.config.optim import Optim, Scheduled
from seedasr_jax.config.prompt import Prompt
from seedasr_jax.config.schema import (
    CONTEXT_KINDS,
    Augment,
    Contexts,
    Data,
    Eval,
    Graph,
    Mesh,
    Run,
    Stage,
    Vocab,
    check_buckets,
    check_scored,
)
from seedasr_jax.config.scored import context_room, longer, reached
from seedasr_jax.config.tree import (
    GRAPH_KEYS,
    Recipe,
    build,
    difference,
    digest,
    dropped,
    dump,
    expand,
    flatten,
    import_from,
    is_group,
    merge,
    stored,
    to_dict,
    with_defaults,
)
