"""Architectures that can be imported: what each becomes here, and the table of its tensors."""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

from seedasr_jax import config
from seedasr_jax.checkpoint.limits import Limits
from seedasr_jax.convert import decoders, encoders, qwen3_asr
from seedasr_jax.convert.keys import Keys
from seedasr_jax.convert.layout import Entry
from seedasr_jax.convert.source import CONFIG, Source
from seedasr_jax.models import names
from seedasr_jax.text.vocab import Vocabulary

NO_SPEECH = Limits(0.0, 0.0, 0, 0, ())


@dataclasses.dataclass(frozen=True)
class Read:
    """A source's config.json in our terms.

    Attributes:
        model: changes to a recipe's `model`: nested dicts.
        parts: parts with tensors in the source.
        limits: of its input and output.
        rows: rows of its embedding; 0: it has none.
        ends: the end tokens of a whole model, as spelled; its prompt is that of Qwen3-ASR.
    """

    model: Mapping[str, Any]
    parts: tuple[str, ...]
    limits: Limits
    rows: int = 0
    ends: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Family:
    """Architectures that are read by one pair of functions."""

    read: Callable[[Source, Vocabulary | None], Read]  # None: without `tied`
    entries: Callable[[config.Model, Source], tuple[Entry, ...]]
    # Names of the head of a model with tied embeddings, which may be stored twice, and of those.
    tied: Callable[[Source], tuple[str, str]] | None = None  # None: it has no embeddings
    ignored: tuple[str, ...] = ()  # patterns of names of tensors without effect


def _read_decoder(source: Source, vocab: Vocabulary) -> Read:
    del vocab
    keys = Keys(source.config, str(source.folder / CONFIG))
    decoder, _ = decoders.options(keys, source.architecture)
    return Read(dict(decoder=decoder), (names.DECODER,), NO_SPEECH, decoder["vocabulary"])


def _decoder_entries(model, source):
    fused = any(name.endswith(decoders.FUSED) for name in source.tensors)
    return decoders.entries(model.decoder, fused=fused)


def _read_qwen3_asr(source: Source, vocab: Vocabulary) -> Read:
    model, positions = qwen3_asr.options(source)
    parts = (names.ENCODER, names.CONVERTER, names.DECODER)
    limits, rows = qwen3_asr.limits(source, positions), model["decoder"]["vocabulary"]
    return Read(model, parts, limits, rows, qwen3_asr.ends(source, vocab))


def _tied_decoder(source):
    del source
    return decoders.HEAD, f"{decoders.PREFIX}embed_tokens.weight"


def _qwen3_asr_entries(model, source):
    return qwen3_asr.entries(model, qwen3_asr.layout_of(source))


def _tied_qwen3_asr(source):
    prefix, head = qwen3_asr.of_text(qwen3_asr.layout_of(source))
    return head, f"{prefix}embed_tokens.weight"


def _read_whisper(source: Source, vocab) -> Read:
    del vocab
    return Read(dict(encoder=encoders.whisper(source)), (names.ENCODER,), NO_SPEECH)


FAMILIES: dict[str, Family] = {
    **dict.fromkeys(
        decoders.ARCHITECTURES,
        Family(_read_decoder, _decoder_entries, _tied_decoder, decoders.IGNORED),
    ),
    **dict.fromkeys(
        encoders.WHISPER,
        Family(_read_whisper, encoders.whisper_entries, ignored=encoders.WHISPER_IGNORED),
    ),
    qwen3_asr.ARCHITECTURE: Family(_read_qwen3_asr, _qwen3_asr_entries, _tied_qwen3_asr),
}
