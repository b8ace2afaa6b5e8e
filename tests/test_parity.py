"""Live parity with transformers: random small configs; and the frozen vectors made again.

Collected with `--parity` only; needs the extra `parity` (torch 2.13.0, transformers).

Dims: B batch, N positions, V vocabulary.
"""

import importlib.util

import hugging_face
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import torch
import transformers

from seedasr_jax import config
from seedasr_jax.audio import arrays, files
from seedasr_jax.models.decoder import Decoder
from seedasr_jax.models.moe import MixtureFeedForward

pytestmark = pytest.mark.parity

NO_LORA = config.Lora(rank=0, alpha=16.0)


def pair(kind, seed):
    """A random small model of theirs, and ours with its weights."""
    rng = np.random.default_rng(seed)
    groups, group = (int(n) for n in rng.integers(1, 4, 2))
    shape = dict(
        layers=int(rng.integers(1, 4)),
        width=int(rng.integers(2, 6)) * 8,
        heads=groups * group,
        kv_heads=groups,
        head_dim=int(rng.integers(2, 9)) * 2,
        ffn_dim=int(rng.integers(10, 50)),
        vocabulary=int(rng.integers(20, 300)),
        rope_theta=float(rng.choice([100.0, 1e4, 1e6])),
        norm_eps=float(rng.choice([1e-5, 1e-6])),
        tied=bool(rng.integers(2)),
        qk_norm=kind == "Qwen3",
    )
    theirs = getattr(transformers, f"{kind}Config")(
        num_hidden_layers=shape["layers"],
        hidden_size=shape["width"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=groups,
        head_dim=shape["head_dim"],
        intermediate_size=shape["ffn_dim"],
        vocab_size=shape["vocabulary"],
        rope_parameters=dict(rope_type="default", rope_theta=shape["rope_theta"]),
        rms_norm_eps=shape["norm_eps"],
        tie_word_embeddings=shape["tied"],
        attn_implementation="eager",
    )
    torch.manual_seed(seed)
    net = getattr(transformers, f"{kind}ForCausalLM")(theirs).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    weights = {k: v.numpy() for k, v in net.state_dict().items()}
    if shape["tied"]:
        weights.pop("lm_head.weight", None)
    ours = tiny.make(Decoder, tiny.decoder(**shape), 0, lora=NO_LORA, remat="none")
    return net, hugging_face.into(ours, weights)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["Qwen3", "Llama"])
def test_logits_are_those_of_transformers(kind, seed):
    """With padding in front of one row, and positions that skip it."""
    net, decoder = pair(kind, seed)
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, decoder.vocabulary, (2, 12))
    real = np.ones((2, 12), bool)
    real[1, :4] = False
    positions = np.maximum(np.cumsum(real, 1) - 1, 0)
    with torch.no_grad():
        wanted = net(
            torch.tensor(ids),
            attention_mask=torch.tensor(real.astype(np.int64)),
            position_ids=torch.tensor(positions),
        ).logits.numpy()
    x = decoder.embed_tokens(jnp.asarray(ids))
    logits = decoder.logits(decoder(x, jnp.asarray(positions), jnp.asarray(real))[0])
    found = np.asarray(logits)[real][:, : decoder.vocabulary]
    np.testing.assert_allclose(found, wanted[real], atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("seed", range(2))
def test_experts_are_those_of_transformers(seed):
    """A whole sparse layer of Qwen3-MoE, router and all; its kernels are fused in memory."""
    theirs = transformers.Qwen3MoeConfig(
        hidden_size=24,
        moe_intermediate_size=10,
        num_experts=6,
        num_experts_per_tok=2 + seed,
        norm_topk_prob=True,
    )
    torch.manual_seed(seed)
    net = transformers.models.qwen3_moe.modeling_qwen3_moe.Qwen3MoeSparseMoeBlock(theirs).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    moe = dict(experts=6, active=2 + seed, balance=0.0, z=0.0)
    ours = tiny.make(MixtureFeedForward, tiny.decoder(width=24, ffn_dim=10, moe=moe))
    weights = {name: value.numpy() for name, value in net.state_dict().items()}
    gate, up = np.split(weights.pop("experts.gate_up_proj"), 2, 1)
    ours.gate.kernels[...], ours.up.kernels[...] = gate.swapaxes(1, 2), up.swapaxes(1, 2)
    ours.down.kernels[...] = weights.pop("experts.down_proj").swapaxes(1, 2)
    ours.router.kernel[...] = weights.pop("gate.weight").T
    assert not weights
    x = np.random.default_rng(seed).normal(size=(2, 7, 24)).astype(np.float32)
    with torch.no_grad():
        wanted = net(torch.tensor(x))
    wanted = (wanted[0] if isinstance(wanted, tuple) else wanted).numpy().reshape(x.shape)
    np.testing.assert_allclose(ours(x, None)[0], wanted, atol=1e-4 * np.abs(wanted).max())


def test_the_frozen_vectors_are_what_their_script_makes(tmp_path, monkeypatch):
    path = tiny.GOLDEN / "make.py"
    spec = importlib.util.spec_from_file_location("make", path)
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    monkeypatch.setattr(make, "FOLDER", tmp_path)
    make.main()
    made = sorted(tmp_path.iterdir())
    assert [p.name for p in made] == sorted(p.name for p in tiny.GOLDEN.glob("*.npz"))
    for new in made:
        old, new = np.load(tiny.GOLDEN / new.name), np.load(new)
        assert old.keys() == new.keys()
        for key in old:
            np.testing.assert_allclose(new[key], old[key], rtol=1e-5, atol=1e-6)


def test_a_tensor_is_a_wave():
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 1_600).astype(np.float32)
    for tensor in (torch.tensor(wave), torch.tensor(wave[None], requires_grad=True)):
        np.testing.assert_array_equal(arrays.to_wave(tensor, files.RATE), wave)
