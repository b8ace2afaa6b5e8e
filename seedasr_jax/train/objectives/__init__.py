"""Objectives: the loss that a stage minimises. Stages differ in the objective, never in the path.

An objective states its requirements before anything is built (`ask` returns its `Needs`), and has
two pure functions: `weigh(batch, rng)` returns each term's weight from the batch and the step's rng
alone, and `loss(model, batch, weights, rng)` returns the total and the terms, sums divided by those
weights. All else has defaults in shared.Objective. A term may be an additive array, such as a
histogram; `summary` reduces logged terms to scalars, and `watch` returns warnings about them. An
objective that adds to the batch states the shapes as `Needs.extra`, and has a `filler`, which adds
it on the host, or a program, `rollout`, and `prepare`, which runs it before each step. Each stage
kind has a module here, imported only when a stage is of that kind.
"""

from seedasr_jax.train.objectives.registry import make, needs, register
from seedasr_jax.train.objectives.shared import Needs, Objective

__all__ = ["Needs", "Objective", "make", "needs", "register"]
