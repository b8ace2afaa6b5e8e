"""Plans by the real TPU compiler: figures add up, kernels are found, misfits are reported.

Needs libtpu, as the extra `tpu` brings it; no TPU. Most are for v5p: for v5e and v6e the same takes
two to three times as long to compile.
"""

import json
import math

import jax
import jax.numpy as jnp
import pytest

from seedasr_jax import config
from seedasr_jax.configs import common
from seedasr_jax.launch import cli
from seedasr_jax.models import kernels
from seedasr_jax.parallel import compiler, memory
from seedasr_jax.parallel import mesh as meshes
from seedasr_jax.plan import compile as compiling
from seedasr_jax.plan import costs, fitting, hlo, programs, topologies
from seedasr_jax.train import build

RECIPE = """
from seedasr_jax.configs import common, pods

def get_config():
    c = pods.graph("small", vocab=dict(path="", kind="bpe", size=32_000))
    c.model.encoder = common.luise("200m") | dict(layers=2, channels=32, kernel=7)
    c.model.decoder = common.qwen3(2, 1_024, heads=8, kv_heads=8, head_dim=128, vocabulary=32_000)
    s = c.stages.sft = common.stage("sft", 100)
    s.init = dict(encoder="fresh", converter="fresh", decoder="./llm")
    s.trains = ("encoder", "converter")
    s.objective.update(ctc_weight=0.0)
    s.optim = common.adamw(1e-4)
    s.data = common.data((("manifest:none.jsonl", 1.0),), ((15.36, 120, 16),))
    return c.lock()
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "small.py"
    path.write_text(RECIPE)
    return path


def test_a_plan_adds_up(recipe, capsys):
    assert cli.main(["plan", f"--config={recipe}", "--topology=v5p:2x2x2", "--json"]) == 0
    row, *others = json.loads(capsys.readouterr().out)
    assert [one["program"] for one in (row, *others)] == ["train", "encode", "prefill", "decode"]
    assert (row["devices"], row["chips"], row["hosts"], row["fits"]) == (8, 8, 2, True)
    for one in others:  # they add up too, and a cache is no part of what is left
        held = sum(one["hbm_bytes"][part] for part in ("params", "kv", "act"))
        assert 0 <= one["hbm_bytes"]["other"] < 128 << 20 and one["hbm_bytes"]["opt"] == 0
        assert one["fits"] and held > 0 and 0 < one["mfu_bound"] < 1
    assert others[0]["hbm_bytes"]["kv"] == 0 < others[1]["hbm_bytes"]["kv"]
    assert others[1]["hbm_bytes"]["kv"] == others[2]["hbm_bytes"]["kv"]
    hbm = row["hbm_bytes"]
    used = sum(size for part, size in hbm.items() if part != "headroom")
    assert used + hbm["headroom"] == topologies.CHIPS["v5p"].hbm_bytes
    # Parameters and optimiser are what they seem: what is left is the program and the batch.
    assert 0 <= hbm["other"] < 128 << 20
    assert hbm["kv"] == 0 and 1.5 * hbm["params"] < hbm["opt"] + hbm["params"]
    assert 0.1 < row["mfu_bound"] < 1
    assert row["step_seconds_bound"] == max(row["seconds"].values())
    assert row["bytes_ici"] == pytest.approx(sum(x["bytes"] for x in row["collectives"]))
    assert {tuple(x["axes"]) for x in row["collectives"]} <= {("fsdp",)}
    audio_seconds = 16 * 15.36 / row["step_seconds_bound"]
    assert row["audio_hours_per_second"] == pytest.approx(audio_seconds / 3600)
    assert row["host_bytes_per_second"] == pytest.approx(audio_seconds * 32_000 / 2)


EXPERTS = """
from seedasr_jax.configs import common, pods

def get_config():
    c = pods.graph("experts", vocab=dict(path="", kind="bpe", size=4_096))
    c.model.decoder = common.qwen3(
        2, 512, heads=4, kv_heads=4, head_dim=128, ffn_dim=512, vocabulary=4_096,
        moe=dict(experts=8, active=2, balance=0.01, z=0.001),
    )
    s = c.stages.lm = common.stage("lm", 100)
    s.init, s.trains, s.optim = dict(decoder="fresh"), ("decoder",), common.adafactor(1e-3)
    s.data = common.data((("manifest:none.jsonl", 1.0),), ((0.0, 255, 8),))
    return c.lock()
