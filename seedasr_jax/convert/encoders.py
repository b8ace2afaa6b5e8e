"""Encoders alone: Whisper; and the entries that tables of encoders share."""

from typing import Any

from seedasr_jax import config
from seedasr_jax.audio.logmel import HOP
from seedasr_jax.convert.keys import Keys
from seedasr_jax.convert.layout import TRANSPOSED, Entry, Form
from seedasr_jax.convert.source import CONFIG, Source
from seedasr_jax.errors import ConfigError
from seedasr_jax.models.names import ENCODER

WHISPER = ("WhisperModel", "WhisperForConditionalGeneration")
WHISPER_IGNORED = (r"(model\.)?decoder\..*", r"proj_out\.weight")  # its decoder is not imported
_FEATURES = 2  # mel frames of a frame


def whisper(source: Source) -> dict[str, Any]:
    """`model.encoder` of a Whisper; keys of its decoder change nothing."""
    keys = Keys(source.config, str(source.folder / CONFIG))
    activation = keys.take("activation_function", str, "gelu")
    if activation != "gelu":
        raise ConfigError(
            f"{keys.where}: activation_function = {activation!r} is not supported: only 'gelu' is"
        )
    keys.expect("scale_embedding", False)
    mels, layers = keys.take("num_mel_bins"), keys.take("encoder_layers")
    keys.expect("num_hidden_layers", layers)
    positions = keys.take("max_source_positions")
    encoder = dict(
        kind="whisper",
        # Padded to 30 s, as transformers runs it: 1,500 positions.
        frontend=dict(kind="whisper_mel", mels=mels, least=positions * _FEATURES * HOP),
        layers=layers,
        width=keys.take("d_model"),
        heads=keys.take("encoder_attention_heads"),
        ffn_dim=keys.take("encoder_ffn_dim"),
        positions=positions,
    )
    of_decoder = ("layers", "attention_heads", "ffn_dim", "layerdrop")
    keys.ignore(*(f"decoder_{one}" for one in of_decoder))
    keys.ignore("max_target_positions", "vocab_size", "tie_word_embeddings", "is_encoder_decoder")
    keys.ignore("apply_spec_augment", "classifier_proj_size", "use_weighted_layer_sum")
    keys.ignore("median_filter_width", "alignment_heads", "lang_to_id", "task_to_id")
    keys.ignore(*(f"mask_{axis}_{one}" for axis in ("time", "feature") for one in _MASKS))
    keys.finish()
    check_whisper_mel(source, mels)
    return encoder


_MASKS = ("length", "min_masks", "prob")


def check_whisper_mel(source: Source, mels: int, **more) -> Keys:
    """Raises a ConfigError if the source's feature extractor is not WhisperMel with `mels` bins.

    `more`: further keys with the only value that is supported. Returns the keys that are left.
    """
    settings = source.read("preprocessor_config.json")
    settings = settings or source.read("processor_config.json").get("feature_extractor", {})
    keys = Keys(settings, f"{source.folder}: feature extractor")
    fixed = dict(sampling_rate=16_000, hop_length=160, n_fft=400, dither=0, padding_value=0)
    for name, value in (dict(feature_size=mels) | fixed | more).items():
        keys.expect(name, value)
    return keys


def whisper_entries(model: config.Model, source: Source) -> tuple[Entry, ...]:
    """The table of a Whisper encoder."""
    prefix = "model." if any(name.startswith("model.") for name in source.tensors) else ""
    theirs, found = f"{prefix}encoder.", []
    for number, ours in enumerate(("first", "second"), 1):
        name = f"{theirs}conv{number}"
        found.append(Entry(f"{ENCODER}.{ours}.kernel", f"{name}.weight", Convolution1d()))
        found.append(Entry(f"{ENCODER}.{ours}.bias", f"{name}.bias"))
    found.append(Entry(f"{ENCODER}.positions", f"{theirs}embed_positions.weight"))
    found += blocks(f"{theirs}layers.{{layer}}.", key_bias=False)
    return (*found, *norm(f"{ENCODER}.norm", f"{theirs}layer_norm"))


class Convolution1d(Form):
    """A convolution of size 3 over time: their [O I K] is our [K*I O]."""

    def shape(self, ours):
        """See Form."""
        return ours[1], ours[0] // 3, 3

    def into(self, x, ours):
        """See Form."""
        return x.transpose(2, 1, 0).reshape(ours)

    def out_of(self, x):
        """See Form."""
        return x.reshape(3, -1, x.shape[1]).transpose(2, 1, 0)


def dense(ours: str, theirs: str, *, bias=True) -> list[Entry]:
    """Entries of a linear layer."""
    found = [Entry(f"{ours}.kernel", f"{theirs}.weight", TRANSPOSED)]
    return found + ([Entry(f"{ours}.bias", f"{theirs}.bias")] if bias else [])


def norm(ours: str, theirs: str) -> list[Entry]:
    """Entries of a LayerNorm."""
    return [
        Entry(f"{ours}.scale", f"{theirs}.weight"),
        Entry(f"{ours}.bias", f"{theirs}.bias"),
    ]


def blocks(theirs: str, *, key_bias: bool) -> list[Entry]:
    """Entries of the blocks of models/transformer.py; `theirs`: prefix with {layer}."""
    ours = f"{ENCODER}.blocks.blocks"
    found = norm(f"{ours}.attention_norm", f"{theirs}self_attn_layer_norm")
    for one, name in (("query", "q"), ("key", "k"), ("value", "v")):
        bias = one != "key" or key_bias
        found += dense(f"{ours}.attention.{one}", f"{theirs}self_attn.{name}_proj", bias=bias)
    found += dense(f"{ours}.attention.out", f"{theirs}self_attn.out_proj")
    found += norm(f"{ours}.feedforward_norm", f"{theirs}final_layer_norm")
    return [*found, *dense(f"{ours}.up", f"{theirs}fc1"), *dense(f"{ours}.down", f"{theirs}fc2")]
