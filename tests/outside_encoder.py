"""An encoder outside of the package, with its own front end, hop and rounding.

Sounds are padded to half a second. Each whole second gives 13 frames, the last of which is partly
padding; of the rest each begun patch gives one.

Dims: B batch, S samples, T features in time, F features, D width, N seconds.
"""

import dataclasses

import jax
import jax.numpy as jnp

from seedasr_jax import shapes
from seedasr_jax.models import frontends
from seedasr_jax.models.encoders import Encoder
from seedasr_jax.models.layers import Dense

RATE = 16_000  # samples per second
SHORTEST = 8_000  # samples
FRAMES = 13  # per second


@dataclasses.dataclass(frozen=True)
class Energies:
    """A front end without overlap."""

    options: object

    def __call__(self, wave, length, channel=None):
        assert channel is None
        hop, time = self.options.hop, self.buffer(wave.shape[1])
        wave = shapes.zero_padding(wave, length)
        wave = jnp.pad(wave, ((0, 0), (0, time * hop - wave.shape[1])))
        x = wave.reshape(len(wave), time, self.options.width, -1)
        count = self.frames(length)
        return shapes.zero_padding(jnp.log(1e-4 + (x * x).mean(-1)), count), count

    def frames(self, samples, tempo=1.0):
        """See Clock."""
        assert isinstance(tempo, float) and tempo == 1
        largest = max if isinstance(samples, int) else jnp.maximum
        return -(-largest(samples, SHORTEST) // self.options.hop)

    def buffer(self, samples):
        """See Clock."""
        return self.frames(samples)

    def seconds(self, frame):
        """See Clock."""
        return frame * self.options.hop / RATE


@dataclasses.dataclass(frozen=True)
class Clock:
    """13 frames a second."""

    options: object

    @property
    def features(self):
        """The front end."""
        return frontends.make(self.options.frontend)

    def frames(self, samples, tempo=1.0):
        """See models/clock.py."""
        return self.of_features(self.features.frames(samples, tempo))

    def buffer(self, samples):
        """See models/clock.py."""
        return self.of_features(self.features.buffer(samples))

    def seconds(self, frame):
        """See models/clock.py."""
        return frame // FRAMES + frame % FRAMES * self.features.seconds(self.options.patch)

    @property
    def second(self):
        """Features of a second."""
        return RATE // self.options.frontend.hop

    def of_features(self, count):
        """Frames of so many features."""
        return count // self.second * FRAMES - (-(count % self.second) // self.options.patch)


class Thirteen(Encoder):
    """One linear layer over the patches of each second."""

    def __init__(self, options, *, remat, dtype, rngs):
        super().__init__(options)
        self.options = options
        inputs = options.patch * options.frontend.width
        axes = ("patch", "width")
        self.project = Dense(inputs, options.width, axes, dtype=dtype, rngs=rngs)

    @staticmethod
    def clock(options):
        """See Encoder."""
        return Clock(options)

    @staticmethod
    def flops(options, features, utterances=1, lowest=0):
        """See Encoder."""
        inputs = options.patch * options.frontend.width
        return 2.0 * utterances * Clock(options).of_features(features) * inputs * options.width

    def __call__(self, x, length, keys=None):
        """[B T F] of [B] valid ones -> [B T' D], zero at padding, and [B] valid frames."""
        clock, (rows, time, width) = Clock(self.options), x.shape
        x = shapes.zero_padding(x, length)
        x = jnp.pad(x, ((0, 0), (0, -time % clock.second), (0, 0)))
        x = x.reshape(rows, -1, clock.second, width)  # [B N T F]
        more = FRAMES * self.options.patch - clock.second
        x = jnp.pad(x, ((0, 0), (0, 0), (0, more), (0, 0)))
        x = x.reshape(rows, -1, self.options.patch * width)[:, : clock.of_features(time)]
        length = clock.of_features(length)
        return shapes.zero_padding(jax.nn.gelu(self.project(x)), length), length
