"""Stage `probe`: which layer of a frozen encoder predicts text best (Seed-ASR section 3.2)."""

from seedasr_jax.errors import ConfigError
from seedasr_jax.models import names
from seedasr_jax.train.objectives.registry import register
from seedasr_jax.train.objectives.shared import Acoustic, Needs


@register("probe")
class Probe(Acoustic):
    """Trains a CTC head on every layer at once; the heads share nothing but the batch."""

    weigh = Acoustic.ctc_weights

    @classmethod
    def ask(cls, stage, options):
        if stage.trains != (names.PROBE,):
            raise ConfigError(
                f"stage kind 'probe' trains its heads alone: expected trains ('probe',), found"
                f" {stage.trains}"
            )
        return Needs((names.ENCODER, names.PROBE), aligned=True, apart=True)

    def loss(self, model, batch, weights, rng):
        """CTC loss per token, summed over layers: each head trains as if it were the only one."""
        features, length = self.features(model.encoder, batch, rng)
        masked = self.masked(features, length, batch, rng)
        layers, frames = model.encoder.every_layer(masked, length)

        def measure(logits):
            return self.ctc_loss(logits, frames, batch, weights, rng)

        losses = model.probe(layers, measure)
        return losses.sum(), {"loss": losses.mean(), "layers": losses}

    def summary(self, terms):
        """The loss of each layer by its number, from 1, the lowest."""
        layers = {f"{number:02}": loss for number, loss in enumerate(terms["layers"], 1)}
        return terms | {"layers": layers}
