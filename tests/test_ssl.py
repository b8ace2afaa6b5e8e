"""Self-supervised stages: what is predicted, from which labels, and what is logged.

Dims: B batch, T frames, D width, K codes, L layers.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from seedasr_jax.configs import common
from seedasr_jax.errors import ConfigError, UserError
from seedasr_jax.losses.masked_prediction import describe
from seedasr_jax.train import build, objectives

HIDE = dict(start=0.1, span=8, noise=0.1)
LABELS = {"model.quantizer.codes": 12, "model.quantizer.layer": 1}
PARTS = {
    "ssl1": ("encoder", "ssl_head", "quantizer"),
    "dense_ssl1": ("encoder", "ssl_head", "quantizer"),
    "ssl2": ("encoder", "ssl_head", "teacher", "codebook"),
    "kmeans": ("teacher", "codebook"),
    "probe": ("encoder", "probe"),
}
TRAINED = dict.fromkeys(("ssl1", "dense_ssl1"), ("encoder", "ssl_head"))


def stage(kind, hide=HIDE, **changes):
    if kind == "kmeans":
        changes = dict(optim=common.kmeans(0.9)) | changes
    objective = hide if "ssl" in kind else ()
    trains = TRAINED.get(kind, PARTS[kind][1:2])
    return tiny.stage(kind, PARTS[kind], trains, objective=objective, **(LABELS | changes))


def made(kind, hide=HIDE, **changes):
    built = stage(kind, hide, **changes)
    return build.build(built, tiny.TOKENS, tiny.VOCABULARY, jax.devices()[:1])


def objective(kind, **changes):
    return objectives.make(stage(kind, **changes), tiny.TOKENS, tiny.VOCABULARY)


@pytest.mark.parametrize("each", [1, 2])
def test_only_masked_frames_and_their_noise_differ_from_the_input(each):
    """The encoder sees noise in masked frames alone, the labels are of the whole."""
    several = {"model.variant.labels": each} if each > 1 else {}
    kind = "dense_ssl1" if several else "ssl1"
    masked, batch, rng = objective(kind, **several), tiny.batch(3), jax.random.key(0)
    model = tiny.model(PARTS["ssl1"], **LABELS, **several)
    seen = []

    def encoder(x, n, keys):
        seen.append(x)
        return jnp.zeros((3, 10, 16)), -(-n // 4)

    encoder.frontend, model.encoder = model.encoder.frontend, encoder
    model.ssl_head = lambda x: jnp.zeros((3, each * 10, 12))

    @jax.jit
    def run(batch):
        mel, length = masked.features(model.encoder, batch, rng)
        loss, terms = masked.loss(model, batch, masked.weigh(batch, rng), rng)
        where = masked.hidden(batch, rng), masked.predicted(batch, rng)
        return loss, terms, mel, seen[-1], *where, *model.quantizer(mel, length)

    loss, terms, *arrays = run(batch)
    mel, noisy, hidden, predicted, labels, real = map(np.asarray, arrays)
    hidden = np.repeat(hidden, 4, axis=1)  # whole encoder frames
    np.testing.assert_array_equal(noisy[~hidden], mel[~hidden])
    assert np.abs(noisy[hidden]).max() < 0.6
    assert noisy[hidden].std() == pytest.approx(0.1, rel=0.2)
    np.testing.assert_allclose(loss, np.log(12), rtol=1e-5)  # nll per masked frame
    size = 4 // each
    hidden &= np.arange(40)[None] < size * real[:, None]
    np.testing.assert_array_equal(predicted, hidden[:, ::size])
    wanted = np.bincount(labels[predicted > 0], minlength=12)
    np.testing.assert_array_equal(terms["codes"], wanted)
    np.testing.assert_allclose(terms["accuracy"], wanted[0] / wanted.sum(), rtol=1e-6)


def test_the_second_iteration_takes_labels_of_the_chosen_layer():
    batch, rng = tiny.batch(3), jax.random.key(0)
    for layer in (1, 2):
        settings = LABELS | {"model.quantizer.layer": layer}
        masked, model = objective("ssl2", **settings), tiny.model(PARTS["ssl2"], **settings)

        @jax.jit
        def run(model):
            mel, length = masked.features(model.encoder, batch, rng)
            layers, frames = model.teacher.every_layer(mel, length)
            wanted, _ = model.codebook(layers[layer - 1], frames)
            return layers, wanted, masked.labels(model, mel, length), model.teacher(mel, length)[0]

        layers, wanted, labels, top = run(model)
        np.testing.assert_array_equal(labels, wanted)
    np.testing.assert_allclose(layers[1], top, atol=1e-6)  # the last layer is the encoder's output
    assert np.abs(layers[0] - layers[1]).max() > 0.1


def test_a_probe_is_a_ctc_stage_for_each_layer():
    batch, rng = tiny.batch(4), jax.random.key(0)
    probe, model = objective("probe"), tiny.model(PARTS["probe"])

    @jax.jit
    def run(model):
        weights = probe.weigh(batch, rng)
        layers, frames = model.encoder.every_layer(*probe.features(model.encoder, batch, rng))
        each = [
            probe.ctc_loss(model.probe.head(n)(layers[n]), frames, batch, weights, rng)
            for n in range(2)
        ]
        return *probe.loss(model, batch, weights, rng), each

    loss, terms, each = jax.tree.map(np.asarray, run(model))
    np.testing.assert_allclose(terms["layers"], each, rtol=1e-5)
    np.testing.assert_allclose([loss, terms["loss"]], [sum(each), np.mean(each)], rtol=1e-5)
    assert list(probe.summary(terms)["layers"]) == ["01", "02"]


def test_what_is_logged_of_labels_and_when_the_stage_gives_up():
    masked = objective("ssl1")
    counts = np.array([30.0, 10, 5, 5] + [0.0] * 8, np.float32)
    found = masked.summary({"loss": np.ones(()), "codes": counts})
    assert found.keys() == {"loss"} | describe(counts).keys()
    assert found["used_codes"] == pytest.approx(4 / 12) and found["majority"] == 0.6
    for kind, word in (("ssl1", "silent"), ("ssl2", "teacher")):
        collapsed = {"loss": np.zeros(()), "codes": np.array([97.0, 3.0] + [0.0] * 10)}
        with pytest.raises(UserError, match=rf"97 % of masked frames have one code.*{word}"):
            objective(kind).summary(collapsed)
    for few in (np.zeros(12), 31.0 * (np.arange(12) == 3)):  # a step of bad rows says nothing
        assert masked.summary({"loss": np.zeros(()), "codes": few})["perplexity"] == 1


def test_a_fit_may_begin_with_one_code():
    found = objective("kmeans").summary({"loss": 1.0, "codes": np.array([9.0] + [0.0] * 11)})
    assert found["perplexity"] == 1


def test_what_chooses_the_layer():
    for kind in ("ssl2", "kmeans"):
        assert objective(kind).needs.consults == ()
        assert objective(kind, **{"model.quantizer.layer": 0}).needs.consults == ("probe",)
        with pytest.raises(ConfigError, match=r"quantizer\.layer: expected 1 to 2.*found 3"):
            objective(kind, **{"model.quantizer.layer": 3})


def test_labels_fill_encoder_frames():
    divisor, needs = "divisor of .* = 4, found 3", "above 1 needs stage kind 'dense_ssl1'"
    for kind, each, message in (("dense_ssl1", 3, divisor), ("ssl2", 2, needs), ("ssl1", 2, needs)):
        with pytest.raises(ConfigError, match=rf"labels.*{message}"):
            objective(kind, **{"model.variant.labels": each})


def test_a_fit_needs_its_optimiser_and_the_optimiser_its_codebook():
    with pytest.raises(ConfigError, match=r"expected optim\.name 'kmeans', found 'adamw'"):
        objective("kmeans", optim=common.adamw(1e-3, warmup=5))
    with pytest.raises(
        ConfigError,
        match=r"fits a codebook alone, found trains \['encoder', 'quantizer', 'ssl_head'\]",
    ):
        made("ssl1", optim=common.kmeans())


def test_a_quantizer_is_saved_with_its_stage_and_never_moves():
    built = made("ssl1")
    assert built.saved == ("encoder", "ssl_head", "quantizer")
    assert "quantizer" in built.abstract.params and not jax.tree.leaves(built.abstract.frozen)
    later = dataclasses.replace(built.stage, init=built.stage.init | {"quantizer": "ssl1"})
    handed = build.build(later, tiny.TOKENS, tiny.VOCABULARY, jax.devices()[:1])
    assert handed.saved == ("encoder", "ssl_head")  # referred to, as any frozen part


def tones(rows):
    """A batch whose utterances repeat four tones of 40 ms each: what is hidden can be known."""
    rng, batch = np.random.default_rng(0), tiny.batch(rows)
    samples = batch.wave.shape[1]
    hertz = np.repeat(rng.uniform(300, 3_500, (rows, 4)), 640, axis=1)
    hertz = np.tile(hertz, (1, samples // 2_560 + 1))[:, :samples]
    wave = 0.3 * np.sin(2 * np.pi * np.cumsum(hertz, 1) / 16_000) + rng.normal(0, 0.01, hertz.shape)
    length = np.full(rows, samples, np.int32)
    return dataclasses.replace(batch, wave=wave.astype(np.float32), wave_length=length)


def test_an_encoder_overfits_one_batch_of_labels():
    """Loss far below the entropy of the labels, accuracy far above that of the commonest."""
    rare = dict(start=0.05, span=8, noise=0.1)
    optim = common.adamw(1e-2, warmup=5, decay="constant")
    built = made("ssl1", rare, **{"model.quantizer.codes": 24, "optim": optim})
    step, batch, state = built.train_step(), tones(8), tiny.state(built)
    state = jax.device_put(state.replace(rng=jax.random.key(0)), jax.devices()[0])
    quantizer = [np.array(x) for x in jax.tree.leaves(state.params["quantizer"])]
    rows = []
    for _ in range(200):
        state, terms = step(state, batch)
        rows.append({key: terms[key] for key in ("loss", "accuracy", "codes")})
    found = [built.objective.summary(row) for row in (rows[0], *rows[-40:])]
    last = {key: np.mean([float(row[key]) for row in found[1:]]) for key in found[0]}
    assert last["entropy"] > 2 and last["loss"] < last["entropy"] / 2 < found[0]["loss"]
    assert last["accuracy"] > last["majority"] + 0.3
    for before, after in zip(quantizer, jax.tree.leaves(state.params["quantizer"])):
        np.testing.assert_array_equal(before, after)
