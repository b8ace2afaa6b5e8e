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
