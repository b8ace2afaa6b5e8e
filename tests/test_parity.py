"""Live parity with transformers: random small configs; and the frozen vectors made again.

Collected with `--parity` only; needs the extra `parity` (torch 2.13.0, transformers).

Dims: B batch, N positions, V vocabulary.
"""

import importlib
import sys

from flax import nnx
import foreign
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import torch
import transformers

from seedasr_jax import checkpoint
from seedasr_jax.audio import arrays, files
from seedasr_jax.evaluate import opening
from seedasr_jax.launch import imports

sys.path.append(str(tiny.GOLDEN))  # its make.py

pytestmark = pytest.mark.parity


def random_decoder(kind, seed):
    """A function of a tokenizer's ids that makes a random small config of a decoder."""
    rng = np.random.default_rng(seed)
    groups, group = (int(n) for n in rng.integers(1, 4, 2))
    changes = dict(
        num_hidden_layers=int(rng.integers(1, 4)),
        hidden_size=int(rng.integers(2, 6)) * 8,
        num_attention_heads=groups * group,
        num_key_value_heads=groups,
        head_dim=int(rng.integers(2, 9)) * 2,
        intermediate_size=int(rng.integers(10, 50)),
        rope_parameters=dict(rope_type="default", rope_theta=float(rng.choice([100.0, 1e4, 1e6]))),
        rms_norm_eps=float(rng.choice([1e-5, 1e-6])),
        tie_word_embeddings=bool(rng.integers(2)),
    )
    if kind == "Qwen3Moe":
        active = 2 + seed
        changes |= dict(num_experts=6, num_experts_per_tok=active, moe_intermediate_size=12)
        changes["norm_topk_prob"] = True
    return foreign.config_of(kind, **changes)


def saved(make, folder):
    """The folder of a model of transformers with the weights of tests/foreign.py; and the model."""
    made = importlib.import_module("make")
    folder.mkdir()
    foreign.tokenizer(folder)
    settings, shapes = made.saved(make(foreign.ids(folder)), folder)
    return foreign.write(folder, settings, shapes)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["Qwen3", "Llama", "Qwen3Moe"])
def test_logits_are_those_of_transformers(tmp_path, kind, seed):
    """With padding in front of one row, and positions that skip it."""
    folder = saved(random_decoder(kind, seed), tmp_path / "source")
    net = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
    imports.bundle(str(folder), tmp_path / "bundle")
    opened = checkpoint.open_checkpoint(tmp_path / "bundle")
    graphdef, state, tokenizer, _ = opening.open_model(opened, None, ("decoder",))
    decoder = nnx.merge(graphdef, state).decoder
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, tokenizer.size, (2, 12))
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
    found, wanted = np.asarray(logits)[real][:, : tokenizer.size], wanted[real][:, : tokenizer.size]
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def test_the_frozen_vectors_are_what_their_script_makes(tmp_path, monkeypatch):
    made = importlib.import_module("make")
    monkeypatch.setattr(made, "FOLDER", tmp_path)
    made.main()
    kinds = ("*.npz", "foreign/*.npz", "foreign/*.json")
    names = sorted(str(p.relative_to(tiny.GOLDEN)) for k in kinds for p in tiny.GOLDEN.glob(k))
    assert names == sorted(str(p.relative_to(tmp_path)) for k in kinds for p in tmp_path.glob(k))
    for name in names:
        if name.endswith(".json"):
            assert (tmp_path / name).read_text() == (tiny.GOLDEN / name).read_text()
            continue
        old, new = np.load(tiny.GOLDEN / name), np.load(tmp_path / name)
        assert old.keys() == new.keys()
        for key in old:
            np.testing.assert_allclose(new[key], old[key], rtol=1e-5, atol=1e-5)


def test_a_tensor_is_a_wave():
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 1_600).astype(np.float32)
    for tensor in (torch.tensor(wave), torch.tensor(wave[None], requires_grad=True)):
        np.testing.assert_array_equal(arrays.to_wave(tensor, files.RATE), wave)
