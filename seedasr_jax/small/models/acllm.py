"""The small recipes' recogniser: where speech stands, and what its converter reads.

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
    """Speech with the number of tokens that have begun, which says where it stands."""

    clock: jax.Array  # [B U] int32


class SmallAcLLM(AcLLM):
    """An AcLLM with the devices that `model.variant`, a small.Small, switches on."""

    @staticmethod
    def reads(model):
        """The CTC head where positions or the converter depend on it."""
        return (names.CTC_HEAD,) if model.variant.needs_ctc else ()

    @staticmethod
    def check(model, parts):
        """K-means gives one label of an encoder frame.

        Raises:
            ConfigError: the head predicts more.
        """
        labels = model.variant.labels
        if {names.SSL_HEAD, names.CODEBOOK} <= {*parts} and labels != 1:
            raise ConfigError(
                "model.variant.labels: k-means gives one label of an encoder frame, found"
                f" {labels}: set it to 1 for this stage"
            )

    @staticmethod
    def check_room(model, before, speech):
        """Clocked speech has a position for each of its tokens before the transcript begins.

        Raises:
            ConfigError: it has not.
        """
        variant = model.variant
        begin = max(variant.speech_position, before)
        if variant.clocked and begin + speech >= variant.transcript_position:
            raise ConfigError(
                f"speech begins after {begin} positions and takes {speech}, by data.buckets:"
                f" expected model.variant.transcript_position above {begin + speech}, found"
                f" {variant.transcript_position}"
            )

    def convert(self, x, length, ctc_logits=None):
        """See AcLLM: by CTC posteriors and clocked by CTC onsets where the variant says so."""
        variant = self.config.variant
        if not variant.needs_ctc:
            return super().convert(x, length)
        if ctc_logits is None:
            ctc_logits = self.ctc_head(x)
        clock = None
        if variant.clocked:
            splice = self.config.converter.splice
            clock = devices.onset_clock(ctc_logits, length, splice, self.tokens.pad)
        if variant.converter_input == "ctc_posteriors":
            pieces = self.decoder.pieces(jnp.arange(ctc_logits.shape[-1]))
            x = devices.expected_pieces(ctc_logits, pieces)
        speech = Speech(*self.converter(x, length))
        return speech if clock is None else ClockedSpeech(speech.x, speech.length, clock)

    def place(self, begin, speech):
        """See AcLLM: at the clock, between two constants.

        One is never inside the other: neither a longer prefix nor more onsets than were ever
        trained on may overrun what follows.
        """
        if not isinstance(speech, ClockedSpeech):
            return super().place(begin, speech)
        begin = jnp.maximum(self.config.variant.speech_position, begin)
        after = jnp.maximum(self.config.variant.transcript_position, begin[:, 0] + 2)
        return begin + jnp.minimum(speech.clock, after[:, None] - begin - 1), after
