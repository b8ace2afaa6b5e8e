"""The memory of an import: a few times the largest tensor, however large the model.

Collected with `--full`: makes 6 GiB of weights in three shards, and removes them.
"""

import json
import os
import shutil
import struct
import sys

import foreign
import jax
import ml_dtypes
import numpy as np
import test_import

from seedasr_jax.checkpoint import tensors
from seedasr_jax.convert import decoders
from seedasr_jax.convert.layout import Table

GIB = 2**30
BF16 = ml_dtypes.bfloat16
MARK = 64  # numbers at the start of each tensor that are not zero
SHAPE = dict(
    hidden_size=4096,
    intermediate_size=12_288,
    num_hidden_layers=12,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=128,
    vocab_size=151_936,
    tie_word_embeddings=False,
)


def write(path, shapes):
    """A safetensors file of bfloat16 whose tensors are zero behind their marks; it is sparse."""
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, field in header.items():
            file.seek(8 + len(text) + field["data_offsets"][0])
            file.write(foreign.weights(name, (MARK,)).astype(BF16).tobytes())
        file.truncate(8 + len(text) + end)
    return end


def test_an_import_holds_a_few_copies_of_the_largest_tensor(tmp_path):
    config, _ = test_import.about("qwen3_untied")
    config |= SHAPE | dict(layer_types=None)
    decoder, _ = decoders.options(decoders.Keys(config, "made"), decoders.QWEN3)
    decoder = test_import.options_of(decoder)
    folder = foreign.write(tmp_path / "source", config, {})
    table = Table(decoders.entries(decoder), test_import.shapes_of(decoder))
    named = sorted(table.theirs().items())
    total, index = 0, {}
    for number in range(3):
        name = f"model-{number + 1:05d}-of-00003.safetensors"
        part = dict(named[number::3])
        total += write(folder / name, part)
        index |= dict.fromkeys(part, name)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert total >= 6 * GIB
    largest = max(2 * int(np.prod(shape)) for _, shape in named)
    out = tmp_path / "bundle"
    command = [sys.executable, "-m", "seedasr_jax.launch.cli", "import"]
    process = os.posix_spawn(
        sys.executable, [*command, f"--from={folder}", f"--out={out}"], os.environ
    )
    _, status, used = os.wait4(process, 0)
    assert status == 0
    assert used.ru_maxrss * 1024 <= 3 * largest + GIB, f"{used.ru_maxrss / 2**20:.2f} GiB"
    found = tensors.index(out)
    up = found["decoder.blocks.blocks.feedforward.up.kernel"]
    assert up.struct == jax.ShapeDtypeStruct((12, 4096, 12_288), BF16)
    wanted = foreign.weights("model.layers.7.mlp.up_proj.weight", (MARK,)).astype(BF16)
    begin = up.begin + 2 * 7 * 4096 * 12_288  # of layer 7
    column = np.memmap(str(up.path), np.uint16, "r", begin, (4096, 12_288))[:MARK, 0]
    assert (column.view(BF16) == wanted).all()
    shutil.rmtree(tmp_path)
