"""`config.imports` for tests: options of an encoder outside the package, outside_encoder.py."""

import dataclasses

from seedasr_jax import config


@config.register("energies", "outside_encoder:Energies")
@dataclasses.dataclass(frozen=True)
class Energies(config.Frontend):
    """Logarithms of energies of parts of a hop; it applies no perturbation."""

    hop: int = config.at_least(1)  # samples
    width: int = config.at_least(1)  # a divisor of the hop


@config.register("thirteen", "outside_encoder:Thirteen")
@dataclasses.dataclass(frozen=True)
class Thirteen(config.Encoder):
    """13 frames for each whole second."""

    patch: int = config.at_least(1)  # features of a frame
