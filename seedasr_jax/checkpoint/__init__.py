"""Checkpoints: states with their data positions on disk, and one idea of a checkpoint C to read.

A parameter's name is its path in the state, joined by dots, such as `encoder.front.out.kernel`.
Files contain no other structure, so they stay readable when classes of flax or optax change.
"""
# ruff: noqa: F401 (re-exports)

from seedasr_jax.checkpoint.handover import check_part, compare, hand_over
from seedasr_jax.checkpoint.hashes import parameters_hash
from seedasr_jax.checkpoint.limits import Limits, derive
from seedasr_jax.checkpoint.opened import Checkpoint, from_dict, open_checkpoint, to_dict
from seedasr_jax.checkpoint.record import StageRecord, parse, read, without_path, write
from seedasr_jax.checkpoint.record import new as new_record
from seedasr_jax.checkpoint.steps import latest, note, restore
from seedasr_jax.checkpoint.trees import fill, flat, nest, part_of, parts, renamed, select
from seedasr_jax.checkpoint.writer import Writer
