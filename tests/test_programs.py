"""The programs of a plan, run on fake devices: they decode as one device does."""

from flax import nnx
import jax
import numpy as np
import pytest
import tiny

from seedasr_jax.checkpoint import derive
from seedasr_jax.decode import gathering, prefill, scoring
from seedasr_jax.models import acllm, decoders
from seedasr_jax.parallel import sharding
from seedasr_jax.plan import compile as compiling
from seedasr_jax.plan import fitting, programs, topologies
from seedasr_jax.train import build

SECONDS = 0.4
PARTS = ("encoder", "converter", "decoder")


@pytest.fixture(scope="module")
def built():
    """A stage that transcribes, on (data, fsdp, tensor) 2 x 2 x 2."""
    mesh = {"mesh.data": 2, "mesh.fsdp": 2, "mesh.tensor": 2}
    contexts = {"stages.only.data.contexts.tokens": 4, "stages.only.data.contexts.plain": 0.5}
    stage = tiny.stage("sft", PARTS, PARTS[:2], objective=dict(ctc_weight=0.0), **mesh, **contexts)
    return build.build(stage, fitting.TOKENS, stage.vocab.size)


@pytest.fixture(scope="module")
def held(built):
    return fitting.sizes(built.stage, built.stage.data.buckets[0])


def test_planned_programs_decode_like_one_device(built, held):
    encode, begin, follow = programs.decoding(built, held, SECONDS)
    assert [p.name for p in (encode, begin, follow)] == ["encode", "prefill", "decode"]
    size = built.stage.vocab.size
    model = tiny.drawn(
        lambda rngs: acllm.make(
            built.stage.model, fitting.TOKENS, size, PARTS, remat="none", rngs=rngs
        )
    )
    batch = tiny.batch(held.utterances, SECONDS, held.prompt, held.context, 0)
    last = np.full((held.utterances, 1), 1, np.int32)

    @jax.jit
    def alone(model):
        speech = prefill.encode(model, batch)
        stream = prefill.fill(model, batch, speech, held.tokens + 1)
        return speech, *prefill.decode_step(model, stream, last)

    speech, expected, after = alone(model)

    def put(program, index, value):
        places = jax.tree.map(lambda x: x.sharding, program.arguments[index])
        return jax.device_put(value, places)

    state = put(encode, 0, nnx.state(model))
    over = put(encode, 1, batch)
    found = encode.function(state, over)
    np.testing.assert_allclose(found.x, speech.x, atol=1e-4)
    cached = begin.function(state, over, found)
    scores, cached = follow.function(state, cached, put(follow, 2, last))
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    np.testing.assert_allclose(cached.cache.k, after.cache.k, atol=1e-4)
    assert int(cached.cache.slot) == int(after.cache.slot)


def test_a_cache_is_sharded_over_examples_and_heads(built, held):
    _, begin, follow = programs.decoding(built, held, SECONDS)
    _, stream, _ = follow.arguments
    slots = stream.cache.valid.shape[1] + held.tokens + 1
    assert stream.cache.k.shape[2:4] == (1, held.tokens + 1)
    whole = 2 * 2 * held.utterances * slots * 2 * 8 * 4  # k and v, layers, ..., float32
    assert begin.bytes["kv"] == follow.bytes["kv"] == whole // 8
    counted = built.stage.model, built.mesh, begin.arguments[1], held.tokens, (held.context,), 1
    assert gathering.cached(*counted) == whole // 8
    assert follow.runs == held.tokens + 1


def test_useful_work_of_decoding_is_that_of_a_pass_over_all_of_it(built, held):
    """Prefill and all steps, together: one causal pass over prefix and transcript."""
    _, begin, follow = programs.decoding(built, held, SECONDS)
    model, prefix = built.stage.model, follow.arguments[1].cache.valid.shape[1]
    steps = [
        decoders.flops(model, prefix + n + 1) - decoders.flops(model, prefix + n)
        for n in range(held.tokens + 1)
    ]
    once = decoders.flops(model, prefix + held.tokens + 1)
    assert begin.flops + held.utterances * sum(steps) == pytest.approx(held.utterances * once)
    last = steps[-1] + decoders.logits_flops(model, built.stage.vocab.size)
    assert follow.flops == pytest.approx(held.utterances * last)


def test_a_stage_that_transcribes_nothing_has_no_decoding(held):
    text = tiny.stage("lm", PARTS[2:], PARTS[2:])
    alone = build.build(text, fitting.TOKENS, text.vocab.size)
    for found in (programs.decoding, programs.score, programs.rollout):
        assert found(alone, held, 0.0) == []


def test_scores_and_rollouts_of_a_stage_have_rows():
    """The optimiser's resident state is counted, and loops run to the last token."""
    lists = dict(ce_weight=0.01, hypotheses=2, temperature=0.0, keyword_weight=2.0, unit="word")
    changes = {"mesh.data": 4, "mesh.fsdp": 2, "eval.tasks": ("dev",), "eval.decode": "greedy"}
    rl = tiny.stage("rl", PARTS, PARTS[:2], objective=lists, **changes)
    built = build.build(rl, fitting.TOKENS, rl.vocab.size)
    how = scoring.of(rl.eval.decode, rl.scored, derive(rl, {}, prompted=True))
    (bucket,), pod = fitting.score_buckets(how, built.mesh), topologies.parse("v5e:2x4")
    assert bucket == (SECONDS, 64, 8)
    for make, one, width in (
        (programs.score, bucket, 1),
        (programs.rollout, rl.data.buckets[0], 2),
    ):
        held = fitting.sizes(rl, one)
        (program,) = make(built, held, SECONDS)
        row = compiling.compiled(program, held, built.mesh, pod, stage="only", bucket=one)
        train = programs.train(built, held, SECONDS)
        assert row.program == make.__name__ and row.fits
        params = nnx.merge_state(built.abstract.params, built.abstract.frozen)
        copied = gathering.copied(params, built.mesh, rl.model.dtype)  # beside those of training
        assert row.hbm_bytes["params"] == train.bytes["params"] + copied > train.bytes["params"]
        assert row.hbm_bytes["opt"] == train.bytes["opt"] > 0
        slots = held.prompt + 5 + width * (held.tokens + 1)  # 0.4 s are 5 speech tokens
        assert row.hbm_bytes["kv"] == 2 * 2 * 1 * slots * 2 * 8 * 4  # k and v, layers, rows, ...
        assert row.hbm_bytes["act"] > 0 and abs(row.hbm_bytes["other"]) < 100_000
        assert 0 < row.flops < row.seconds["compute"] * pod.chips * pod.chip.flops


def test_arguments_have_the_shardings_of_training(built, held):
    state = programs.train(built, held, SECONDS).arguments[0]
    assert jax.tree.map(lambda x: x.sharding, state) == built.sharding
    batch = programs.train(built, held, SECONDS).arguments[1]
    assert {x.sharding for x in jax.tree.leaves(batch)} == {sharding.of_batch(built.mesh)}
