"""Options of the optimisers, by name; modules of `imports` may register others.

    @config.register("mine", "my_optimisers:mine")
    @dataclasses.dataclass(frozen=True)
    class Mine(config.Scheduled): ...

`mine(options, steps, *, apart)` returns the optax.GradientTransformation; see train/optim.py.
"""

from collections.abc import Mapping
import dataclasses
import math
import types
from typing import ClassVar

from seedasr_jax.config.bounds import above, at_least, below_one, one_of, require, within
from seedasr_jax.config.groups import Tagged, register


@dataclasses.dataclass(frozen=True)
class Optim(Tagged):
    """Options of an optimiser."""

    tag: ClassVar[str] = "name"

    name: str

    warmup = 0  # both are fields of the kinds that have a learning rate
    rates = types.MappingProxyType({})


@dataclasses.dataclass(frozen=True)
class Scheduled(Optim):
    """Options with clipping, weight decay, and a learning rate with warm-up and decay."""

    lr: float = above(0)
    warmup: int = at_least(0)  # steps
    decay: str = one_of("cosine", "linear", "constant")
    final: float = within(0, 1)  # final learning rate / lr
    weight_decay: float = at_least(0)
    clip: float = at_least(0)  # global norm; 0: none
    rates: Mapping[str, float] = at_least(0)  # learning-rate factor by part; default: 1

    def check(self):
        """Checks that weight decay shrinks weights without changing their sign."""
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
        """Also checks the convergence condition on b1 and b2 (arXiv 1412.6980, section 4)."""
        super().check()
        converges = self.b1**2 < math.sqrt(self.b2) or self.b1 == 0
        require(converges, "b1", f"less than b2^(1/4) = {self.b2**0.25:.4g}", self.b1)


@register("adafactor", "seedasr_jax.train.optim:adafactor")
@dataclasses.dataclass(frozen=True)
class Adafactor(Scheduled):
    """Adafactor: second moments factored into rows and columns (arXiv 1804.04235)."""

    momentum: float = below_one()  # 0: none
    decay_rate: float = below_one()  # second moments decay by 1 - step**-decay_rate
    eps: float = above(0, 1)


@register("kmeans", "seedasr_jax.train.optim:kmeans")
@dataclasses.dataclass(frozen=True)
class KMeans(Optim):
    """Fits k-means from sums over frames, without gradients."""

    keep: float = below_one()  # factor on the sums of earlier frames, per step
