"""Golden rows of plans: a gather more, or a tenth more of HBM, fails and says where.

Tied to one JAX and one libtpu: `python tests/test_golden_plans.py [FILE ...]` writes them anew.
"""

import collections
import dataclasses
import importlib.metadata
import itertools
import json
import pathlib
import re
import shlex
import sys

from flax import nnx
import jax
import jax.numpy as jnp
import pytest
from test_readme import commands

from seedasr_jax import config
from seedasr_jax.launch import cli, recipes
from seedasr_jax.parallel import compiler
from seedasr_jax.plan import compile as compiling
from seedasr_jax.plan import fitting, programs, topologies
from seedasr_jax.train import build

GOLDEN = pathlib.Path(__file__).parent / "golden/plans"
README = "lm-qwen3_8b.json"
ROWS = {  # file: recipe, stage, topology, programs
    "luise_ssl-2b-ssl1.json": ("luise_ssl:2b", "ssl1", "v5p:4x4x8", ("train",)),
    "seed_asr_ml-8b-sft.json": ("seed_asr_ml:8b", "sft", "v5p:4x4x8", ("train",)),
    "seed_asr_ml-8b-rl.json": ("seed_asr_ml:8b", "rl", "v5p:4x4x8", ("train", "rollout")),
    README: ("lm:qwen3_8b", "lm", "v5p:4x4x8", ("train",)),
}
SIZES = dict(layers=2, width=512, heads=8, kv_heads=4, ffn_dim=1_024, vocabulary=8_192)
SMALL = [  # the same program of small sizes: a real compile searches for seconds and not minutes
    ("model.decoder", str(SIZES)),
    ("vocab.size", str(SIZES["vocabulary"])),
    ("stages.lm.data.buckets", "((0.0, 511, 8),)"),
]
MORE = 1.1  # of HBM, and of the bytes that one kind of collective moves: a failure
MIB = 1 << 20