"""


def test_tokens_go_to_experts_and_not_experts_to_tokens(tmp_path, capsys):
    """No weights are sent over `expert`, and an expert multiplies only the tokens routed to it."""
    path = tmp_path / "experts.py"
    path.write_text(EXPERTS)
    arguments = ["--topology=v5e:2x4", "--config.mesh.expert=4", "--json"]
    assert cli.main(["plan", f"--config={path}", *arguments]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["mesh"] == {"data": 1, "fsdp": 2, "tensor": 1, "expert": 4}
    tokens = 4 * 256 * 512 * 2  # bytes of those that four devices show each other
    gathered = [x["largest"] for x in row["collectives"] if x["axes"] == ["expert"]]
    assert gathered and max(gathered) <= tokens < 8 * 512 * 512 * 2
    executed = row["seconds"]["compute"] * 8 * topologies.CHIPS["v5e"].flops
    assert row["flops"] < executed < 1.6 * row["flops"]  # a third is computed again


def test_gradients_cross_between_slices_once(tmp_path, capsys):
    """Each chip's part of them, in float32 or in the type of the computation, and nothing else."""
    path = tmp_path / "dense.py"
    experts = "moe=dict(experts=8, active=2, balance=0.01, z=0.001),"
    path.write_text(EXPERTS.replace(experts, ""))
    assert cli.main(["plan", f"--config={path}", "--topology=v5e:2x2", "--slices=2", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["mesh"] == {"data": 2, "fsdp": 4, "tensor": 1, "expert": 1}
    (crossing,) = [one for one in row["collectives"] if "data" in one["axes"]]
    assert (crossing["kind"], crossing["axes"]) == ("all-reduce", ["data"])
    assert crossing["bytes"] == row["bytes_dcn"]  # of two slices, each sends its sum once
    assert row["hbm_bytes"]["params"] / 2 < row["bytes_dcn"] < 1.01 * row["hbm_bytes"]["params"]
    assert row["seconds"]["dcn"] > row["seconds"]["ici"] and row["bound_by"] == "dcn"


@pytest.mark.parametrize("topology", ["v5p:4x4x8", "v5p:8x8x8", "v6e:16x16", "v5e:4x8"])
def test_an_axis_may_take_a_part_of_a_side(topology):
    pod = topologies.parse(topology)
    there = compiling.devices(pod)
    assert {device.device_kind for device in there} == {pod.chip.kind}
    assert memory.of(there[0]) * pod.chip.devices == pod.chip.hbm_bytes
    mesh = meshes.make(config.Mesh(-1, 32, 1, 1), there)
    assert mesh.devices.shape == (len(there) // 32, 32, 1, 1)
    assert {device.id for device in mesh.devices.flat} == {device.id for device in there}


def test_a_program_that_does_not_fit_is_reported(capsys):
    """8.2B parameters with their optimiser on four chips of 16 GiB: the compiler refuses."""
    arguments = ["--topology=v5e:2x2", "--config.stages.lm.data.buckets=((0.0, 127, 4),)"]
    assert cli.main(["plan", "--config=lm:qwen3_8b", *arguments]) == 3
    printed = capsys.readouterr()
    assert "does not fit; RESOURCE_EXHAUSTED" in printed.out and "more chips" in printed.err


def test_attention_is_splash_and_its_scores_are_never_stored():
    c = common.graph("text")
    c.model.decoder = common.qwen3(2, 512, heads=4, kv_heads=2, head_dim=128, vocabulary=50_304)
    c.model.dtype, c.run.remat, c.mesh.tensor = "bfloat16", "block", 2
    s = c.stages.lm = common.stage("lm", 100)
    s.init, s.trains, s.optim = dict(decoder="fresh"), ("decoder",), common.adamw(1e-3)
    s.data = common.data((("manifest:none.jsonl", 1.0),), ((0.0, 2_047, 4),))
    stage = config.expand(c).stages["lm"]
    there = compiling.devices(topologies.parse("v5p:2x2x2"))
    fitted = fitting.fit(stage, topologies.parse("v5p:2x2x2"))
    built = build.build(fitted, fitting.TOKENS, 50_304, devices=there)
    held = fitting.sizes(fitted, fitted.data.buckets[0])
    program = programs.train(built, held, 0.0)
    lowered = program.function.lower(*program.arguments)
    found = hlo.Module(lowered.compile(compiler.planned(there[0])).as_text())
    kernels = [one.name for one, _, _ in costs.calls(found)]
    assert {name.split("_segmented")[0] for name in kernels} == {
        "splash_mha_fwd",
        "splash_mha_dq",
        "splash_mha_dkv",
    }
    moved = {(one.kind, one.axes) for one in costs.collectives(found, dict(built.mesh.shape))}
    assert ("reduce-scatter", ("tensor",)) in moved  # sums over heads, where residuals lie
    made = [
        shape.dims
        for name in found.runs
        for one in found.computations[name].values()
        for shape in one.shapes
    ]
    assert max(map(math.prod, made)) < 2_048 * 50_304 / 2  # no logits of a whole sequence
    assert not any(dims.count(2_048) > 1 for dims in made)  # and no scores


def test_scores_by_distance_of_twice_the_frames_take_twice_the_memory():
    """153.6 and 307.2 s of frames of 40 ms, forward and back, on a v5p chip."""
    device = compiling.devices(topologies.parse("v5p:2x2x1"))[0]
    place = jax.sharding.SingleDeviceSharding(device)

    def total(q, k, v, moved, keys, mask):
        return kernels.relative(q, k, v, moved, keys, mask).astype(jnp.float32).sum()

    def temporaries(time):
        def of(dtype, *shape):
            return jax.ShapeDtypeStruct(shape, dtype, sharding=place)

        queries, keys = of("bfloat16", 1, time, 24, 64), of("bfloat16", 2 * time - 1, 24, 64)
        gradient = jax.jit(jax.grad(total, argnums=(0, 1, 2, 3, 4)))
        lowered = gradient.lower(*[queries] * 4, keys, of("bool", 1, time))
        compiled = lowered.compile(compiler.planned(device))
        kernels = {
            one.name.split(".")[0] for one, *_ in costs.calls(hlo.Module(compiled.as_text()))
        }
        assert kernels == {"relative_shift"}  # rows are rotated, not copied
        return compiled.memory_analysis().temp_size_in_bytes

    one, two = temporaries(3_840), temporaries(7_680)
    assert two < 2.2 * one
    assert two < 24 * 7_680**2 * 4 / 4  # of all scores at once, a quarter
