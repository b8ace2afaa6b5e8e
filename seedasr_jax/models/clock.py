"""Clock: the number of frames of a sound, and the time of each.

Every front end and encoder has one, whose functions are pure and take integers or traced arrays.
"""

import dataclasses
from typing import Protocol


class Clock(Protocol):
    """Frame arithmetic of a front end or an encoder."""

    def frames(self, samples, tempo=1.0):
        """Number of frames of `samples` samples when sped up by `tempo`."""

    def buffer(self, samples: int) -> int:
        """Number of frames of a wave padded to `samples` samples: T of [B T ...]."""

    def seconds(self, frame):
        """Seconds at which a frame begins, at tempo 1; a fraction is a point inside a frame."""


@dataclasses.dataclass(frozen=True)
class Strided:
    """The clock of an encoder with one frame per `stride` features, rounded up."""

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
        """Number of frames of `count` features."""
        return -(-count // self.stride)
