"""In which shapes a model is scored, and what it reads: training, `eval` and `plan` ask here."""

import dataclasses

from seedasr_jax import config
from seedasr_jax.checkpoint.limits import Limits
from seedasr_jax.decode import methods


@dataclasses.dataclass(frozen=True)
class Scoring:
    """What the data of an evaluation become."""

    buckets: tuple[tuple[float, int, int], ...]  # all that may run, utterances not rounded up
    pieces: tuple[float, float] | None  # Limits.piece; None: no utterance is cut
    context_tokens: int  # of a context that is read


def of(decode: str, buckets, limits: Limits) -> Scoring:
    """How utterances are scored.

    Args:
        decode: a name of decode/methods.py.
        buckets: (seconds, tokens decoded at most, utterances), ascending.
        limits: of the model.
    """
    method = methods.parse(decode)
    pieces = None if method.long == "direct" else limits.piece
    return Scoring(
        buckets=tuple(buckets) if pieces is None else config.reached(buckets, limits.seconds),
        pieces=pieces,
        context_tokens=limits.context_tokens if method.reads else 0,
    )
