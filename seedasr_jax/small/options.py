"""Options of the small recipes' kinds."""

import dataclasses

from seedasr_jax import config


@config.register("local_luise", "seedasr_jax.small.models.luise:LocalLuise")
@dataclasses.dataclass(frozen=True)
class LocalLuise(config.Luise):
    """LUISE without attention in its lower layers: a few frames of 80 ms need little of it."""

    attending: int = config.at_least(1)  # number of layers with attention, the last ones

    def check(self):
        """Checks that at least one layer has no attention."""
        super().check()
        few = self.attending < self.layers
        config.require(few, "attending", f"less than layers = {self.layers}", self.attending)


@config.register("mean", "seedasr_jax.small.models.devices:MeanConverter")
@dataclasses.dataclass(frozen=True)
class Mean(config.Linear):
    """A converter of CTC posteriors, initialised as the mean of the frames it splices."""


@config.register("small", "seedasr_jax.small.models.acllm:SmallAcLLM")
@dataclasses.dataclass(frozen=True)
class Small(config.Variant):
    """A recogniser with aids for a decoder of a few layers (small/models/devices.py)."""

    # "frames" is the paper's choice in both keys
    speech_positions: str = config.one_of("frames", "ctc_onsets")
    speech_position: int = config.within(0, 2**24)  # first clocked position, or past the context
    transcript_position: int = config.within(0, 2**24)  # transcript's first position, if clocked
    converter_input: str = config.one_of("frames", "ctc_posteriors")
    mix: bool  # adds a learned projection of the previous token's embedding
    flag: bool  # adds a learned vector to context tokens
    spelled: bool  # pieces of similar spelling have similar initial embeddings
    phones: int = config.at_least(0)  # classes of `clocked_ctc`'s frame labels; 0: none
    labels: int = config.at_least(1)  # predicted by `dense_ssl1` per encoder frame

    @property
    def clocked(self) -> bool:
        """Whether speech positions follow CTC onsets."""
        return self.speech_positions == "ctc_onsets"

    @property
    def needs_ctc(self) -> bool:
        """Whether the LLM's input depends on the CTC head."""
        return self.clocked or self.converter_input == "ctc_posteriors"
