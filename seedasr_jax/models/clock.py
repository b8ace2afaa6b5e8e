"""Clock: how many frames a sound has, and when each is.

Front ends and encoders have one each; every weight, bucket, mask, cache and plan asks it. Its
functions are pure, and take Python integers and traced arrays alike.
"""

import dataclasses
from typing import Protocol


class Clock(Protocol):
    """The frames of a front end or of an encoder."""

    def frames(self, samples, tempo=1.0):
        """Frames of so many samples, of a voice sped up by `tempo`."""

    def buffer(self, samples: int) -> int:
        """Frames in the array of a wave that is padded to so many samples: T of [B T ...]."""

    def seconds(self, frame):
        """Where a frame begins, at tempo 1; a fraction is a place inside a frame."""


@dataclasses.dataclass(frozen=True)
class Strided:
    """The clock of an encoder that makes a frame of every `stride` features, begun ones too."""

    features: Clock
    stride: int

    def frames(self, samples, tempo=1.0):
        """See Clock."""
        return self.of_features(self.features.frames(samples, tempo))

    def buffer(self, samples: int) -> int:
        """See Clock."""
        return self.of_features(self.features.buffer(samples))

    def seconds(self, frame):
        """See Clock."""
        return frame * self.features.seconds(self.stride)

    def of_features(self, count):
        """Frames of so many features."""
        return -(-count // self.stride)

    def split(self, parts: int) -> "Strided":
        """The clock of labels, of which each frame has `parts`, a divisor of the stride."""
        return Strided(self.features, self.stride // parts)
