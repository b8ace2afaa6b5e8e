"""Compares the planner's MFU bound with MFU that MaxText publishes for the same shapes on pods.

    python benchmarks/calibration.py [NAME ...]

Compiles each row with libtpu (extra: tpu), which takes minutes; prints JSON lines. A bound below a
published figure is wrong; one far above it is uninformative. Nothing in the planner is fitted to
these figures.
"""

import argparse
import dataclasses
import importlib.metadata
import json
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from seedasr_jax import config
from seedasr_jax.configs import common, pods
from seedasr_jax.plan import compile as compiling
from seedasr_jax.plan import topologies


@dataclasses.dataclass(frozen=True)
class Published:
    """A published run of MaxText: one slice, all parameters trained, AdamW, bfloat16."""

    topology: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    ffn_dim: int
    vocabulary: int
    positions: int  # per sequence
    rows: int  # sequences per chip
    remat: str  # the policy of ours that is nearest to theirs
    mfu: float
    accum: int = 1
    mesh: dict = dataclasses.field(default_factory=dict)


def scaled(times: int, topology, rows, remat, mfu, **mesh) -> Published:
    """MaxText's default model with `global_parameter_scale` = `times`: heads and feed-forward,
    width, and layers are doubled in turn (its pyconfig.py, get_individual_scales).
    """
    cycles, rest = divmod(times.bit_length() - 1, 3)
    heads = 16 << (cycles + (rest > 0))
    width, ffn_dim = 2048 << (cycles + (rest > 1)), 7168 << (cycles + (rest > 0))
    shape = (16 << cycles, width, heads, heads, ffn_dim, 32_000)
    return Published(topology, *shape, 2048, rows, remat, mfu, mesh=mesh)


# github.com/AI-Hypercomputer/maxtext: MaxText/configs/v5p/{README.md,*b.sh} at 0ed7bd5 and nearby;
# benchmarks/maxtext_trillium_model_configs.py at 02df154. MaxText saves matrix products for 32b to
# 256b ("minimal"); with ours, 32b and 64b would not fit that way. MaxText offloads the inputs of
# Llama's layers to the host, we recompute; for 70B we accumulate its four sequences.
LLAMA = dict(vocabulary=128_256, positions=8192, rows=4, remat="block")
ROWS = {
    "32b": scaled(32, "v5p:4x4x4", 7, "block", 0.7147, tensor=4),
    "64b": scaled(64, "v5p:4x4x4", 3, "block", 0.7031, tensor=4),
    "128b": scaled(128, "v5p:4x4x8", 1, "dots", 0.6868, tensor=8),
    "128b-256": scaled(128, "v5p:4x8x8", 1, "dots", 0.6883, tensor=8),
    "256b": scaled(256, "v5p:8x8x8", 1, "dots", 0.6709, tensor=8),
    "512b": scaled(512, "v5p:8x8x8", 2, "block", 0.6399, tensor=8),
    "1024b": scaled(1024, "v5p:8x16x16", 2, "block", 0.6480, tensor=8, data=1),
    "llama3.1-8b": Published("v6e:16x16", 32, 4096, 32, 8, 14_336, mfu=0.455, **LLAMA),
    "llama3.1-70b": Published("v6e:16x16", 80, 8192, 64, 8, 28_672, mfu=0.503, accum=4, **LLAMA),
}


def graph(row: Published) -> config.Graph:
    """The expanded recipe of a run, with a single stage `lm`."""
    chips = topologies.parse(row.topology).chips
    c = pods.graph("calibration", vocab=dict(path="", kind="unigram", size=row.vocabulary))
    c.model.decoder = common.qwen3(
        row.layers,
        row.width,
        heads=row.heads,
        kv_heads=row.kv_heads,
        head_dim=128,
        ffn_dim=row.ffn_dim,
        vocabulary=row.vocabulary,
        tied=False,
        qk_norm=False,
    )
    c.run.update(remat=row.remat, accum=row.accum)
    c.mesh.update(row.mesh)
    s = c.stages.lm = common.stage("lm", 100)
    s.init, s.trains, s.optim = dict(decoder="fresh"), ("decoder",), common.adamw(1e-4)
    bucket = (0.0, row.positions - 1, row.rows * chips)
    s.data = common.data((("manifest:none.jsonl", 1.0),), (bucket,))
    return config.expand(c)


def in_turn(row) -> float:
    """The bound on MFU without any overlap of resources."""
    return row.mfu_bound * row.step_seconds_bound / sum(row.seconds.values()) if row.seconds else 0


def main():
    """Prints a JSON line for each row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(ROWS), help=f"of {', '.join(ROWS)}")
    versions = {name: importlib.metadata.version(name) for name in ("jax", "libtpu")}
    for name in parser.parse_args().names:
        published = ROWS[name]
        topology = topologies.parse(published.topology)
        (row,) = compiling.plan(graph(published), topology, pinned=set(published.mesh))
        found = {
            "name": f"calibration {name}",
            "value": row.mfu_bound,
            "unit": "MFU, at most",
            "peer": "MaxText, published",
            "peer_value": published.mfu,
            "ratio": row.mfu_bound / published.mfu,
            "device": published.topology,
            "bound_by": row.bound_by,
            "in_turn": in_turn(row),
            "seconds": row.seconds,
            "hbm_bytes": row.hbm_bytes,
            "fits": row.fits,
            "note": row.note,
            "compile_seconds": row.compile_seconds,
            "versions": versions,
        }
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
