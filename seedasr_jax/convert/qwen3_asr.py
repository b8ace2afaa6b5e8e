"""Qwen3-ASR as a whole: encoder `aut`, two-layer converter, Qwen3 decoder.

Two layouts: `hf`, the class of transformers 5.24 (models/qwen3_asr), and `thinker`, that of the
first release, whose config and tensors are inside `thinker`.
"""

from typing import Any

import numpy as np

from seedasr_jax import config
from seedasr_jax.checkpoint.limits import Limits
from seedasr_jax.convert import decoders, encoders
from seedasr_jax.convert.keys import Keys
from seedasr_jax.convert.layout import Entry, Form
from seedasr_jax.convert.source import CONFIG, Source
from seedasr_jax.errors import ConfigError
from seedasr_jax.models.names import CONVERTER, ENCODER
from seedasr_jax.text import languages

ARCHITECTURE = "Qwen3ASRForConditionalGeneration"
HF, THINKER = "hf", "thinker"
LEAST = 8_000  # samples that a shorter utterance is padded to (min_length of the feature extractor)
_CHUNK = 50  # n_window: half a chunk of mel frames
_AUDIO = "<|audio_start|>", "<|audio_end|>"

SECONDS = 30.0  # of a segment if the feature extractor states no chunk_length
CONTEXT_TOKENS = 10_000  # limit of a context as published
TRANSCRIPT_TOKENS = 448
# Of transformers' LANGUAGE_CODE_TO_NAME (processing_qwen3_asr.py).
LANGUAGES = (
    *("ar", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fil", "fr", "hi", "hu", "id", "it"),
    *("ja", "ko", "mk", "ms", "nl", "pl", "pt", "ro", "ru", "sv", "th", "tr", "vi", "yue", "zh"),
)


def layout_of(source: Source) -> str:
    """The layout of a source, HF or THINKER."""
    return THINKER if "thinker_config" in source.config else HF


def options(source: Source) -> tuple[dict[str, Any], int]:
    """`model` of a recipe, and the number of positions that the decoder is made for."""
    keys = Keys(source.config, str(source.folder / CONFIG))
    if layout_of(source) == THINKER:
        keys.ignore("support_languages")
        inner = keys.group("thinker_config")
        keys.finish()
        keys = inner
        keys.ignore("audio_start_token_id", "audio_end_token_id", "user_token_id")
    keys.ignore("audio_token_id", "timestamp_token_id")  # the prompt has the speech in its place
    keys.expect("token_classification_bias", False)
    audio, text = keys.group("audio_config"), keys.group("text_config")
    tied = keys.take("tie_word_embeddings", bool, True if layout_of(source) == HF else None)
    keys.finish()
    for scaling in ("rope_scaling", "rope_parameters"):
        _without_sections(text, scaling)
    decoder, positions = decoders.options(text, decoders.QWEN3, tied=tied)
    encoder, hidden, width, activation = _encoder(audio)
    if width != decoder["width"]:
        raise ConfigError(
            f"{audio.where}: output_dim: expected hidden_size of the text model,"
            f" {decoder['width']}, found {width}"
        )
    converter = dict(kind="mlp", splice=1, hidden=hidden, activation=activation)
    model = dict(encoder=encoder, converter=converter, decoder=decoder)
    return model, positions


def ends(source: Source, vocab) -> tuple[str, ...]:
    """The end tokens of the source, the tokenizer's own first.

    Raises:
        ConfigError: the source's chat template lacks the tokens of the published one.
    """
    template = source.read("chat_template.json").get("chat_template", "")
    path = source.folder / "chat_template.jinja"
    template = path.read_text("utf-8") if path.exists() else template
    if lost := [token for token in ("<|im_start|>", *_AUDIO) if template and token not in template]:
        raise ConfigError(
            f"{source.folder}: expected a chat template with {lost[0]}, as Qwen3-ASR has it"
        )
    ids = decoders.generation(source.read("generation_config.json"), source.config)
    known = [vocab.eos_id, *(one for one in ids if one != vocab.eos_id)]
    spelled = {number: token for token, number in vocab.special.items()}
    return tuple(spelled[one] for one in known if one in spelled)


def limits(source: Source, positions: int) -> Limits:
    """What the feature extractor and the published model take.

    Raises:
        ConfigError: a feature extractor with other windows than this front end.
    """
    mels = _section(source, "audio_config").get("num_mel_bins")
    keys = encoders.check_whisper_mel(source, mels, n_window=_CHUNK, min_length=LEAST)
    seconds = float(keys.take("chunk_length", default=SECONDS, kind=float))
    named = source.config.get("support_languages")
    tags = sorted(map(languages.tag_of, named)) if named else LANGUAGES
    context = min(CONTEXT_TOKENS, positions // 2)
    return Limits(seconds, 0.0, context, TRANSCRIPT_TOKENS, tuple(tags))


def _section(source, name) -> dict:
    """A group of config.json in either layout."""
    tree = source.config.get("thinker_config", source.config)
    return tree.get(name) or {}


def _without_sections(text: Keys, name: str) -> None:
    """Drops mRoPE's sections: speech and text have three equal positions, which is plain RoPE."""
    scaling = text.take(name, dict, None)
    if scaling is not None:
        sections = ("mrope_section", "mrope_interleaved", "interleaved")
        text.put(name, {key: value for key, value in scaling.items() if key not in sections})


def _encoder(audio: Keys):
    width = audio.take("d_model")
    activation = audio.take("activation_function", str, "gelu")
    if activation != "gelu":
        raise ConfigError(
            f"{audio.where}: activation_function = {activation!r} is not supported: only 'gelu' is"
        )
    audio.expect("scale_embedding", False)
    audio.ignore("conv_chunksize", "max_source_positions", "tie_word_embeddings")
    audio.expect("is_encoder_decoder", False)
    mels = audio.take("num_mel_bins")
    half = audio.take("n_window", default=_CHUNK)
    window = audio.take("n_window_infer", default=16 * half)
    if window % (2 * half):
        raise ConfigError(
            f"{audio.where}: n_window_infer: expected a multiple of 2 * n_window = {2 * half},"
            f" found {window}"
        )
    audio.ignore("max_position_embeddings")  # frames of a chunk, which n_window determines
    encoder = dict(
        kind="aut",
        frontend=dict(kind="whisper_mel", mels=mels, least=LEAST),
        layers=audio.take("encoder_layers"),
        width=width,
        channels=audio.take("downsample_hidden_size"),
        heads=audio.take("encoder_attention_heads"),
        ffn_dim=audio.take("encoder_ffn_dim"),
        chunk=2 * half,
        window=window // (2 * half),
    )
    audio.expect("num_hidden_layers", encoder["layers"])
    output = audio.take("output_dim")
    audio.finish()
    return encoder, width, output, activation


class Convolution(Form):
    """A 3 x 3 convolution over mel bins and time: their [O I F T] is our [T*F*I O]."""

    def shape(self, ours):
        """See Form."""
        return ours[1], ours[0] // 9, 3, 3

    def into(self, x, ours):
        """See Form."""
        return x.transpose(3, 2, 1, 0).reshape(ours)

    def out_of(self, x):
        """See Form."""
        return x.reshape(3, 3, -1, x.shape[1]).transpose(3, 2, 1, 0)


class Flattened(Form):
    """The layer behind the convolutions: their [D C*F] is our [F*C D]."""

    def __init__(self, channels: int):
        self.channels = channels

    def shape(self, ours):
        """See Form."""
        return ours[::-1]

    def into(self, x, ours):
        """See Form."""
        return np.reshape(x.reshape(len(x), self.channels, -1).transpose(2, 1, 0), ours)

    def out_of(self, x):
        """See Form."""
        return x.reshape(-1, self.channels, x.shape[1]).transpose(2, 1, 0).reshape(x.shape[::-1])


def entries(model: config.Model, layout: str) -> tuple[Entry, ...]:
    """The table of the whole model in a layout."""
    outer = "model" if layout == HF else "thinker"
    tower = f"{outer}.audio_tower"
    found = []
    for number in range(3):
        name = f"{tower}.conv2d{number + 1}"
        found.append(Entry(f"{ENCODER}.kernels.{number}", f"{name}.weight", Convolution()))
        found.append(Entry(f"{ENCODER}.biases.{number}", f"{name}.bias"))
    flattened = Flattened(model.encoder.channels)
    found.append(Entry(f"{ENCODER}.project.kernel", f"{tower}.conv_out.weight", flattened))
    found += encoders.blocks(f"{tower}.layers.{{layer}}.", key_bias=True)
    found += encoders.norm(f"{ENCODER}.norm", f"{tower}.ln_post")
    projector = f"{outer}.multi_modal_projector.linear_" if layout == HF else f"{tower}.proj"
    for number, ours in enumerate(("first", "second"), 1):
        found += encoders.dense(f"{CONVERTER}.{ours}", f"{projector}{number}")
    prefix, head = of_text(layout)
    return (*found, *decoders.entries(model.decoder, prefix=prefix, head=head))


def of_text(layout: str) -> tuple[str, str]:
    """Prefix of the decoder's tensors, and name of its head, in a layout."""
    if layout == HF:
        return "model.language_model.", decoders.HEAD
    return "thinker.model.", f"thinker.{decoders.HEAD}"
