"""Planning without a compiler: meshes, buckets and arguments; test_tpu.py compiles."""

import dataclasses
import json
import math

from flax import nnx
import jax
import pytest

from seedasr_jax import config, flops
from seedasr_jax.errors import ConfigError
from seedasr_jax.launch import cli, plan, recipes
from seedasr_jax.parallel import mesh as meshes
from seedasr_jax.parallel import rules, sharding
from seedasr_jax.plan import compile as compiling
from seedasr_jax.plan import fitting, programs, rows, topologies
from seedasr_jax.train import build

FULL = ("luise_ssl:5b", "luise_ssl:2b", "luise_ssl:75m", "seed_asr_ml:8b", "lm:qwen3_8b")
LARGE = ("seed_asr_ml:30b_a3b", "lm:qwen3_30b_a3b")
ONE = tuple((f"mesh.{axis}", "1") for axis in meshes.AXES)  # device
MIB = 1 << 20


def stages(spec, overrides=()):
    return recipes.expand(spec, overrides).stages


@pytest.mark.parametrize(
    ("spec", "stage", "topology", "slices", "mesh"),
    [
        ("seed_asr_ml:8b", "sft", "v5e:16x16", 4, (-1, 32, 1, 1)),
        ("luise_ssl:2b", "ssl1", "v5p:8x8x16", 1, (-1, 32, 1, 1)),
        ("luise_ssl:5b", "kmeans", "v6e:16x16", 1, (-1, 32, 1, 1)),
        ("luise_ssl:5b", "kmeans", "v6e:4x4", 1, (-1, 16, 1, 1)),
        # 366 GB of parameters and optimiser, of which a chip shall hold 2 GiB.
        ("lm:qwen3_30b_a3b", "lm", "v5e:16x16", 1, (-1, 16, 4, 4)),
    ],
)
def test_the_topology_chooses_data_and_fsdp(spec, stage, topology, slices, mesh):
    one = fitting.with_probed_layer(stages(spec)[stage])
    fitted = fitting.fit(one, topologies.parse(topology, slices))
    assert fitted.mesh == config.Mesh(*mesh)


@pytest.mark.parametrize("spec", FULL[1:2] + FULL[3:] + LARGE)
def test_a_recipe_of_real_size_trains_on_the_mesh_that_is_planned(spec):
    """The recipe's mesh on 128 chips and on 512; all of its batches are divisible by it."""
    for name in ("v5p:4x4x8", "v5p:8x8x8"):
        pod = topologies.parse(name)
        for stage in map(fitting.with_probed_layer, stages(spec).values()):
            assert fitting.fit(stage, pod).mesh == stage.mesh
            shape = meshes.sizes(stage.mesh, pod.device_count)
            assert shape[1] * shape[3] == 32
            mesh = jax.sharding.AbstractMesh(shape, meshes.AXES)
            for _, _, utterances in stage.data.buckets:
                sharding.check_batch(utterances, mesh, stage.run.accum)


def test_pinned_axes_are_kept():
    graph = recipes.expand("lm:qwen3_8b", [("mesh.fsdp", "8")])
    fitted = fitting.fit(graph.stages["lm"], topologies.parse("v5p:4x4x8"), ("tensor", "fsdp"))
    assert fitted.mesh == config.Mesh(-1, 8, 4, 1)
    fitted = fitting.fit(graph.stages["lm"], topologies.parse("v5p:4x4x8"))
    assert fitted.mesh == config.Mesh(-1, 32, 4, 1)


@pytest.mark.parametrize("spec", FULL)
def test_no_large_parameter_is_replicated_at_full_size(spec):
    """On 128 devices everything above 1 MiB is sharded, the codebook of k-means included."""
    mesh = jax.sharding.AbstractMesh((1, 128, 1, 1), ("data", "fsdp", "tensor", "expert"))
    for stage in stages(spec, ONE).values():
        one = fitting.with_probed_layer(stage)
        built = build.build(one, fitting.TOKENS, one.vocab.size, devices=jax.devices()[:1])
        for tree in (built.abstract.params, built.abstract.frozen):
            for path, param in nnx.to_flat_state(tree):
                axes = param.get_metadata("axes")
                spec = rules.spec(axes, param.shape, mesh, ".".join(map(str, path)))
                size = math.prod(param.shape) * param.dtype.itemsize
                assert any(spec) or size <= MIB, (path, param.shape)


def test_frozen_matrices_have_the_type_that_they_are_used_in():
    one = stages("seed_asr_ml:8b", ONE)["sft"]
    built = build.build(one, fitting.TOKENS, one.vocab.size, devices=jax.devices()[:1])
    trained, frozen = (
        {param.dtype.name for _, param in nnx.to_flat_state(tree) if param.ndim > 2}
        for tree in (built.abstract.params, built.abstract.frozen)
    )
    assert (trained, frozen) == ({"float32"}, {"bfloat16"})


