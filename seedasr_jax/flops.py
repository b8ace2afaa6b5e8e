"""Analytic FLOPs: products of matrices, 2 for a multiplication and its addition.

Only work that the method asks for counts: no padding of a vocabulary, no score that a causal mask
throws away, nothing that is computed again for lack of memory. Norms, softmax, the log-mel front
and losses are left out, together less than a hundredth of a full-size model. What a part costs
stands in its entry of models/parts.py.
"""

from collections.abc import Container, Iterable

from seedasr_jax import config
from seedasr_jax.models import parts as registry
from seedasr_jax.models.decoder import flops as decoder
from seedasr_jax.models.decoder import logits_flops as logits
from seedasr_jax.models.parts import Sizes

__all__ = ["Sizes", "decoder", "forward", "logits", "passes", "train"]


def forward(
    model: config.Model, vocabulary: int, parts: Iterable[str], sizes: Sizes
) -> dict[str, float]:
    """FLOPs of one forward pass over a batch, by part.

    Args:
        model: sizes of the parts.
        vocabulary: pieces of the tokenizer.
        parts: those that run.
        sizes: of the batch.
    """
    parts, kind = tuple(parts), model.variant.kind
    return {p: registry.lookup(p, kind).flops(model, vocabulary, sizes, parts) for p in parts}


def train(stage: config.Stage, vocabulary: int, parts, sizes: Sizes) -> dict[str, float]:
    """FLOPs of a training step, by part: see `passes`.

    Args:
        stage: what trains, and its model.
        vocabulary, parts, sizes: as of `forward`.
    """
    trains = {registry.holder(part) for part in stage.trains}
    adapted = trains - set(stage.trains)  # they train by a part inside them alone
    return {
        part: amount * (passes(part, trains) - (part in adapted))
        for part, amount in forward(stage.model, vocabulary, parts, sizes).items()
    }


def passes(part: str, trains: Container[str]) -> int:
    """1 forward; 1 more for gradients of activations, 1 more for those of weights.

    A frozen part behind one that trains passes gradients on; one with nothing that trains before
    it needs none, and a single layer that trains has no use for them either.
    """
    entry, own = registry.lookup(part), part in trains
    before = any(other in trains for other in entry.follows)
    return 1 + own + (before or (own and entry.deep))
