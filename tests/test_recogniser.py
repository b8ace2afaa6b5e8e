"""A batch of N decodes to the tokens of N batches of one, in any bucket."""

import dataclasses
import math

import numpy as np
import pytest
import tiny
import tones

from seedasr_jax import batch as batches
from seedasr_jax import config
from seedasr_jax.audio import files
from seedasr_jax.decode import recogniser as recognisers
from seedasr_jax.evaluate import probe, transcribe
from seedasr_jax.parallel import mesh as meshes


def batch(vocab, waves, seconds, rows=1):
    """A Batch of that length; rows behind the waves are absent."""
    prompt = vocab.encode("Transcribe the speech into text:")
    found = batches.zeros(rows, round(seconds * files.RATE), len(prompt), 0, 6)
    found.prompt[:], found.prompt_length[:] = prompt, len(prompt)
    found.start[:] = vocab.start_id
    for row, wave in enumerate(waves):
        found.wave[row, : len(wave)] = wave
        found.wave_length[row], found.weight[row] = len(wave), 1.0
    return found


def unclocked(recogniser):
    """The same parameters with the positions of the paper's form, which follow from the lengths."""
    variant = dataclasses.replace(recogniser.model.variant, speech_positions="frames")
    model = dataclasses.replace(recogniser.model, variant=variant)
    graphdef, _ = recognisers.abstract(model, recogniser.vocab, recogniser.parts)
    vocab, parts, mesh = recogniser.vocab, recogniser.parts, recogniser.mesh
    return recognisers.Recogniser(graphdef, recogniser.state, vocab, model, parts, mesh)


def test_templates_are_encoded_when_they_are_read(tokenizer, monkeypatch):
    """And once: a probe has a recogniser for each layer, which reads none."""
    made = []
    monkeypatch.setattr(recognisers, "Template", lambda *given: made.append(given) or given)
    model, mesh = tiny.stage("probe", (), ()).model, meshes.make(config.Mesh(-1, 1, 1, 1))
    layers = probe.recognisers(None, tokenizer, model, ("encoder", "probe"), mesh)
    assert len(layers) == model.encoder.layers and not made
    assert layers[0].with_state(None).template is layers[0].template and len(made) == 1


@pytest.mark.parametrize(
    ("method", "change"),
    [("ctc", None), ("greedy", None), ("greedy", unclocked), ("beam3", None)],
)
def test_a_batch_of_many_is_many_batches_of_one(trained, method, change):
    recogniser = transcribe.load(trained.workdir).recogniser
    if change is not None:
        recogniser = change(recogniser)
    vocab = recogniser.vocab
    texts = ["low", "top high mid", "mid low", "high high top", "top"]
    waves = [files.to_float(tones.wave(text, 100 + n)) for n, text in enumerate(texts)]
    rng = np.random.default_rng(0)
    waves.append(rng.normal(0, 0.1, 9_000).astype(np.float32))  # no word at all
    together = recogniser.decode(batch(vocab, waves, 0.8, 7), method)
    assert together.pop().tokens == ()  # of the absent row
    assert len({hypothesis.tokens for hypothesis in together}) >= 4
    for seconds, rows in ((0.8, 7), (1.7, 1)):
        for wave, expected in zip(waves, together):
            found, *_ = recogniser.decode(batch(vocab, [wave], seconds, rows), method)
            assert found.tokens == expected.tokens
            np.testing.assert_allclose(found.logprobs, expected.logprobs, rtol=0, atol=1e-4)
    for hypothesis in together:
        assert len(hypothesis.logprobs) == len(hypothesis.tokens)
        assert all(-math.inf < p <= 1e-6 for p in hypothesis.logprobs)
        assert vocab.decode(hypothesis.tokens) == hypothesis.text
