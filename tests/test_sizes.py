"""Published sizes, counted without memory: every model is built as shapes only."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seedasr_jax import batch as batches
from seedasr_jax import config
from seedasr_jax.configs import common
from seedasr_jax.decode.search import Search, search
from seedasr_jax.models import acllm
from seedasr_jax.models.acllm import Tokens
from seedasr_jax.models.decoder import Decoder
from seedasr_jax.models.luise import Luise
from seedasr_jax.text.template import Around
from seedasr_jax.train import objectives

LORA = config.Lora(rank=0, alpha=16.0)
OPTIONS = dict(remat="block", dtype=jnp.bfloat16)


def parameters(module):
    """How many parameters, of shapes or arrays."""
    return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(nnx.state(module, nnx.Param)))


@pytest.mark.parametrize(
    "size, millions", [("75m", 76), ("200m", 198), ("600m", 605), ("2b", 1_815), ("5b", 5_038)]
)
def test_luise_has_its_size_at_full_shape(size, millions):
    settings = config.build(common.luise(size), config.Encoder)
    model = nnx.eval_shape(lambda: Luise(settings, **OPTIONS, rngs=nnx.Rngs(0)))
    np.testing.assert_allclose(parameters(model.blocks) / 1e6, millions, rtol=0.06)
    mel, length = jax.ShapeDtypeStruct((2, 3_000, 80), jnp.float32), jnp.zeros(2, jnp.int32)
    x, _ = nnx.eval_shape(lambda model, mel: model(mel, length), model, mel)
    assert x.shape == (2, 750, settings.width)  # 40 ms


def test_qwen3_8b_has_its_published_size():
    settings = config.build(common.qwen3_8b(), config.Decoder)
    model = nnx.eval_shape(lambda: Decoder(settings, 0, lora=LORA, **OPTIONS, rngs=nnx.Rngs(0)))
    np.testing.assert_allclose(parameters(model) / 1e9, 8.19, rtol=0.01)


def test_qwen3_0_6b_shape_counts_a_tied_table_once():
    """Its config.json: 28 x 1,024, 16 heads on 8 groups of 128, 0.596B with the table tied."""
    shape = dict(heads=16, kv_heads=8, head_dim=128, ffn_dim=3_072, vocabulary=151_936)
    settings = config.build(common.qwen3(28, 1_024, **shape), config.Decoder)
    model = nnx.eval_shape(lambda: Decoder(settings, 0, lora=LORA, **OPTIONS, rngs=nnx.Rngs(0)))
    np.testing.assert_allclose(parameters(model) / 1e9, 0.596, rtol=0.01)


def test_the_whole_recogniser_at_5b_and_8b():
    c = common.graph("full")
    c.model.encoder, c.model.decoder = common.luise("5b"), common.qwen3_8b()
    c.model.lora.rank, c.model.dtype = 64, "bfloat16"
    settings = config.build(c.model.to_dict(), config.Model)

    def create():
        parts = ("encoder", "converter", "decoder")
        tokens = Tokens(pad=0, start=1, eos=2)
        return acllm.make(settings, tokens, 151_936, parts, remat="block", rngs=nnx.Rngs(0))

    model = nnx.eval_shape(create)
    wave, length = jax.ShapeDtypeStruct((1, 480_000), jnp.float32), jnp.zeros(1, jnp.int32)
    speech = nnx.eval_shape(lambda model, wave: model.speech(wave, length), model, wave)
    assert speech.x.shape == (1, 188, 4_096)  # 160 ms a token, the last one begun
    adapters = sum(
        np.prod(x.shape) for x in jax.tree.leaves(nnx.state(model.decoder)) if 64 in x.shape
    )
    projections = 4_096 * 4_096 * 2 + 4_096 * 1_024 * 2
    assert adapters == 36 * 64 * (2 * (4_096 + 4_096) + 2 * (4_096 + 1_024)) < 36 * projections


def test_a_joint_search_at_full_size():
    c = common.graph("full")
    c.model.encoder, c.model.decoder = common.luise("2b"), common.qwen3_8b()
    c.model.dtype = "bfloat16"
    settings = config.build(c.model.to_dict(), config.Model)
    parts = ("encoder", "converter", "decoder")

    def create():
        tokens = Tokens(pad=0, start=1, eos=2)
        return acllm.make(settings, tokens, 151_936, parts, remat="none", rngs=nnx.Rngs(0))

    batch = batches.abstract(utterances=2, samples=30 * 16_000, prompt=0, context=10_240, tokens=0)
    plain = (Around((0,) * 7, (), 0),)

    def decode(model, batch):
        return search(model, batch, 200, Search(4), plain=plain, alpha=0.5)

    found = nnx.eval_shape(decode, nnx.eval_shape(create), batch)
    assert found.ids.shape == found.logprobs.shape == (2, 4, 200)
    assert found.score.shape == (2, 4) and found.score.dtype == jnp.float32


SSL = {  # kind: parts by size in millions, of what is not the encoder; terms that are arrays
    "ssl1": (dict(ssl_head=12.6, quantizer=0.136), dict(codes=(8_192,))),
    "ssl2": (dict(ssl_head=12.6, codebook=12.6), dict(codes=(8_192,))),
    "kmeans": (dict(codebook=12.6), dict(codes=(8_192,))),
    "probe": (dict(probe=32 * 1_537 * 5_120 / 1e6), dict(layers=(32,))),
}


@pytest.mark.parametrize("kind", SSL)
def test_self_supervised_stages_at_2b(kind):
    """The paper's 32 layers, layer 25 as the teacher: traced, with every layer's output."""
    c = common.graph("full")
    c.model.encoder, c.model.dtype = common.luise("2b"), "bfloat16"
    c.model.quantizer.layer = 25
    s = c.stages.only = common.stage(kind, 100)
    s.objective = common.best_rq() if kind.startswith("ssl") else {}
    s.optim = common.kmeans() if kind == "kmeans" else common.adamw(1e-3)
    s.init, s.trains = {}, ("probe",) if kind == "probe" else ()
    s.data = common.data((("manifest:none.jsonl", 1.0),), ((30.72, 1, 8),))
    stage, tokens = config.expand(c).stages["only"], Tokens(pad=0, start=1, eos=2)
    objective = objectives.make(stage, tokens, 5_000)

    def create():
        options = dict(remat="block", rngs=nnx.Rngs(0))
        return acllm.make(stage.model, tokens, 5_000, objective.needs.parts, **options)

    model = nnx.eval_shape(create)
    wanted, arrays = SSL[kind]
    for part, millions in wanted.items():
        np.testing.assert_allclose(parameters(getattr(model, part)) / 1e6, millions, rtol=0.02)
    batch, rng = batches.abstract(8, 480_000, 0, 0, 100), jax.random.key(0)

    def loss(model, batch):
        return objective.loss(model, batch, objective.weigh(batch, rng), rng)

    total, terms = nnx.eval_shape(loss, model, batch)
    assert total.shape == () and total.dtype == jnp.float32
    assert {k: x.shape for k, x in terms.items() if x.shape} == arrays