@pytest.fixture(autouse=True, scope="module")
def optimised():
    """As `seedasr plan` compiles, and not as the other tests do."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)  # conftest.py


def versions():
    """Of what compiles."""
    return {name: importlib.metadata.version(name) for name in ("jax", "libtpu")}


def planned(recipe, stage, topology, programs) -> dict:
    """{program: figures} of the first programs of a stage."""
    graph, pod = recipes.expand(recipe, []), topologies.parse(topology)
    made = itertools.islice(compiling.plan(graph, pod, only=stage), len(programs))
    found = {row.program: figures(dataclasses.asdict(row)) for row in made}
    assert tuple(found) == programs
    return found


def figures(row: dict) -> dict:
    """Of a row as `plan --json` has it: HBM by part, collectives by kind and axes, in MiB."""
    moved = {f"{x['kind']} over {' '.join(x['axes'])}": x for x in row["collectives"]}
    return {
        "hbm": {part: round(size / MIB) for part, size in row["hbm_bytes"].items()},
        "runs": {name: x["runs"] for name, x in moved.items()},
        "moved": {name: round(x["bytes"] / MIB) for name, x in moved.items()},
        "largest": {name: round(x["largest"] / MIB) for name, x in moved.items()},
    }


def layer(recipe, stage) -> int:
    """MiB of the weights of a layer of the largest part, as they are multiplied."""
    one = recipes.expand(recipe, []).stages[stage]
    one = dataclasses.replace(one, mesh=config.Mesh(1, 1, 1, 1))
    built = build.build(one, fitting.TOKENS, one.vocab.size, devices=jax.devices()[:1])
    found = collections.Counter()
    for tree in (built.abstract.params, built.abstract.frozen):
        for (part, *_), param in nnx.to_flat_state(tree):
            if "layers" in param.get_metadata("axes"):
                width = jnp.dtype(one.model.dtype).itemsize
                found[part] += param.size // param.shape[0] * width
    return max(found.values()) // MIB


def grown(old: dict, new: dict) -> list[str]:
    """A line for each figure that became worse."""
    found_worse = []
    for part in ("params", "opt", "act", "kv", "other"):
        was, now = old["hbm"].get(part, 0), new["hbm"].get(part, 0)
        if now > max(MORE * was, was + 32):
            found_worse.append(f"hbm {part}: {was} -> {now} MiB")
    for what, unit in (("runs", "a step"), ("moved", "MiB"), ("largest", "MiB")):
        for name in sorted({*old[what], *new[what]}):
            was, now = old[what].get(name, 0), new[what].get(name, 0)
            if now > (was if what == "runs" else max(MORE * was, was + 1)):
                found_worse.append(f"{name}, {what}: {was} -> {now} {unit}")
    return found_worse


@pytest.mark.parametrize("name", sorted(ROWS.keys() - {README}))
def test_a_plan_is_no_worse_than_its_golden_row(name):
    compare(name, lambda: planned(*ROWS[name]))


def test_the_plan_of_the_readme_is_no_worse_either(capsys):
    """And takes no more memory than MaxText 0.2.5 for the same work by the same compiler."""
    (line,) = commands(planned=True)
    assert cli.main([*shlex.split(line)[1:], "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    hbm = {part: size / (1 << 30) for part, size in row["hbm_bytes"].items()}
    assert hbm["params"] + hbm["opt"] < 1.03 * 0.716 and hbm["act"] < 2.302
    assert hbm["other"] < 0.03 * (hbm["params"] + hbm["opt"] + hbm["act"])
    assert 0.7 < row["mfu_bound"] < 1
    compare(README, lambda: {"train": figures(row)})


def test_a_planned_program_is_the_one_that_would_run():
    """What spares the compiler its search changes neither instructions nor memory."""
    recipe, stage, *_ = ROWS[README]
    one, pod = recipes.expand(recipe, SMALL).stages[stage], topologies.parse("v5p:2x2x2")
    there = compiling.devices(pod)
    one = fitting.fit(one, pod)
    built = build.build(one, fitting.TOKENS, one.vocab.size, devices=there)
    (bucket,) = fitting.buckets(one, "")
    held = fitting.sizes(one, bucket)
    program = programs.train(built, held, bucket[0])
    lowered = program.function.lower(*program.arguments)
    spared, real = lowered.compile(compiler.planned(there[0])), lowered.compile()

    def instructions(compiled):  # a product's windows stand in its backend_config
        return re.sub(r", backend_config=.*", "", compiled.as_text())

    assert compiler.planned(there[0]) and instructions(spared) == instructions(real)
    one, other = spared.memory_analysis(), real.memory_analysis()
    for part in ("argument", "output", "alias", "temp"):
        name = f"{part}_size_in_bytes"
        assert getattr(one, name) == getattr(other, name)
    assert one.generated_code_size_in_bytes < other.generated_code_size_in_bytes


def compare(name, find):
    """Fails by what grew. A training step gathers one layer at most at a time, and what decodes
    gathers nothing twice.
    """
    golden = json.loads((GOLDEN / name).read_text())
    if golden["versions"] != versions():
        pytest.skip(f"made by {golden['versions']}, found {versions()}")
    recipe, stage, *_ = ROWS[name]
    for program, found in find().items():
        found_worse = grown(golden["rows"][program], found)
        assert not found_worse, f"{program}: " + "\n".join(found_worse)
        gathered = {kind for kind in found["largest"] if kind.startswith("all-gather")}
        if program == "train":
            largest = max((found["largest"][kind] for kind in gathered), default=0)
            assert largest <= layer(recipe, stage)
        else:  # its parameters are those that it keeps gathered
            moved = sum(found["moved"][kind] for kind in gathered)
            assert moved < 1.3 * found["hbm"]["params"], program


def test_growth_is_reported():
    old = {
        "hbm": {"params": 100, "opt": 50, "act": 1000, "other": 10},
        "runs": {"all-gather over fsdp": 10},
        "moved": {"all-gather over fsdp": 500},
        "largest": {"all-gather over fsdp": 50},
    }
    assert grown(old, old) == []
    new = json.loads(json.dumps(old))
    new["hbm"]["act"] = 1101
    new["runs"] |= {"all-gather over fsdp": 11, "all-to-all over tensor": 2}
    new["largest"]["all-gather over fsdp"] = 60
    assert grown(old, new) == [
        "hbm act: 1000 -> 1101 MiB",
        "all-gather over fsdp, runs: 10 -> 11 a step",
        "all-to-all over tensor, runs: 0 -> 2 a step",
        "all-gather over fsdp, largest: 50 -> 60 MiB",
    ]
    assert grown(new, old) == []


def write(names):
    """Makes golden rows."""
    GOLDEN.mkdir(exist_ok=True)
    for name in names:
        made = {"versions": versions(), "rows": planned(*ROWS[name])}
        (GOLDEN / name).write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    write(sys.argv[1:] or ROWS)