def test_buckets_by_length():
    one = stages("luise_ssl:2b")["ssl1"]
    assert fitting.buckets(one) == one.data.buckets[-1:]
    assert fitting.buckets(one, "all") == one.data.buckets
    assert fitting.buckets(one, "7.68") == one.data.buckets[:1]
    with pytest.raises(ConfigError, match=r"7\.68, 15\.36, 30\.72"):
        fitting.buckets(one, "30")


def test_every_bucket_has_equal_hours():
    for spec in FULL[:4]:
        for name, stage in stages(spec).items():
            hours = {round(seconds * rows) for seconds, _, rows in stage.data.buckets}
            assert len(hours) == 1, (spec, name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--topology=v5q:4x4x8"], "v5p"),
        (["--topology=v5p:4x4x8", "--stage=sft"], "ssl1"),
        (["--topology=v5p:4x4x8", "--config.mesh.tensor=5"], "tensor"),
        (
            ["--topology=v5p:4x4x8", "--config.imports=('nowhere_own',)"],
            "config.imports: 'nowhere_own': No module",
        ),
        (["--topology=v5p:4x4x8", "--config.stages.ssl1.objective.span=0"], "objective.span"),
        (["--topology=v5p:4x4x8", "--config.stages.ssl2.init.teacher=sl1"], "mean ssl1"),
    ],
)
def test_bad_input_is_an_error(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr(compiling, "devices", lambda topology: jax.devices())
    assert cli.main(["plan", "--config=luise_ssl:75m", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_missing_compiler_is_an_error_with_its_cure(monkeypatch, capsys):
    monkeypatch.setattr(compiling.importlib.util, "find_spec", lambda name: None)
    assert cli.main(["plan", "--config=lm", "--topology=v5p:4x4x8"]) == 1
    assert f"jax[tpu]=={jax.__version__}" in capsys.readouterr().err


def test_a_program_that_does_not_compile_has_a_row():
    """It contains the compiler's error and is valid JSON."""
    topology = topologies.parse("v5e:2x2")
    mesh = jax.make_mesh(
        (1, 4, 1, 1), ("data", "fsdp", "tensor", "expert"), devices=jax.devices()[:4]
    )
    held = flops.Sizes(4, 0, 0, 0, 127)
    own = {"params": 10 << 30, "opt": 20 << 30, "kv": 0}
    program = programs.Program("train", None, (), own, 1e15)
    more = dict(stage="lm", bucket=(0.0, 127, 4), compile_seconds=1.0)
    row = rows.row(None, program, held, mesh, topology, note="too large", **more)
    assert not row.fits and row.hbm_bytes["headroom"] == -(14 << 30)
    assert "does not fit; too large" in plan.describe(row)
    assert "more chips" in plan.cure(row)
    json.loads(json.dumps(dataclasses.asdict(row), allow_nan=False))


def test_a_ladder_of_pods():
    def written(name):
        return [(p.name, p.slices, p.chips) for p in topologies.ladder(topologies.CHIPS[name])]

    assert written("v5p") == [
        ("v5p:4x4x4", 1, 64),
        ("v5p:4x8x8", 1, 256),
        ("v5p:8x8x16", 1, 1024),
        ("v5p:16x16x16", 1, 4096),
    ]
    assert written("v6e") == [
        ("v6e:8x8", 1, 64),
        ("v6e:16x16", 1, 256),
        ("v6e:16x16", 4, 1024),
        ("v6e:16x16", 16, 4096),
    ]


def test_a_rescaled_stage_has_the_same_work_for_each_chip():
    one = stages("seed_asr_ml:8b")["sft"]
    larger = fitting.rescaled(one, 4096, 128)
    assert [b[2] for b in larger.data.buckets] == [32 * b[2] for b in one.data.buckets]
    assert [b[:2] for b in larger.data.buckets] == [b[:2] for b in one.data.buckets]
    with pytest.raises(ConfigError, match="4096 utterances on 96 chips"):
        fitting.rescaled(one, 64, 96)


def a_row(**changes):
    none = {field.name: None for field in dataclasses.fields(rows.Row)}
    hbm = dict.fromkeys(("params", "opt", "kv", "act", "other", "headroom"), 1 << 30)
    known = dict(stage="sft", program="train", bucket=(30.72, 240, 1024), mesh={"fsdp": 128})
    known |= dict(hbm_bytes=hbm, fits=True, chips=128, step_seconds_bound=0.45, mfu_bound=0.8)
    gathers = dict(kind="all-gather", axes=["data", "fsdp"], runs=56, bytes=4e9, largest=1e8)
    known |= dict(collectives=[gathers], flops=6.5e15, flops_per_frame=2.1e9)
    known |= dict(audio_hours_per_second=19.4, host_bytes_per_second=7.0e7)
    known |= dict(seconds={"ici": 0.09, "dcn": 0.0}, bytes_ici=5e9, bytes_dcn=0.0)
    return rows.Row(**none | known | dict(compile_seconds=1.0, note="") | changes)


def test_costs_of_training_steps():
    assert plan.prices(a_row(), 1000, 0.0) == pytest.approx(
        {"chip_hours_bound": 16.0, "chip_hours_usual": 16 / 0.6}
    )
    dollars = plan.prices(a_row(), 1000, 2.5)
    assert dollars["dollars_bound"] == pytest.approx(40.0)
    assert dollars["dollars_usual"] == pytest.approx(40 / 0.6)
    assert plan.network_share(a_row()) == pytest.approx(0.2)


def test_details_state_communication_loading_and_computation():
    moved, loaded, computed = plan.details(a_row())
    assert moved.startswith("a device sends 5.00 GB over ICI and 0.00 GB over DCN")
    assert moved.endswith("; all-gather over data and fsdp 4.00 GB in 56 runs")
    assert loaded.startswith("19.40 audio hours per second") and loaded.endswith("0.070 GB/s")
    assert computed.startswith("6500.0 useful TFLOP, 2.10 GFLOP per frame")
    assert plan.details(a_row(step_seconds_bound=None)) == []


def plan_of(monkeypatch, *arguments):
    """Exit code of `seedasr plan` without a compiler, and the pods that it plans."""
    asked = []

    def plan(graph, pod, **options):
        asked.append((pod.chips, options["given"] and options["given"].chips))
        yield a_row(chips=pod.chips)
        yield a_row(program="decode", chips=pod.chips)

    monkeypatch.setattr(compiling, "plan", plan)
    command = ["plan", "--config=seed_asr_ml:8b", "--topology=v5p:4x4x8", *arguments]
    return cli.main(command), asked


def test_a_stage_has_a_row_for_each_of_its_programs(monkeypatch):
    """In training and in serving, for the bucket that is asked for; nothing is compiled."""
    monkeypatch.setattr(compiling, "devices", lambda topology: jax.devices())
    monkeypatch.setattr(
        compiling,
        "compiled",
        lambda program, held, mesh, topology, **more: a_row(program=program.name, **more),
    )
    graph, pod = recipes.expand("seed_asr_ml:8b", []), topologies.parse("v5p:2x2x2")
    served = ["encode", "prefill", "decode"]
    for bucket, rows_of in (("", (240, 1024)), ("7.68", (240, 4096))):
        found = list(compiling.plan(graph, pod, only="rl", bucket=bucket))
        assert [row.program for row in found] == ["train", "rollout", *served, "score"]
        assert found[-1].bucket[1:] == rows_of and {row.stage for row in found} == {"rl"}
    found = compiling.plan(graph, pod, only="rl", given=pod)
    assert [row.program for row in found] == ["train"]


def test_training_rows_have_prices(monkeypatch, capsys):
    code, asked = plan_of(monkeypatch, "--price=2.5")
    train, *message, decode = capsys.readouterr().out.splitlines()[:5]
    assert [line.strip() for line in message] == plan.details(a_row())
    assert (code, asked) == (0, [(128, None)])
    assert "60000 steps: 960 chip-hours ($2400), at 60 % of the bound 1600 ($4000)" in train
    assert "chip-hours" not in decode
    plan_of(monkeypatch, "--steps=1000", "--json")
    train, decode = json.loads(capsys.readouterr().out)
    assert (train["steps"], train["chip_hours_bound"]) == (1000, pytest.approx(16.0))
    assert "dollars_bound" not in train and "steps" not in decode


def test_scaling_takes_the_ladder_of_the_generation(monkeypatch, capsys):
    code, asked = plan_of(monkeypatch, "--scaling")
    assert (code, asked) == (0, [(n, 128) for n in (64, 256, 1024, 4096)])
    message = capsys.readouterr().out
    assert "sft on 4096 chips: step-time bound 0.450 s, network active 20 % of it" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps=-2"], "--steps: expected at least 0, found -2"),
        (["--scaling", "--bucket=all"], "leave --bucket out"),
    ],
)
def test_invalid_options_are_refused(arguments, message, monkeypatch, capsys):
    code, _ = plan_of(monkeypatch, *arguments)
    assert code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize("price", ["-1", "nan", "inf"])
def test_a_price_is_a_finite_number(price, monkeypatch, capsys):
    with pytest.raises(SystemExit) as ended:
        plan_of(monkeypatch, f"--price={price}")
    assert ended.value.code == 2
    assert (
        f"argument --price: expected a finite number >= 0, found {price}" in capsys.readouterr().err
    )
