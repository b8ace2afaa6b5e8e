"""The program that decodes: on eight devices as on one, nothing gathered, full size for a TPU.

Dims: B batch, W hypotheses, N prefix slots.
"""

import dataclasses

from flax import nnx
import jax
import numpy as np
import pytest
import tiny

from seedasr_jax import batch as batches
from seedasr_jax import config
from seedasr_jax.audio import files
from seedasr_jax.decode import gathering, methods, program, search
from seedasr_jax.decode.recogniser import Recogniser
from seedasr_jax.launch import recipes
from seedasr_jax.models import acllm, layers
from seedasr_jax.parallel import layout, memory, sharding
from seedasr_jax.parallel import mesh as meshes
from seedasr_jax.plan import costs, fitting, hlo
from seedasr_jax.text.template import Around
from seedasr_jax.train import build

PARTS = ("encoder", "ctc_head", "converter", "decoder")
PLAIN = (Around((4, 5, 4), (), 2),)


# All recipes of real size, for a TPU.


def lowered(jitted, built, batch, *inputs):
    """Lowers a program for TPU; Pallas kernels that no `shard_map` places are refused there."""
    state = nnx.merge_state(built.abstract.params, built.abstract.frozen)
    state = sharding.placed(state, sharding.of_params(state, built.mesh))
    return jitted.trace(state, batch, inputs).lower(lowering_platforms=("tpu",)).as_text()


def full_size(name, kind, fsdp, expert):
    """A stage of a recipe over eight fake devices."""
    found = recipes.expand(name, []).stages[kind]
    mesh = config.Mesh(data=1, fsdp=fsdp, tensor=1, expert=expert)
    stage = dataclasses.replace(fitting.with_probed_layer(found), mesh=mesh)
    return build.build(stage, fitting.TOKENS, stage.vocab.size)


def abstract(built, seconds, context=0, tokens=0):
    shapes = batches.abstract(16, round(seconds * files.RATE), 16, context, tokens)
    return sharding.placed(shapes, sharding.of_batch(built.mesh))


@pytest.mark.parametrize(
    ("recipe", "fsdp", "expert"), [("seed_asr_ml:8b", 8, 1), ("seed_asr_ml:30b_a3b", 2, 4)]
)
def test_full_recipes_score_and_roll_out_on_tpus(monkeypatch, recipe, fsdp, expert):
    monkeypatch.setattr(layout, "platform", lambda: "tpu")
    monkeypatch.setattr(memory, "UNKNOWN", memory.HBM["TPU v5"])
    built = full_size(recipe, "rl", fsdp, expert)
    own, options = built.stage.eval.decode, built.stage.objective
    over = (built.graphdef, built.mesh)
    for seconds, name in ((15.36, own), (30.72, methods.WITH_CONTEXT)):
        batch, way = abstract(built, seconds, 256, 120), methods.parse(name)
        score = program.transcribe(*over, PLAIN, way.kind, way.search)
        text = lowered(score, built, batch, np.float32(way.alpha) if way.alpha else None)
        assert "relative_shift" in text and "splash" in text
        roll = program.rollout(*over, options["hypotheses"], options["temperature"], 0)
        lowered(roll, built, batch, jax.random.key(0), np.int32(0))


@pytest.mark.parametrize("size", ["8b", "30b_a3b"])
def test_both_full_recipes_decode_one_model(size):
    one, other = (
        recipes.expand(f"{name}:{size}", []).stages["rl"] for name in ("seed_asr_cn", "seed_asr_ml")
    )
    for key in ("hypotheses", "temperature"):
        assert one.objective[key] == other.objective[key]
    assert one.model == other.model
    assert one.eval.decode == other.eval.decode and one.data.buckets == other.data.buckets


def test_the_probe_of_full_size_scores_on_tpus(monkeypatch):
    monkeypatch.setattr(layout, "platform", lambda: "tpu")
    built = full_size("luise_ssl:2b", "probe", 8, 1)
    for seconds in (15.36, 30.72):
        score = program.probe(built.graphdef, built.mesh)
        assert "relative_shift" in lowered(score, built, abstract(built, seconds), np.int32(3))


