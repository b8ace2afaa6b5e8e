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
from seedasr_jax.train.state import TrainState


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NBest:
    """Batch.extra of reinforcement learning: N hypotheses of each utterance, and their errors."""

    ids: jax.Array  # [B N L] int32
    length: jax.Array  # [B N] int32
    risk: jax.Array  # [B N] float32, weighted errors


def shapes(number: int, utterances: int, bucket: tuple[float, int, int]) -> NBest:
    """The shapes of a bucket's NBest."""
    _, tokens, _ = bucket
    return NBest(
        jax.ShapeDtypeStruct((utterances, number, tokens), np.int32),
        jax.ShapeDtypeStruct((utterances, number), np.int32),
        jax.ShapeDtypeStruct((utterances, number), np.float32),
    )


class Rollout:
    """(state, numpy Batch, its rows) -> the Batch with an NBest.

    It depends on its arguments alone: draws come from the state's rng, its step and each example's
    position, so a resumed run repeats them. Hypotheses have at most as many tokens as the bucket
    has for transcripts.
    """

    def __init__(
        self,
        program: Callable[..., Hypotheses],
        mesh,
        decode: Callable[[list[int]], str],
        risk: Callable[[Any, str], float],
    ):
        """Compiles nothing yet.

        Args:
            program: the result of `rollout` in decode/program.py.
            mesh: mesh of the state and the batch.
            decode: ids -> text by the tokenizer.
            risk: (row, hypothesis) -> its errors; see `weighted_risk`.
        """
        self.program, self.mesh, self.decode, self.risk = program, mesh, decode, risk

    def __call__(self, state: TrainState, batch: Batch, rows: Sequence[Any]) -> Batch:
        """Decodes on the devices, counts errors on the host.

        Args:
            state: state of this step; not donated.
            batch: this process's rows.
            rows: input of `risk` for each row of the batch; not read if the weight is 0.
        """
        model = nnx.merge_state(state.params, state.frozen)
        over = sharding.put_batch(batch, self.mesh)
        found = self.program(model, over, (state.rng, state.step))
        hyp, length, score = map(sharding.take_rows, (found.ids, found.length, found.score))
        there = score > IMPOSSIBLE  # missing hypotheses repeat the first one
        hyp = np.where(there[..., None], hyp, hyp[:, :1])
        length = np.where(there, length, length[:, :1])
        risk = np.zeros(length.shape, np.float32)
        for b, n in np.argwhere(np.repeat(batch.weight[:, None] > 0, length.shape[1], 1)):
            text = self.decode(hyp[b, n, : length[b, n]].tolist())
            risk[b, n] = self.risk(rows[b], text)
        return dataclasses.replace(batch, extra=NBest(hyp, length, risk))


def weighted_risk(conventions: Conventions, keyword_weight: float):
    """Returns a risk function: weighted errors per unit of the reference (text/weighted.py).

    It reads `text`, `keywords`, `context` and `language` of a row; texts are normalised and split
    by the convention of the language.
    """

    def risk(row, hypothesis: str) -> float:
        own = conventions.of(row.language)
        found = weighted_errors(
            own.clean(row.text),
            own.clean(hypothesis),
            keywords=[own.clean(word) for word in row.keywords],
            context=[own.clean(row.context)],
            weight=keyword_weight,
            unit=own.unit,
        )
        return found.rate

    return risk
