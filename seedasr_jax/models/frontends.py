"""Front ends by kind: functions without parameters from waves to an encoder's features.

    @config.register("mine", "my_models:Mine")  # decorates the options, a config.Frontend subclass

The options declare which perturbations the front end applies. `Mine(options)`, a frozen dataclass,
is called like LogMel and is the Clock of its features (models/clock.py).

Dims: B batch, S samples, T frames, F features.
"""

import dataclasses

import jax.numpy as jnp

from seedasr_jax import config
from seedasr_jax.audio import logmel, whisper_mel


def make(options: config.Frontend):
    """Builds the front end of these options."""
    return options.maker()(options)


@dataclasses.dataclass(frozen=True)
class LogMel:
    """Log-mel filter bank, 100 frames per second: see audio/logmel.py."""

    options: config.LogMel

    frames = staticmethod(logmel.num_frames)
    buffer = staticmethod(logmel.buffer)

    def __call__(self, wave, length, channel=None):
        """Waves [B S] in [-1, 1], [B] int32 valid samples -> [B T F], [B] int32 valid frames.

        `channel`: `perturb.Channel` of this batch, or None.
        """
        return logmel.log_mel(wave, length, self.options, channel)

    def seconds(self, frame):
        """See Clock."""
        return frame / logmel.FRAMES_PER_SECOND


@dataclasses.dataclass(frozen=True)
class WhisperMel:
    """Whisper's log-mel filter bank, 100 frames per second: see audio/whisper_mel.py."""

    options: config.WhisperMel

    def __call__(self, wave, length, channel=None):
        """See LogMel; the options refuse perturbations, so `channel` changes nothing."""
        del channel
        return whisper_mel.whisper_mel(wave, length, self.options)

    def frames(self, samples, tempo=1.0):
        """See Clock."""
        del tempo
        least = self.options.least
        at_least = max if isinstance(samples, int | float) else jnp.maximum
        return at_least(samples, least) // logmel.HOP

    def buffer(self, samples):
        """See Clock."""
        return max(samples, self.options.least) // logmel.HOP

    def seconds(self, frame):
        """See Clock."""
        return frame / logmel.FRAMES_PER_SECOND
