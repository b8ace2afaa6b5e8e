"""Front ends by kind: functions without parameters from waves to an encoder's features.

    @config.register("mine", "my_models:Mine")  # decorates the options, a config.Frontend subclass

`Mine(options)` is called like LogMel and is the Clock of its features (models/clock.py). It is
hashable: a frozen dataclass of its options. The options declare which perturbations it applies.

Dims: B batch, S samples, T frames, F features.
"""

import dataclasses

from seedasr_jax import config
from seedasr_jax.audio import logmel


def make(options: config.Frontend):
    """Builds the front end of these options."""
    return options.maker()(options)


@dataclasses.dataclass(frozen=True)
class LogMel:
    """Log-mel filter bank, 100 frames per second: see audio/logmel.py."""

    options: config.LogMel

    def __call__(self, wave, length, channel=None):
        """Waves [B S] in [-1, 1], [B] int32 valid samples -> [B T F], [B] int32 valid frames.

        `channel`: `perturb.Channel` of this batch, or None.
        """
        return logmel.log_mel(wave, length, self.options, channel)

    def frames(self, samples, tempo=1.0):
        """See Clock."""
        return logmel.num_frames(samples, tempo)

    def buffer(self, samples: int) -> int:
        """See Clock."""
        return logmel.buffer(samples)

    def seconds(self, frame):
        """See Clock."""
        return frame / logmel.FRAMES_PER_SECOND