# Tiny ones, for CPUs.

ROWS = 56  # 7 of each of eight devices
TOKENS = 6
MESHES = {
    "one": (1, 1, 1, 1),
    "fsdp": (1, 8, 1, 1),
    "all": (2, 2, 1, 2),
    "tensor": (2, 2, 2, 1),
}
PROGRAMS = {
    "joint": lambda over: program.transcribe(*over, PLAIN, "beam", search.Search(3)),
    "rollout": lambda over: program.rollout(*over, 3, 0.0, 0),
    "sampled": lambda over: program.rollout(*over, 3, 1.0, 0),
}
TOO_LARGE = ("rollout",)  # programs whose decoder is taken not to fit once it is gathered


@pytest.fixture(scope="module")
def compiled():
    """compiled(program, mesh): what it finds in a batch, the compiled program, and its text."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers, "UNROLLED", 0)  # a loop over layers, as on a TPU
        graphdef, state = nnx.split(tiny.model(PARTS))
    batch, known = tiny.batch(ROWS, context=5, tokens=TOKENS), {}
    batch.weight[9] = 0

    def call(name, over):
        if (name, over) not in known:
            sizes = MESHES[over]
            mesh = meshes.make(config.Mesh(*sizes), jax.devices()[: int(np.prod(sizes))])
            given = jax.device_put(state, sharding.of_params(state, mesh))
            inputs = (np.float32(0.5),) if name == "joint" else (jax.random.key(0), np.int32(0))
            arguments = (given, sharding.put_batch(batch, mesh), inputs)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(gathering, "SHARE", 0.0 if name in TOO_LARGE else gathering.SHARE)
                made = PROGRAMS[name]((graphdef, mesh)).lower(*arguments).compile()
            found = jax.tree.map(np.asarray, made(*arguments))
            known[name, over] = found, made, hlo.Module(made.as_text(), TOKENS + 1)
        return known[name, over]

    return call


CASES = [("joint", "fsdp"), ("joint", "tensor"), ("sampled", "tensor"), ("rollout", "all")]


@pytest.mark.parametrize(("name", "over"), CASES)
def test_eight_devices_find_what_one_finds(compiled, name, over):
    one, eight = compiled(name, "one")[0], compiled(name, over)[0]
    for field in ("ids", "length", "ended"):
        np.testing.assert_array_equal(getattr(eight, field), getattr(one, field))
    np.testing.assert_allclose(eight.score, one.score, atol=1e-4)
    assert not one.length[9].any() and len(np.unique(one.ids[:, 0], axis=0)) > 10


def moved(text, times=1):
    """(kind, shape) of what travels between devices, `times` or more."""
    for name, runs in text.runs.items():
        for one in text.computations[name].values():
            if runs >= times and one.opcode.removesuffix("-start") in costs.COLLECTIVES:
                yield from ((one.opcode, shape) for shape in one.shapes)


def sharing(over):
    """Devices of a mesh that share the examples."""
    return 8 // MESHES[over][2]


@pytest.mark.parametrize(("name", "over"), CASES)
def test_no_device_holds_rows_of_another(compiled, name, over):
    """Weights are gathered, and the ids of tokens whose embeddings others hold: no cache."""
    own, found = ROWS // sharing(over), list(moved(compiled(name, over)[2]))
    for kind, shape in found:
        rows = [size for size in shape.dims if size % own == 0 and size > own]
        assert not rows or shape.dtype == "s32", (kind, shape)
    assert found


@pytest.mark.parametrize(("name", "over"), CASES)
def test_weights_are_gathered_before_the_first_token_where_they_fit(compiled, name, over):
    """Else layer by layer at each token."""
    each = [
        shape.dims
        for kind, shape in moved(compiled(name, over)[2], TOKENS + 1)
        if kind == "all-gather" and shape.dtype == "f32" and len(shape.dims) == 2
    ]
    assert bool(each) == (name in TOO_LARGE), each


@pytest.mark.parametrize("name", ["joint", "sampled"])
def test_no_logits_travel(compiled, name):
    """Of a row its candidates, maxima and sums, not V of them, padded or not, nor a shard's."""
    padded, found = layers.padded_vocabulary(tiny.VOCABULARY), 0
    for kind, shape in moved(compiled(name, "tensor")[2], TOKENS + 1):
        found += kind == "all-gather"
        assert shape.dims[-1] not in (tiny.VOCABULARY, padded, padded // 2), (kind, shape)
    assert found


@pytest.mark.parametrize(("name", "over"), CASES)
def test_a_device_of_eight_needs_its_share(compiled, name, over):
    def held(over):
        found = compiled(name, over)[1].memory_analysis()
        return found.temp_size_in_bytes + found.output_size_in_bytes

    assert held(over) < held("one") / (0.75 * sharing(over))


def test_what_is_gathered_is_counted_by_its_shapes_and_fits_a_half(monkeypatch):
    """In the type that it is used in; over tensor it stays sharded."""
    states = {
        dtype: nnx.state(tiny.model(PARTS, **{"model.dtype": dtype}))
        for dtype in ("float32", "bfloat16")
    }
    for dtype, over, width in (
        ("float32", "one", 0),  # nothing changes
        ("bfloat16", "one", 2),
        ("bfloat16", "fsdp", 2),
        ("bfloat16", "tensor", 1),
    ):
        flat = nnx.to_flat_state(state := states[dtype])
        size = sum(x.size for path, x in flat if path[0] == "decoder" and layers.is_matrix(path))
        devices = jax.devices()[: np.prod(MESHES[over])]
        given = state, meshes.make(config.Mesh(*MESHES[over]), devices), dtype
        assert gathering.copied(*given) == width * size
        for caches in (0, 1_000):
            for room, fits in ((width * size + caches, True), (width * size + caches - 1, False)):
                monkeypatch.setattr(memory, "UNKNOWN", 2 * room)
                assert gathering.fits(*given, caches) == fits


def test_a_cache_is_filled_and_reordered_in_place():
    """Of twelve layers the tokens exist once, but for one layer at a time."""
    settings = tiny.stage(
        "sft", PARTS, PARTS, objective=dict(ctc_weight=0.3), **{"model.decoder.layers": 12}
    ).model

    def make():
        return acllm.make(settings, tiny.TOKENS, 20, PARTS, remat="none", rngs=nnx.Rngs(0))

    graphdef, state = nnx.split(nnx.eval_shape(make))
    mesh = meshes.make(config.Mesh(*MESHES["one"]), jax.devices()[:1])
    made = program.transcribe(graphdef, mesh, PLAIN, "beam", search.Search(3))
    found = made.lower(state, tiny.batch(16, tokens=400), (None,)).compile().memory_analysis()
    cache = 2 * 12 * 16 * 3 * 401 * 2 * 8 * 4  # k and v, layers, rows, beam, tokens, ..., float32
    assert cache < found.temp_size_in_bytes < 1.3 * cache


def test_a_recogniser_fills_up_rows_that_its_devices_do_not_share_evenly():
    model = tiny.model(PARTS)
    graphdef, state = nnx.split(model)
    batch, found = tiny.batch(5), {}
    for name in ("one", "all"):
        sizes = MESHES[name]
        mesh = meshes.make(config.Mesh(*sizes), jax.devices()[: int(np.prod(sizes))])
        made = Recogniser(graphdef, state, Words(), model.config, PARTS, mesh)
        found[name] = made.decode(batch, "ctc")
    assert [one.tokens for one in found["all"]] == [one.tokens for one in found["one"]]
    assert len(found["all"]) == 5 and any(one.tokens for one in found["all"])


class Words:
    """A tokenizer of tiny.VOCABULARY pieces."""

    start_id, eos_id = tiny.TOKENS.start, tiny.TOKENS.eos

    def separate(self, text):
        return [text] if text else []

    def encode(self, text):
        return [4, 5, len(text) % 4]

    def decode(self, ids):
        return " ".join(map(str, ids))
