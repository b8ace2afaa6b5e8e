"""Analytic FLOPs of matrix products; a multiply-add counts as 2.

Only work that the method requires is counted: neither vocabulary padding, nor scores discarded by a
causal mask, nor rematerialisation. Norms, softmax, the log-mel front end and losses are left out;
together they are below 1 % in a full-size model. The registry models/parts.py has each part's cost.
"""

from collections.abc import Container, Iterable

from seedasr_jax import config
from seedasr_jax.models import parts as registry
from seedasr_jax.models.parts import Sizes

__all__ = ["Sizes", "forward", "passes", "train"]


def forward(
    model: config.Model, vocabulary: int, parts: Iterable[str], sizes: Sizes
) -> dict[str, float]:
    """FLOPs of one forward pass over a batch, by part.

    `vocabulary`: number of tokenizer pieces; `parts`: those that run; `sizes`: of the batch.
    """
    parts, kind = tuple(parts), model.variant.kind
    return {p: registry.lookup(p, kind).flops(model, vocabulary, sizes, parts) for p in parts}


def train(stage: config.Stage, vocabulary: int, parts, sizes: Sizes) -> dict[str, float]:
    """FLOPs of a training step, by part; see `passes`, and `forward` for the arguments."""
    trains = {registry.holder(part) for part in stage.trains}
    adapted = trains - set(stage.trains)  # only a part inside them trains
    return {
        part: amount * (passes(part, trains) - (part in adapted))
        for part, amount in forward(stage.model, vocabulary, parts, sizes).items()
    }


def passes(part: str, trains: Container[str]) -> int:
    """Number of passes: 1 forward, plus 1 each for gradients of activations and of weights.

    A frozen part needs gradients of its activations only if it follows a part that trains. A
    trained part that follows none needs them only between its layers, if it has several.
    """
    entry, own = registry.lookup(part), part in trains
    before = any(other in trains for other in entry.follows)
    return 1 + own + (before or (own and entry.deep))
