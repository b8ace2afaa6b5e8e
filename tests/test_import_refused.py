"""`seedasr import`: what is refused, in a line that names it, with nothing written."""

import json
import struct

import foreign
import numpy as np
import pytest
from safetensors.numpy import load_file
import test_import

from seedasr_jax.errors import USAGE, ConfigError, UserError
from seedasr_jax.launch import cli, imports


@pytest.mark.parametrize(
    "name, changes, message",
    [
        ("qwen3_moe", {"norm_topk_prob": False}, "norm_topk_prob = False is not supported"),
        ("qwen3_moe", {"mlp_only_layers": [1]}, r"mlp_only_layers = \[1\] is not supported"),
        ("qwen3_moe", {"decoder_sparse_step": 2}, "decoder_sparse_step = 2 is not supported"),
        ("qwen3", {"use_sliding_window": True}, "use_sliding_window = True is not supported"),
        ("qwen3", {"attention_bias": True}, "attention_bias = True is not supported: only False"),
        ("llama", {"mlp_bias": True}, "mlp_bias = True is not supported"),
        ("llama", {"hidden_act": "gelu"}, "hidden_act = 'gelu' is not supported: only 'silu'"),
        ("llama", {"rope_parameters": {"rope_type": "longrope"}}, "rope_type = 'longrope'"),
        ("llama", {"rope_scaling": {"type": "dynamic"}}, "rope_parameters.*but rope_scaling"),
        ("llama", {"hidden_size": "32"}, "hidden_size: expected int, found '32'"),
        ("llama", {"num_hidden_layers": None}, "num_hidden_layers is missing"),
        ("llama", {"moe_router_cap": 3.0}, "moe_router_cap = 3.0: not known"),
        ("llama", {"quantization_config": {"bits": 4}}, "quantization_config"),
        ("llama", {"is_decoder": True, "add_cross_attention": True}, "add_cross_attention = True"),
        ("qwen3_asr", {"token_classification_bias": True}, "token_classification_bias = True"),
        (
            "qwen3_asr",
            {"audio_config": foreign.audio_config(scale_embedding=True)},
            r"audio_config: scale_embedding = True",
        ),
        (
            "qwen3_asr",
            {"audio_config": foreign.audio_config(output_dim=64)},
            "output_dim: expected hidden_size of the text model, 32, found 64",
        ),
        ("qwen3_asr", {"audio_config": foreign.audio_config(n_window_infer=150)}, "multiple of"),
    ],
)
def test_a_key_is_refused_by_name_and_value(tmp_path, name, changes, message):
    folder = test_import.source(tmp_path, name, **changes)
    with pytest.raises(ConfigError, match=message) as raised:
        imports.bundle(str(folder), tmp_path / "bundle")
    assert str(folder / "config.json") in str(raised.value)
    assert not list(tmp_path.glob("bundle*"))


def _lying(folder, change):
    """Changes the header of a safetensors file."""
    path = folder / "model.safetensors"
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    text = json.dumps(change(header)).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def _longer(header):
    header["model.norm.weight"]["data_offsets"][1] += 4
    return header


def _hole(header):
    header["__metadata__"] = {"format": "pt"}
    del header["model.norm.weight"]
    return header


def _negative(header):
    header["model.norm.weight"]["shape"] = [-32]
    return header


def _text(header):
    header["model.norm.weight"]["shape"] = ["32"]
    return header


@pytest.mark.parametrize("change", [_longer, _hole, _negative, _text])
def test_a_header_that_lies_is_refused(tmp_path, change):
    folder = test_import.source(tmp_path, "qwen3")
    _lying(folder, change)
    with pytest.raises(UserError, match=r"model\.safetensors.*damaged"):
        imports.bundle(str(folder), tmp_path / "bundle")
    assert not list(tmp_path.glob("bundle*"))


def _drop(arrays):
    del arrays["model.layers.1.mlp.up_proj.weight"]


def _add(arrays):
    arrays["model.layers.2.mlp.up_proj.weight"] = arrays["model.layers.1.mlp.up_proj.weight"]


def _reshape(arrays):
    arrays["model.norm.weight"] = arrays["model.norm.weight"][:-1]


def _mixed(arrays):
    name = "model.layers.1.mlp.up_proj.weight"
    arrays[name] = arrays[name].astype(np.float16)


@pytest.mark.parametrize(
    "change, message",
    [
        (_drop, r"model\.layers\.1\.mlp\.up_proj\.weight \[48, 32\] is missing"),
        (_add, r"model\.layers\.2\.mlp\.up_proj\.weight \[48, 32\] is not known"),
        (_reshape, r"model\.norm\.weight: expected shape \[32\] by its config, found \[31\]"),
        (_mixed, r"up_proj.weight: expected one type in all layers, found float16 and float32"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(tmp_path, change, message):
    folder = test_import.source(tmp_path, "qwen3")
    arrays = load_file(folder / "model.safetensors")
    change(arrays)
    foreign.save(folder, arrays)
    with pytest.raises(UserError, match=message):
        imports.bundle(str(folder), tmp_path / "bundle")
    assert not list(tmp_path.glob("bundle*"))


def test_other_folders_are_refused(tmp_path, capsys):
    """Unknown architecture, remote code, a pickle, a missing shard, another tokenizer."""
    settings, named = test_import.about("qwen3")
    folder = foreign.write(tmp_path / "model", settings, named, shards=3)

    def refused(message, where=folder):
        out = tmp_path / "bundle"
        with pytest.raises(UserError, match=message):
            imports.bundle(str(where), out)
        assert not list(tmp_path.glob("bundle*"))

    def state(**changes):
        (folder / "config.json").write_text(json.dumps(settings | changes))

    refused("no config.json", tmp_path)
    refused("Did you mean model", tmp_path / "modle")
    state(architectures=["GPT2LMHeadModel"])
    refused("unknown architecture 'GPT2LMHeadModel': expected one of Qwen3ForCausalLM, Qwen3Moe")
    state(architectures=[])
    refused("expected architectures with one name")
    state(auto_map={"AutoModel": "modeling.Mine"})
    refused("needs code of its folder")
    state(vocab_size=300)
    refused("expected a tokenizer of at most 300 pieces")
    state()
    (folder / "model-00002-of-00003.safetensors").unlink()
    refused("model-00002-of-00003.safetensors is missing")
    (folder / "model.safetensors.index.json").unlink()
    for path in folder.glob("*.safetensors"):
        path.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04no pickle is opened")
    refused("found pytorch_model.bin: a pickle may run code and is never opened")
    assert cli.main(["import", f"--from={tmp_path}/none", f"--out={tmp_path}/x"]) == USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected a folder with config.json and *.safetensors" in line
