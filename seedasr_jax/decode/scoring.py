"""Shapes and inputs with which a model is scored, the same in training, `eval` and `plan`."""

import dataclasses

from seedasr_jax import config
from seedasr_jax.checkpoint.limits import Limits
from seedasr_jax.decode import methods


@dataclasses.dataclass(frozen=True)
class Scoring:
    """How the data of an evaluation are batched."""

    buckets: tuple[tuple[float, int, int], ...]  # all that may run; utterances are not rounded up
    limit: tuple[float, float] | None  # Limits.segment; None: no audio is cut
    context_tokens: int  # maximum number of context tokens that are read


def of(decode: str, buckets, limits: Limits) -> Scoring:
    """The Scoring of a decoding method (decode/methods.py), from the limits of a model.

    `buckets`: (seconds, maximum number of decoded tokens, utterances), ascending.
    """
    method = methods.parse(decode)
    limit = None if method.long == "direct" else limits.segment
    return Scoring(
        buckets=tuple(buckets) if limit is None else config.reached(buckets, limits.seconds),
        limit=limit,
        context_tokens=limits.context_tokens if method.reads else 0,
    )
