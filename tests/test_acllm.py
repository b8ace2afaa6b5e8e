"""AcLLM: what stands where in the LLM's input, and decoding's path against the forced one.

Dims: B batch, U speech tokens, P prompt tokens, C context tokens, N prefix slots, L tokens.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from seedasr_jax import shapes
from seedasr_jax.models import acllm
from seedasr_jax.small.models.acllm import ClockedSpeech

DEVICES = {
    "frames": {"variant.speech_positions": "frames"},
    "all": {
        "converter.kind": "mean",
        "variant.speech_positions": "ctc_onsets",
        "variant.transcript_position": 9,
        "variant.converter_input": "ctc_posteriors",
        "variant.mix": True,
        "variant.flag": True,
        "variant.spelled": True,
    },
}


@pytest.fixture(scope="module", params=DEVICES)
def model(request):
    devices = DEVICES[request.param].items()
    return tiny.model(**{f"model.{name}": value for name, value in devices})


@jax.jit
def prefix_of(model, batch):
    return model.prefix(batch, model.speech(batch.wave, batch.wave_length))


@jax.jit
def placed(model, batch, x, length, clock):
    """The prefix of speech tokens x [B U E], of [B] real ones."""
    speech = acllm.Speech(x, length)
    if clock is not None:
        speech = ClockedSpeech(x, length, clock)
    return model.prefix(batch, speech)


def prefix_for(model, batch, x, length, clock):
    return jax.tree.map(np.asarray, placed(model, batch, x, length, clock))


@jax.jit
def forced(model, batch):
    """Logits [B L+1 V] from waves."""
    prefix = prefix_of(model, batch)
    return model.decoder.logits(model.teacher_forced(prefix, batch.ids, batch.ids_length)[0])


@jax.jit
def cached(model, batch):
    """The same by prefill and cached steps, as decoding goes."""
    prefix, decoder = prefix_of(model, batch), model.decoder
    tokens = batch.ids.shape[1]
    cache = decoder.prefill(prefix.x, prefix.positions, prefix.valid, 1, tokens + 3)
    memory = decoder.memory(len(batch.weight), 1)
    given = jnp.pad(batch.ids, ((0, 0), (1, 0)), constant_values=model.tokens.start)

    def advance(carry, n):
        cache, memory = carry
        x, memory = decoder.embed_next(given[:, n][:, None], memory)
        position = (prefix.next + n)[:, None]
        hidden, cache = decoder.decode_step(x, position, cache)
        return (cache, memory), decoder.logits(hidden[:, 0])

    _, logits = jax.lax.scan(advance, (cache, memory), jnp.arange(tokens + 1))
    return logits.swapaxes(0, 1)


def real_only(logits, batch):
    """The logits that count, flat: without padding pieces and positions."""
    real = np.asarray(shapes.valid(batch.ids_length + 1, batch.ids.shape[1] + 1))
    return np.asarray(logits)[..., : tiny.VOCABULARY][real]


def in_bucket(batch, seconds, prompt, context, tokens):
    """The same utterances in a longer bucket."""
    sizes = dict(wave=round(seconds * 16_000), prompt=prompt, context=context, ids=tokens)
    sizes["suffix"] = batch.suffix.shape[1] + 2

    def pad(name):
        x = getattr(batch, name)
        return np.pad(x, ((0, 0), (0, sizes[name] - x.shape[1])))

    return dataclasses.replace(batch, **{name: pad(name) for name in sizes})


def test_cached_steps_are_the_forced_pass(model):
    batch = tiny.batch(3, suffix=2)
    wanted = real_only(forced(model, batch), batch)
    np.testing.assert_allclose(real_only(cached(model, batch), batch), wanted, atol=1e-5)


def test_a_batch_of_n_is_n_batches_of_one_in_any_bucket(model):
    batch = tiny.batch(3, suffix=2)
    together, longer = np.asarray(cached(model, batch)), in_bucket(batch, 0.72, 5, 6, 9)
    for row in range(3):
        one, alone = (jax.tree.map(lambda x: x[row : row + 1], b) for b in (batch, longer))
        wanted = real_only(together[row : row + 1], one)
        np.testing.assert_allclose(real_only(cached(model, alone), alone), wanted, atol=1e-5)


def test_every_part_of_the_input_is_read(model):
    batch = tiny.batch(3, suffix=2)
    two = np.full(3, 2, np.int32)
    batch = dataclasses.replace(batch, context_length=two, suffix_length=two)
    plain = real_only(forced(model, batch), batch)
    for name in ("wave", "prompt", "context", "suffix"):
        other = dataclasses.replace(batch, **{name: getattr(batch, name)[:, ::-1].copy()})
        assert np.abs(real_only(forced(model, other), batch) - plain).max() > 1e-3


def test_positions_count_real_slots_only(model):
    batch = dataclasses.replace(
        tiny.batch(2, suffix=3),
        prompt_length=np.array([2, 3]),
        context_length=np.array([2, 0]),
        suffix_length=np.array([1, 3]),
    )
    x = np.zeros((2, 4, 16), np.float32)
    clock = np.array([[0, 1, 1, 2], [1, 1, 2, 2]]) if model.config.variant.clocked else None
    prefix = prefix_for(model, batch, x, np.array([4, 3]), clock)
    valid = [[1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 1, 1, 1, 0, 1, 1, 1]]
    valid = np.array(valid, bool)
    np.testing.assert_array_equal(prefix.valid, valid)
    where = [prefix.positions[b][valid[b]] for b in range(2)]
    if model.config.variant.clocked:
        np.testing.assert_array_equal(where[0], [0, 1, 2, 3, 4, 5, 5, 6, 9])
        np.testing.assert_array_equal(where[1], [0, 1, 2, 4, 4, 5, 9, 10, 11])
        np.testing.assert_array_equal(prefix.next, [10, 12])
    else:
        np.testing.assert_array_equal(where[0], np.arange(9))
        np.testing.assert_array_equal(where[1], np.arange(9))
        np.testing.assert_array_equal(prefix.next, [9, 9])


def test_the_transcript_never_starts_inside_a_long_context(model):
    long = dataclasses.replace(
        tiny.batch(1, context=20), prompt_length=np.array([3]), context_length=np.array([20])
    )
    prefix = prefix_of(model, long)
    assert int(np.asarray(prefix.next)[0]) >= 23


def test_language_model_is_the_decoder_on_start_and_tokens():
    model = tiny.model(("decoder",))
    batch = tiny.batch(2)
    given = np.pad(batch.ids, ((0, 0), (1, 0)), constant_values=tiny.TOKENS.start)
    positions = np.broadcast_to(np.arange(7), (2, 7))
    real = np.arange(7)[None] <= batch.ids_length[:, None]

    @jax.jit
    def both(model, ids, length):
        decoder = model.decoder
        whole = decoder.logits(decoder(decoder.embed_tokens(given), positions, real)[0])
        forced, _ = model.teacher_forced(model.empty_prefix(2), ids, length)
        return decoder.logits(forced), whole

    logits, wanted = both(model, batch.ids, batch.ids_length)
    np.testing.assert_allclose(real_only(logits, batch), real_only(wanted, batch), atol=1e-5)


def test_targets_end_with_the_end_token():
    ids = np.array([[7, 8, 9], [7, 55, 55], [55, 55, 55]])
    wanted, real = map(np.asarray, jax.jit(acllm.targets)(ids, np.array([3, 1, 0]), 3))
    np.testing.assert_array_equal(real.sum(1), [4, 2, 1])
    assert [list(w[r]) for w, r in zip(wanted, real)] == [
        [7, 8, 9, 3],
        [7, 3],
        [3],
    ]


def test_only_the_parts_asked_for_are_built():
    model = tiny.model(("encoder", "ctc_head"))
    assert model.parts == ("encoder", "ctc_head") and not hasattr(model, "decoder")


def test_more_onsets_than_ever_trained_on_stay_before_the_transcript():
    small = {"model.variant.speech_positions": "ctc_onsets", "model.variant.transcript_position": 9}
    model, batch = tiny.model(**small), tiny.batch()
    x = np.zeros((len(batch.weight), 40, model.config.decoder.width), np.float32)
    clock = np.broadcast_to(np.arange(40)[None], x.shape[:2])
    prefix = prefix_for(model, batch, x, np.full(len(x), 40), clock)
    assert (prefix.positions[:, -40:] < prefix.next[:, None]).all()
    assert (np.diff(prefix.positions[:, -40:], axis=1) >= 0).all()


def test_clocked_speech_begins_where_it_should_whatever_the_context():
    small = {"model.variant.speech_positions": "ctc_onsets", "model.variant.speech_position": 12}
    model, batch = tiny.model(**small, **{"model.variant.transcript_position": 30}), tiny.batch()
    assert len(set((batch.prompt_length + batch.context_length).tolist())) > 1
    x = np.zeros((len(batch.weight), 5, model.config.decoder.width), np.float32)
    clock = np.broadcast_to(np.arange(5)[None], x.shape[:2])
    prefix = prefix_for(model, batch, x, np.full(len(x), 5), clock)
    np.testing.assert_array_equal(prefix.positions[:, -5:], 12 + clock)
    np.testing.assert_array_equal(prefix.next, np.full(len(x), 30))
