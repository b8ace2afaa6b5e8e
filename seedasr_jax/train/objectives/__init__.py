"""Objectives: what a stage minimises. A stage changes the objective, never the path.

An objective has `parts`, the modules that it needs, `prompted`, whether it reads the instruction,
and two pure functions: `weigh(batch, rng)` gives each term's weight from the batch and the step's
rng alone, and `loss(model, batch, weights, rng)` returns the total and the terms, sums divided by
those weights. One that needs more of a batch than data gives has `rollout(graphdef, mesh, vocab)`,
a function (state, Batch, rows) -> Batch that the loop calls before each step.
"""

from seedasr_jax.train.objectives.ctc import Ctc
from seedasr_jax.train.objectives.lm import Lm
from seedasr_jax.train.objectives.registry import make, register
from seedasr_jax.train.objectives.rl import Rl
from seedasr_jax.train.objectives.sft import Sft

__all__ = ["Ctc", "Lm", "Rl", "Sft", "make", "register"]
