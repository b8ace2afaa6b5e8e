"""Planning without a compiler: meshes, buckets and arguments; test_tpu.py compiles."""

import json
import math

import jax
import pytest

from seedasr_jax import config
from seedasr_jax.errors import ConfigError
from seedasr_jax.launch import cli, recipes
from seedasr_jax.parallel import rules
from seedasr_jax.plan import compile as compiling
from seedasr_jax.plan import topologies
from seedasr_jax.train import build

FULL = ("luise_ssl:5b", "luise_ssl:2b", "luise_ssl:75m", "seed_asr_ml:8b", "lm:qwen3_8b")
MIB = 1 << 20


def stages(spec):
    return recipes.expand(spec, []).stages


@pytest.mark.parametrize(
    ("spec", "stage", "topology", "slices", "mesh"),
    [
        ("seed_asr_ml:8b", "sft", "v5p:4x4x8", 1, (-1, 128, 1, 1)),
        ("seed_asr_ml:8b", "sft", "v5e:16x16", 4, (-1, 256, 1, 1)),
        ("luise_ssl:2b", "ssl1", "v5p:8x8x16", 1, (-1, 256, 1, 1)),
        ("luise_ssl:5b", "kmeans", "v6e:16x16", 1, (-1, 256, 1, 1)),
    ],
)
def test_the_topology_chooses_data_and_fsdp(spec, stage, topology, slices, mesh):
    one = compiling.known_layer(stages(spec)[stage])
    fitted = compiling.fit(one, topologies.parse(topology, slices))
    assert fitted.mesh == config.Mesh(*mesh)


def test_what_is_pinned_stays():
    graph = recipes.expand("lm:qwen3_8b", [("mesh.tensor", "4"), ("mesh.fsdp", "8")])
    fitted = compiling.fit(graph.stages["lm"], topologies.parse("v5p:4x4x8"), ("tensor", "fsdp"))
    assert fitted.mesh == config.Mesh(-1, 8, 4, 1)
    fitted = compiling.fit(graph.stages["lm"], topologies.parse("v5p:4x4x8"))
    assert fitted.mesh == config.Mesh(-1, 32, 4, 1)


@pytest.mark.parametrize("spec", FULL)
def test_no_large_parameter_is_left_whole_at_full_size(spec):
    """On 128 devices everything above 1 MiB is shared, k-means' codebook too."""
    mesh = jax.sharding.AbstractMesh((1, 128, 1, 1), ("data", "fsdp", "tensor", "expert"))
    for stage in stages(spec).values():
        one = compiling.known_layer(stage)
        built = build.build(one, compiling.TOKENS, one.vocab.size, devices=jax.devices()[:1])
        for tree in (built.abstract.params, built.abstract.frozen):
            for path, param in compiling.nnx.to_flat_state(tree):
                axes = param.get_metadata("axes")
                spec = rules.spec(axes, param.shape, mesh, ".".join(map(str, path)))
                size = math.prod(param.shape) * param.dtype.itemsize
                assert any(spec) or size <= MIB, (path, param.shape)


def test_frozen_matrices_have_the_type_that_they_are_used_in():
    one = stages("seed_asr_ml:8b")["sft"]
    built = build.build(one, compiling.TOKENS, one.vocab.size, devices=jax.devices()[:1])
    trained, frozen = (
        {param.dtype.name for _, param in compiling.nnx.to_flat_state(tree) if param.ndim > 2}
        for tree in (built.abstract.params, built.abstract.frozen)
    )
    assert (trained, frozen) == ({"float32"}, {"bfloat16"})


def test_buckets_by_length():
    one = stages("luise_ssl:2b")["ssl1"]
    assert compiling.buckets(one) == one.data.buckets[-1:]
    assert compiling.buckets(one, "all") == one.data.buckets
    assert compiling.buckets(one, "7.68") == one.data.buckets[:1]
    with pytest.raises(ConfigError, match=r"7\.68, 15\.36, 30\.72"):
        compiling.buckets(one, "30")


def test_every_bucket_has_equal_hours():
    for spec in FULL[:4]:
        for name, stage in stages(spec).items():
            hours = {round(seconds * rows) for seconds, _, rows in stage.data.buckets}
            assert len(hours) == 1, (spec, name)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--topology=v5q:4x4x8"], "v5p"),
        (["--topology=v5p:4x4x8", "--stage=sft"], "ssl1"),
        (["--topology=v5p:4x4x8", "--config.mesh.tensor=5"], "tensor"),
    ],
)
def test_bad_input_is_named(arguments, told, capsys, monkeypatch):
    monkeypatch.setattr(compiling, "devices", lambda topology: jax.devices())
    assert cli.main(["plan", "--config=luise_ssl:75m", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_without_the_compiler_its_cure_is_named(monkeypatch, capsys):
    monkeypatch.setattr(compiling.importlib.util, "find_spec", lambda name: None)
    assert cli.main(["plan", "--config=lm", "--topology=v5p:4x4x8"]) == 1
    assert f"jax[tpu]=={jax.__version__}" in capsys.readouterr().err


def test_what_does_not_compile_is_a_row():
    """The compiler's refusal stands in it, and it is JSON as it is."""
    topology = topologies.parse("v5e:2x2")
    mesh = jax.make_mesh(
        (1, 4, 1, 1), ("data", "fsdp", "tensor", "expert"), devices=jax.devices()[:4]
    )
    held = compiling.flops.Sizes(4, 0, 0, 0, 127)
    parts = {"params": 10 << 30, "opt": 20 << 30, "kv": 0}
    more = dict(stage="lm", program="train", bucket=(0.0, 127, 4), compile_seconds=1.0)
    row = compiling.row(None, parts, 1e15, held, mesh, topology, note="too large", **more)
    assert not row.fits and row.hbm_bytes["headroom"] == -(14 << 30)
    assert "does not fit; too large" in compiling.describe(row)
    assert "more chips" in compiling.cure(row)
    json.loads(json.dumps(compiling.dataclasses.asdict(row), allow_nan=False))
