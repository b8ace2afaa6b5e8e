"""Checkpoints: a state with its data position on disk, and one idea of a checkpoint C to read from.

Names of parameters are paths in the state, joined by dots, such as `encoder.front.out.kernel`.
Files hold no other structure, so they outlive changes of flax and optax.
"""

from seedasr_jax.checkpoint.agreed import from_dict, to_dict
from seedasr_jax.checkpoint.handover import check_part, compare, hand_over
from seedasr_jax.checkpoint.hashes import parameters_hash
from seedasr_jax.checkpoint.limits import Limits, derive
from seedasr_jax.checkpoint.opened import Checkpoint, open_checkpoint
from seedasr_jax.checkpoint.record import StageRecord, begin, parse, placeless, read, write
from seedasr_jax.checkpoint.steps import Writer, latest, note, restore
from seedasr_jax.checkpoint.trees import fill, flat, nest, part_of, parts, renamed, select

__all__ = [
    "Checkpoint",
    "Limits",
    "StageRecord",
    "Writer",
    "begin",
    "check_part",
    "compare",
    "derive",
    "fill",
    "flat",
    "from_dict",
    "hand_over",
    "latest",
    "nest",
    "note",
    "open_checkpoint",
    "parameters_hash",
    "parse",
    "part_of",
    "parts",
    "placeless",
    "read",
    "renamed",
    "restore",
    "select",
    "to_dict",
    "write",
]
