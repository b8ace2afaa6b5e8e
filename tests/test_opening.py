"""A checkpoint on a mesh: each device holds its share, in the type it is used in, and no more."""

import json
import math
import shutil

from flax import nnx
import jax
import numpy as np
import pytest
import tones
import workdirs

import seedasr_jax
from seedasr_jax import checkpoint, config
from seedasr_jax.audio import files
from seedasr_jax.checkpoint import steps
from seedasr_jax.errors import ConfigError, UserError
from seedasr_jax.evaluate import opening
from seedasr_jax.launch import cli, commands, recipes
from seedasr_jax.models import acllm, layers
from seedasr_jax.models.acllm import Tokens
from seedasr_jax.parallel import mesh as meshes


@pytest.fixture
def half(trained, tmp_path):
    """The trained sft, which computes in bfloat16."""
    workdir = shutil.copytree(trained.workdir, tmp_path / "workdir")
    for name in ("lm", "ctc", "sft"):
        path = workdir / name / "stage.json"
        record = json.loads(path.read_text())
        record["recipe"]["model"]["dtype"] = "bfloat16"
        path.write_text(json.dumps(record))
    return checkpoint.open_checkpoint(workdir)


def test_each_device_reads_its_share_and_nothing_is_whole_in_float32(half, monkeypatch):
    asked, read = [], steps.read
    monkeypatch.setattr(
        steps, "read", lambda path, wanted: asked.append(wanted) or read(path, wanted)
    )
    recogniser = opening.open_recogniser(half, dict(data=2, fsdp=4))
    assert all(like.sharding is not None for wanted in asked for like in wanted.values())
    expected, held = dict.fromkeys(jax.devices(), 0), dict.fromkeys(jax.devices(), 0)
    for name, leaf in checkpoint.flat(recogniser.state).items():
        matrix = any(key in layers.MATRICES for key in name.split("."))
        assert leaf.dtype == ("bfloat16" if matrix else "float32"), name
        parts = 4 if "fsdp" in str(leaf.sharding.spec) else 1
        assert parts == 4 or leaf.size <= 512, (name, leaf.shape)
        for shard in leaf.addressable_shards:
            held[shard.device] += shard.data.nbytes
            expected[shard.device] += leaf.nbytes // parts
    assert held == expected and len(set(held.values())) == 1
    stored = sum(x.size * 4 for part in half.parts() for x in half.shapes(part).values())
    assert held[jax.devices()[0]] < stored / 6  # an eighth, and vectors


def test_a_stage_that_lost_where_a_frozen_part_is_does_not_decode_in_another_way(
    trained, tmp_path, capsys
):
    workdir = shutil.copytree(trained.workdir, tmp_path / "workdir")
    path = workdir / "sft/stage.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"frozen": {}}))
    wave = tmp_path / "a.wav"
    files.write(wave, tones.wave("low mid", 7), files.RATE)
    c, out = f"--checkpoint={workdir}", f"--out={tmp_path}/out"
    for command in (
        ["transcribe", c, str(wave)],
        ["eval", c, f"--tasks=manifest:{trained.test}", out],
        ["export", c, out],
    ):
        assert cli.main(command) == 1
        text = capsys.readouterr().err.splitlines()[-1]
        assert "the location of decoder, which a stage of kind 'sft' has, found nothing" in text


def test_on_eight_devices_the_transcripts_are_the_same(trained):
    wave = tones.wave("low mid", 7)
    one = seedasr_jax.load(trained.workdir / "ctc").transcribe(wave, files.RATE)
    eight = seedasr_jax.load(trained.workdir / "ctc", mesh=dict(data=2, fsdp=4))
    assert eight.recogniser.mesh.size == 8
    found = eight.transcribe(wave, files.RATE)
    assert found.tokens == one.tokens and found.text == "low mid"
    np.testing.assert_allclose(found.logprobs, one.logprobs, rtol=0, atol=1e-5)


def test_another_tokenizer_than_that_of_its_training_is_refused(tmp_path):
    workdirs.finish(tmp_path, "ctc", workdirs.params(), vocabulary="0123456789abcdef")
    with pytest.raises(UserError, match="expected the vocabulary 0123456789abcdef, found"):
        opening.open_recogniser(checkpoint.open_checkpoint(tmp_path / "ctc"))
    shutil.rmtree(tmp_path / "vocab")
    with pytest.raises(UserError, match=r"no vocabulary at .*tokenizer that it was trained with"):
        opening.open_recogniser(checkpoint.open_checkpoint(tmp_path / "ctc"))


def test_the_mesh_is_chosen_by_flags_or_by_python(trained, capsys):
    assert commands.MESH == meshes.AXES
    opened = checkpoint.open_checkpoint(trained.workdir / "ctc")
    given = meshes.make(config.Mesh(1, 2, 1, 1), jax.devices()[:2])
    for mesh, sizes in (
        (None, (1, 1, 1, 1)),  # of a CPU one
        (given, (1, 2, 1, 1)),
        (dict(fsdp=2, data=2), (2, 2, 1, 1)),
        (dict(fsdp=4, data=-1), (2, 4, 1, 1)),
    ):
        assert tuple(opening.open_recogniser(opened, mesh).mesh.shape.values()) == sizes
    command = ["transcribe", f"--checkpoint={trained.workdir}/ctc", "none.wav"]
    for flags, words in (
        (["--mesh.tensor=16"], "takes 16 devices, found 8 of kind cpu"),
        (["--mesh.fsdp=3"], "is not divisible by"),
        (["--mesh.tensor=8"], "is not divisible by mesh.tensor=8; the nearest: 8\n"),
        (["--mesh.fsdp=0"], "mesh.fsdp: expected a size above 0"),
    ):
        assert cli.main([*command, *flags]) == 2
        assert words in (said := capsys.readouterr().err) and said.count("\n") == 1
    with pytest.raises(ConfigError, match=r"mesh\.tensr: the axes are data.*Did you mean tensor"):
        opening.open_recogniser(opened, dict(tensr=2))
    other = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("x",))
    for mesh, words in (
        (5, r"expected sizes by axis, dict\(tensor=4\).*found 5"),
        (dict(tensor="2"), r"mesh\.tensor: expected int, found '2'"),
        (other, "expected axes data, fsdp, tensor, expert, found x"),
    ):
        with pytest.raises(ConfigError, match=words):
            opening.open_recogniser(opened, mesh)


def test_the_largest_model_is_shared_by_eight_devices():
    stage = recipes.expand("seed_asr_ml:30b_a3b", []).stages["sft"]
    parts, tokens = ("encoder", "converter", "decoder"), Tokens(0, 1, 2)

    def make():
        size = stage.vocab.size
        return acllm.make(stage.model, tokens, size, parts, remat="none", rngs=nnx.Rngs(0))

    params = nnx.split(nnx.eval_shape(make))[1]
    shapes, places = opening.as_used(params, "bfloat16", opening._fitting(params, jax.devices()))
    pairs = list(zip(jax.tree.leaves(shapes), jax.tree.leaves(places)))
    whole = sum(x.size * 4 for x, _ in pairs)
    share = sum(math.prod(p.shard_shape(x.shape)) * x.dtype.itemsize for x, p in pairs)
    assert whole > 129e9 and share < 8.2e9  # in float32; of a device


def test_accelerators_share_what_divides():
    params = workdirs.params()  # tensor divides 8 and 128, fsdp 16
    for count, sizes in ((8, (1, 1, 8, 1)), (6, (3, 1, 2, 1)), (1, (1, 1, 1, 1))):
        assert tuple(opening._fitting(params, jax.devices()[:count]).shape.values()) == sizes
