"""The training loop: step, log, save, evaluate, stop; independent of data and model."""

from collections.abc import Callable, Iterator
import dataclasses
from typing import Any

import jax

from seedasr_jax import config
from seedasr_jax.batch import Batch
from seedasr_jax.errors import UserError
from seedasr_jax.parallel import sharding
from seedasr_jax.train.metrics import Metrics, flat, peak_memory_gib
from seedasr_jax.train.step import TrainState


class Stopped(Exception):
    """The loop was asked to stop and has saved."""


@dataclasses.dataclass(frozen=True)
class Hooks:
    """Functions that the loop calls."""

    # (step, state, its row, not yet written, transient). Transient: the step is saved only because
    # it is scored or the loop stops, and may be removed once a later one is saved.
    save: Callable[[int, TrainState, dict, bool], None]
    evaluate: Callable[[int, TrainState], dict]  # scores to log; may raise Stopped
    stopping: Callable[[], bool]
    progress: Callable[[int, float, dict], None]  # step, steps per second, terms
    # Terms -> scalars to log; raises UserError if further training is pointless.
    summary: Callable[[dict], dict] = lambda terms: terms
    # (state, numpy batch, its rows) -> the batch to train on. It depends on these alone, so that a
    # resumed stage repeats it. The rollout of reinforcement learning runs here.
    prepare: Callable[[TrainState, Batch, Any], Batch] = lambda state, batch, rows: batch
    # Called with its previous return value (first None) and the terms of each logged step.
    watch: Callable[[Any, dict], Any] = lambda state, terms: state


def run(
    train_step: Callable[[TrainState, Batch], tuple[TrainState, dict]],
    state: TrainState,
    batches: Iterator[tuple[Batch, Any]],
    metrics: Metrics,
    stage: config.Stage,
    mesh: Any,
    hooks: Hooks,
    unwritten: dict | None = None,
) -> TrainState:
    """Trains from `state.step` to the stage's last step; returns the last state, which is saved.

    A step is saved, with its row, before it is scored; the row is then written with the scores.
    Wherever the stage is killed, every step is scored and written exactly once.

    Args:
        state: state to continue from; donated.
        batches: numpy batches from `state.step` on, each with its rows, which `prepare` reads.
        mesh: mesh that batches are sharded over.
        unwritten: the row of `state.step` if that step was saved but neither scored nor written.

    Raises:
        Stopped: requested by hooks.stopping() or hooks.evaluate(); the state is saved.
        UserError: too many gradients were not finite, or raised by hooks.summary().
    """
    every, step, watched = stage.run, int(state.step), None

    def due():
        return step == stage.steps or (stage.eval.every and step % stage.eval.every == 0)

    def score_and_write(row):
        if due():
            row = row | hooks.evaluate(step, state)
        if row:
            metrics.write(step, row)

    if unwritten is not None:
        score_and_write(unwritten)
    while step < stage.steps:
        batch = hooks.prepare(state, *next(batches))
        state, terms = train_step(state, sharding.put_batch(batch, mesh))
        step += 1
        last, stopping = step == stage.steps, hooks.stopping()
        row = {}
        if step % every.log_every == 0 or last:
            terms = hooks.summary(terms) | {"skipped": state.skipped}
            jax.block_until_ready(terms)
            speed = metrics.speed(step)
            host = {"steps_per_second": speed, "peak_memory_gib": peak_memory_gib()}
            row = flat(terms | {"host": host})
            hooks.progress(step, speed, terms)
            watched = hooks.watch(watched, terms)
            _give_up(step, int(state.skipped))
        regular = step % every.save_every == 0 or last
        if regular or due() or stopping:
            hooks.save(step, state, row, not regular)
        score_and_write(row)
        if stopping and not last:
            raise Stopped(step)
    return state


def _give_up(step, skipped):
    if skipped >= max(10, step // 10):
        raise UserError(
            f"{skipped} of {step} steps had gradients that were not finite; lower optim.lr or set"
            " optim.clip, and look at the metrics for the first of them"
        )
