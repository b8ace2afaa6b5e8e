"""Objectives: what a stage minimises. A stage changes the objective, never the path.

An objective says what it needs of a stage before anything is built (`ask` gives its `Needs`), and
has two pure functions: `weigh(batch, rng)` gives each term's weight from the batch and the step's
rng alone, and `loss(model, batch, weights, rng)` returns the total and the terms, sums divided by
those weights. The rest has defaults: shared.Objective. A term may be an array that adds up, such as
a histogram; `summary` makes scalars of the terms that are logged, and `watch` says what people
should know of them. One that needs more of a batch than data gives has a `rollout`, a program, and
`prepare`, which runs it before each step.
Each kind of stage has a module here, which is imported when a stage of that kind is.
"""

from seedasr_jax.train.objectives.registry import make, needs, register
from seedasr_jax.train.objectives.shared import Needs, Objective

__all__ = ["Needs", "Objective", "make", "needs", "register"]
