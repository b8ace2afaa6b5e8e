"""Options of the optimisers, by name; a module of `imports` may register others.

    @config.register("mine", "my_optimisers:mine")
    @dataclasses.dataclass(frozen=True)
    class Mine(config.Scheduled): ...

`mine(options, steps, *, apart)` gives the optax.GradientTransformation; see train/optim.py.
"""

from collections.abc import Mapping
import dataclasses
import math
from typing import ClassVar

from seedasr_jax.config.bounds import above, at_least, below_one, one_of, require, within
from seedasr_jax.config.groups import Tagged, register


@dataclasses.dataclass(frozen=True)
class Optim(Tagged):
    """What turns gradients into updates."""

    tag: ClassVar[str] = "name"

    name: str

    @property
    def warmup_steps(self) -> int:
        """Steps of the warm-up, which end within the stage."""
        return 0

    @property
    def factors(self) -> Mapping[str, float]:
        """Factors of the learning rate, by part."""
        return {}


@dataclasses.dataclass(frozen=True)
class Scheduled(Optim):
    """Keys of an optimiser with clipping, weight decay, and a rate with warm-up and decay."""

    lr: float = above(0)
    warmup: int = at_least(0)  # steps
    decay: str = one_of("cosine", "linear", "constant")
    final: float = within(0, 1)  # share of the rate at the end
    weight_decay: float = at_least(0)
    clip: float = at_least(0)  # global norm; 0: none
    rates: Mapping[str, float] = at_least(0)  # factor by part; others: 1

    @property
    def warmup_steps(self):
        """Steps of the warm-up."""
        return self.warmup

    @property
    def factors(self):
        """Factors of the learning rate, by part."""
        return self.rates

    def check(self):
        """Weights decay towards 0."""
        shrinks = self.lr * self.weight_decay < 1
        least = f"less than 1 / lr = {1 / self.lr:g}, or weights change their sign"
        require(shrinks, "weight_decay", least, self.weight_decay)


@register("adamw", "seedasr_jax.train.optim:adamw")
@dataclasses.dataclass(frozen=True)
class AdamW(Scheduled):
    """Adam with decoupled weight decay (arXiv 1711.05101)."""

    b1: float = below_one()
    b2: float = below_one()
    eps: float = above(0, 1)

    def check(self):
        """Weights decay towards 0, and the moments fit each other (arXiv 1412.6980, section 4)."""
        super().check()
        converges = self.b1**2 < math.sqrt(self.b2) or self.b1 == 0
        require(converges, "b1", f"less than b2^(1/4) = {self.b2**0.25:.4g}", self.b1)


@register("adafactor", "seedasr_jax.train.optim:adafactor")
@dataclasses.dataclass(frozen=True)
class Adafactor(Scheduled):
    """Second moments as a row and a column of each matrix (arXiv 1804.04235)."""

    momentum: float = below_one()  # 0: none
    decay_rate: float = below_one()  # exponent by which old squares decay
    eps: float = above(0, 1)


@register("kmeans", "seedasr_jax.train.optim:kmeans")
@dataclasses.dataclass(frozen=True)
class KMeans(Optim):
    """The fit of k-means: no gradient, but sums over frames."""

    keep: float = below_one()  # share of the old frames that a step keeps
