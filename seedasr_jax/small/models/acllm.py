"""The small recipes' recogniser: positions of the speech, and the converter's input.

Dims: B batch, T encoder frames, U speech tokens, V vocabulary.
"""

import dataclasses

import jax
import jax.numpy as jnp

from seedasr_jax.errors import ConfigError
from seedasr_jax.models import names
from seedasr_jax.models.acllm import AcLLM, Speech
from seedasr_jax.small.models import devices


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ClockedSpeech(Speech):
    """Speech with the number of text tokens begun so far, which determines its positions."""

    clock: jax.Array  # [B U] int32


class SmallAcLLM(AcLLM):
    """An AcLLM with the aids that `model.variant` (options.Small) enables."""

    @staticmethod
    def reads(model):
        """The CTC head, if positions or the converter depend on it."""
        return (names.CTC_HEAD,) if model.variant.needs_ctc else ()

    @staticmethod
    def check(model, needs):
        """Raises ConfigError if the decoder is of another kind, if the converter reads what it is
        not for, or if the head predicts more labels per encoder frame than the objective has.
        """
        parts = needs.parts
        if names.DECODER in parts and model.decoder.kind != "transformer":
            raise ConfigError(
                "model.decoder.kind: model.variant.kind = 'small' extends the decoder: expected"
                f" 'transformer', found {model.decoder.kind!r}: take it, or variant"
                " dict(kind='paper'), which builds any decoder"
            )
        labels, read = model.variant.labels, model.variant.converter_input
        if names.CONVERTER in parts and (model.converter.kind == "mean") != (read != "frames"):
            raise ConfigError(
                "model.converter.kind: expected 'mean' where model.variant.converter_input is"
                f" 'ctc_posteriors' and only there, found {model.converter.kind!r} for {read!r}"
            )
        if names.SSL_HEAD in parts and labels != getattr(needs, "labels", 1):
            raise ConfigError(
                "model.variant.labels above 1 needs stage kind 'dense_ssl1', found another kind"
                f" and {labels}: set it to 1 for this stage"
            )

    @staticmethod
    def check_room(model, before, speech):
        """Raises ConfigError if clocked speech has too few positions before the transcript."""
        variant = model.variant
        begin = max(variant.speech_position, before)
        if variant.clocked and begin + speech >= variant.transcript_position:
            raise ConfigError(
                f"speech begins after {begin} positions and takes {speech}, by data.buckets:"
                f" expected model.variant.transcript_position above {begin + speech}, found"
                f" {variant.transcript_position}"
            )

    def convert(self, x, length, ctc_logits=None):
        """See AcLLM; the variant may convert CTC posteriors and count CTC onsets."""
        variant = self.config.variant
        if not variant.needs_ctc:
            return super().convert(x, length)
        if ctc_logits is None:
            ctc_logits = self.ctc_head(x)
        if variant.converter_input == "ctc_posteriors":
            pieces = self.decoder.pieces(jnp.arange(ctc_logits.shape[-1]))
            x = devices.expected_pieces(ctc_logits, pieces)
        speech = Speech(*self.converter(x, length))
        if not variant.clocked:
            return speech
        splice = self.config.converter.splice
        clock = devices.onset_clock(ctc_logits, length, splice, self.tokens.pad)
        return ClockedSpeech(speech.x, speech.length, clock)

    def positions(self, begin, speech):
        """See AcLLM; clocked speech has positions between two constants.

        Prefix, speech and transcript never overlap, even if the prefix is longer or there are more
        onsets than in training.
        """
        if not isinstance(speech, ClockedSpeech):
            return super().positions(begin, speech)
        begin = jnp.maximum(self.config.variant.speech_position, begin)
        after = jnp.maximum(self.config.variant.transcript_position, begin[:, 0] + 2)
        return begin + jnp.minimum(speech.clock, after[:, None] - begin - 1), after
