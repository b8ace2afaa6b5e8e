"""Rollout: adds hypotheses of the current model, and their errors, to the Batch.

They are in a field, not in rows of their own, so an N-best list stays in one micro-batch.

Dims: B batch, N hypotheses, L tokens.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any

from flax import nnx
import jax
import numpy as np

from seedasr_jax.batch import Batch
from seedasr_jax.decode.hypotheses import IMPOSSIBLE, Hypotheses
from seedasr_jax.parallel import sharding
from seedasr_jax.text.conventions import Conventions
from seedasr_jax.text.weighted import weighted_errors
from seedasr_jax.train.step import TrainState


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NBest:
    """Batch.extra of reinforcement learning: N hypotheses of each utterance, and their errors."""

    ids: jax.Array  # [B N L] int32
    length: jax.Array  # [B N] int32
    risk: jax.Array  # [B N] float32, weighted errors


def shapes(number: int, utterances: int, bucket: tuple[float, int, int]) -> NBest:
    """The shapes of a bucket's NBest."""
    lists, (_, tokens, _) = (utterances, number), bucket
    ids = jax.ShapeDtypeStruct((*lists, tokens), np.int32)
    length = jax.ShapeDtypeStruct(lists, np.int32)
    return NBest(ids, length, risk=jax.ShapeDtypeStruct(lists, np.float32))


class Rollout:
    """(state, numpy Batch, its rows) -> the Batch with an NBest, of at most the bucket's tokens.

    It depends on its arguments alone: draws come from the state's rng, its step and each example's
    position, so a resumed run repeats them.
    """

    def __init__(
        self,
        program: Callable[..., Hypotheses],
        mesh,
        decode: Callable[[list[int]], str],
        risk: Callable[[Any, str], float],
    ):
        """`program`: see `rollout` in decode/program.py; `risk`: see `weighted_risk`."""
        self.program, self.mesh, self.decode, self.risk = program, mesh, decode, risk

    def __call__(self, state: TrainState, batch: Batch, rows: Sequence[Any]) -> Batch:
        """Decodes on the devices, counts errors on the host.

        `state` is not donated; `batch` and `rows`, the input of `risk`, are this process's.
        """
        model = nnx.merge_state(state.params, state.frozen)
        global_batch = sharding.put_batch(batch, self.mesh)
        found = self.program(model, global_batch, (state.rng, state.step))
        hyp, length, score = map(sharding.take_rows, (found.ids, found.length, found.score))
        valid = score > IMPOSSIBLE  # missing hypotheses repeat the first one
        hyp = np.where(valid[..., None], hyp, hyp[:, :1])
        length = np.where(valid, length, length[:, :1])
        risk = np.zeros(length.shape, np.float32)
        for b, n in np.argwhere(np.repeat(batch.weight[:, None] > 0, length.shape[1], 1)):
            text = self.decode(hyp[b, n, : length[b, n]].tolist())
            risk[b, n] = self.risk(rows[b], text)
        return dataclasses.replace(batch, extra=NBest(hyp, length, risk))


def weighted_risk(conventions: Conventions, keyword_weight: float):
    """(row, hypothesis) -> weighted errors per unit of the reference (text/weighted.py).

    It reads `text`, `keywords`, `context` and `language` of a row; texts are normalised and split
    by the convention of the language.
    """

    def risk(row, hypothesis: str) -> float:
        convention = conventions.of(row.language)
        clean = convention.clean
        keywords, context = [clean(word) for word in row.keywords], [clean(row.context)]
        how = dict(keywords=keywords, context=context, weight=keyword_weight, unit=convention.unit)
        return weighted_errors(clean(row.text), clean(hypothesis), **how).rate

    return risk
