"""Options of the kinds that are ours."""

import dataclasses

from seedasr_jax import config


@config.register("local_luise", "seedasr_jax.small.models.luise:LocalLuise")
@dataclasses.dataclass(frozen=True)
class LocalLuise(config.Luise):
    """LUISE whose lower layers have no attention: a few of 80 ms need little of it."""

    attending: int = config.at_least(1)  # layers with attention, the last ones

    def check(self):
        """Attention is in layers that there are, below which some have none."""
        super().check()
        few = self.attending < self.layers
        config.require(few, "attending", f"less than layers = {self.layers}", self.attending)


@config.register("small", "seedasr_jax.small.models.acllm:SmallAcLLM")
@dataclasses.dataclass(frozen=True)
class Small(config.Variant):
    """A recogniser with devices for a decoder of a few layers (small/models/devices.py)."""

    # "frames" is the paper's form of both choices
    speech_positions: str = config.one_of("frames", "ctc_onsets")
    speech_position: int = config.within(0, 2**24)  # where clocked ones start, or past the context
    transcript_position: int = config.within(0, 2**24)  # where the transcript's start, if clocked
    converter_input: str = config.one_of("frames", "ctc_posteriors")
    mix: bool  # each token's embedding takes a learned share of the one before
    flag: bool  # a learned vector is added to the tokens of a context
    spelled: bool  # embeddings of pieces with similar spellings start close together
    phones: int = config.at_least(0)  # classes that `clocked_ctc` labels frames with; 0: none
    labels: int = config.at_least(1)  # that `dense_ssl1` predicts of each encoder frame

    @property
    def clocked(self) -> bool:
        """Whether speech positions follow CTC onsets."""
        return self.speech_positions == "ctc_onsets"

    @property
    def needs_ctc(self) -> bool:
        """Whether the LLM's input depends on the CTC head."""
        return self.clocked or self.converter_input == "ctc_posteriors"
