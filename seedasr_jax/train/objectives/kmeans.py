"""Stage `kmeans`: fits a codebook for the second SSL iteration to a layer of the first encoder."""

import jax.numpy as jnp

from seedasr_jax import shapes
from seedasr_jax.errors import ConfigError
from seedasr_jax.losses.masked_prediction import describe
from seedasr_jax.models import names
from seedasr_jax.quantize import kmeans
from seedasr_jax.train.objectives.registry import register
from seedasr_jax.train.objectives.shared import Acoustic, Needs, count
from seedasr_jax.train.objectives.ssl import probe_of, teacher_frames


@register("kmeans")
class KMeans(Acoustic):
    """Online Lloyd algorithm: the gradient carries a batch's sums; optim.name=kmeans adds them."""

    @classmethod
    def ask(cls, stage, options):
        if stage.optim.name != "kmeans":
            raise ConfigError(
                f"stage kind 'kmeans': expected optim.name 'kmeans', found {stage.optim.name!r};"
                " configs/common.py: kmeans()"
            )
        return Needs((names.TEACHER, names.CODEBOOK), consults=probe_of(stage), reads=False)

    def weigh(self, batch, rng):
        return {"frames": count(self.frames(batch, rng) * batch.weight)}

    def loss(self, model, batch, weights, rng):
        """The total only carries sums; the term `loss` is the mean squared distance per frame."""
        x, length = teacher_frames(model, *self.features(model.teacher, batch, rng))
        distances = model.codebook.distances(x)
        valid = shapes.valid(length, x.shape[1]) * batch.weight[:, None]
        codes = self.stage.model.quantizer.codes
        sums = kmeans.batch_sums(x, jnp.argmin(distances, -1), valid, codes)
        inertia = jnp.where(valid > 0, distances.min(-1), 0).sum() / weights["frames"]
        total = kmeans.surrogate(model.codebook.statistics(), sums)
        return total, {"loss": inertia, "codes": sums["counts"]}

    def summary(self, terms):
        """Replaces the histogram `codes` by figures of its distribution."""
        return {k: v for k, v in terms.items() if k != "codes"} | describe(terms["codes"])
