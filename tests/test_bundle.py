"""Bundles: complete or absent, bit for bit, readable by others; shards; bad files."""

import json
import struct

from etils import epath
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
import safetensors.numpy
import tiny
import workdirs

from seedasr_jax import checkpoint, config
from seedasr_jax import workdir as disk
from seedasr_jax.checkpoint import tensors
from seedasr_jax.convert import bundle
from seedasr_jax.convert import safetensors as shards
from seedasr_jax.errors import UserError
from seedasr_jax.parallel import mesh as meshes
from seedasr_jax.parallel import sharding
from seedasr_jax.text import vocab


@pytest.fixture
def source(tmp_path):
    """The opened checkpoint of a finished stage whose frozen decoder is in another stage."""
    workdir = tmp_path / "workdir"
    whole = workdirs.params(seed=1)
    workdirs.finish(workdir, "lm", nnx.State({"decoder": whole["decoder"]}), step=40)
    decoder = checkpoint.open_checkpoint(workdir / "lm").reference("decoder", workdir)
    encoder = nnx.State({"encoder": workdirs.params(seed=2)["encoder"]})
    workdirs.finish(
        workdir, "sft", encoder, parents={"decoder": decoder}, frozen={"decoder": decoder}
    )
    return checkpoint.open_checkpoint(workdir / "sft")


def passes(folder):
    return {"equal": True, "read": sorted(p.name for p in folder.iterdir())}


def whole(opened):
    """All parameters of a checkpoint, by name."""
    return workdirs.bits({n: x for p in opened.parts() for n, x in _leaves(opened, p).items()})


def _leaves(opened, part):
    return checkpoint.flat(opened.load(part))


def test_bundle_is_the_checkpoint(source, tmp_path):
    out = bundle.export_bundle(source, tmp_path / "out", passes)
    expected = ["CARD.md", "config.json", "inventory.json", "model-00001-of-00002.safetensors"]
    expected += ["model-00002-of-00002.safetensors", "parity.json", "spm.model"]
    assert sorted(p.name for p in out.iterdir()) == expected
    found = checkpoint.open_checkpoint(out)
    assert (found.name, found.step, found.label) == (source.name, source.step, source.label)
    assert found.stage == source.stage
    assert set(found.parts()) == set(source.parts())
    assert whole(found) == whole(source)
    assert vocab.open_vocabulary(found.vocab).hash == source.record.vocabulary
    assert found.lineage() == source.lineage()
    # The check saw the whole artefact.
    assert {"config.json", "spm.model", *expected[3:5]} <= set(
        json.loads((out / "parity.json").read_text())["read"]
    )
    mesh = meshes.make(config.Mesh(1, 4, 2, 1))
    places = sharding.of_params(workdirs.params(), mesh)
    spread = found.load("encoder", places)
    assert workdirs.bits(spread) == workdirs.bits(source.load("encoder"))
    where = checkpoint.flat(places)["encoder.kernel"]
    assert spread["encoder"]["kernel"].sharding == where


def test_a_bundle_is_self_contained_and_may_start_a_stage(source, tmp_path):
    out = bundle.export_bundle(source, tmp_path / "out", passes)
    expected = whole(source)
    (tmp_path / "workdir").rename(tmp_path / "gone")
    found = checkpoint.open_checkpoint(out)
    assert whole(found) == expected
    tree = checkpoint.hand_over(found, "encoder", workdirs.params())
    assert workdirs.bits(tree) == workdirs.bits(found.load("encoder"))
    reference = found.reference("encoder", tmp_path)
    content = {"hash": checkpoint.parameters_hash(tree), "recipe": source.recipe}
    assert reference == {"checkpoint": "out"} | content
    again = bundle.export_bundle(found, tmp_path / "again", passes)
    assert whole(checkpoint.open_checkpoint(again)) == expected


def test_shards_are_plain_safetensors(source, tmp_path):
    hashes = shards.write_shards(tmp_path, source, shard_bytes=2048)
    assert hashes == {part: source.part_hash(part) for part in source.parts()}
    paths = sorted(tmp_path.glob("*.safetensors"))
    count = len(paths)
    names = [f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]
    assert [p.name for p in paths] == names
    found = {}
    for path in paths:
        tensors_of_file = safetensors.numpy.load_file(path)  # the format's own reader
        size = sum(x.nbytes for x in tensors_of_file.values())
        assert size <= 2048 or len(tensors_of_file) == 1
        assert not found.keys() & tensors_of_file.keys()
        found |= tensors_of_file
    assert count > 2
    assert workdirs.bits(dict(sorted(found.items()))) == dict(sorted(whole(source).items()))


def test_types_as_the_format_reads_them(tmp_path):
    arrays = {
        "b": np.asarray(jnp.linspace(-3, 3, 7, dtype=jnp.bfloat16)),
        "h": np.float16([[1.5], [-2]]),
        "i": np.int64([1 << 40]),
        "z": np.asarray(np.float32(2.5)),
        "e": np.zeros((0, 3), np.float32),
        "o": np.array([True, False]),
    }
    shards._write(tmp_path / "model.safetensors", arrays)
    with safetensors.safe_open(tmp_path / "model.safetensors", "flax") as file:
        for name in ("b", "h", "z", "o"):
            theirs = file.get_tensor(name)
            assert theirs.dtype == arrays[name].dtype
            np.testing.assert_array_equal(theirs, arrays[name])
    for name, tensor in tensors.index(tmp_path).items():
        assert tensor.struct == jax.ShapeDtypeStruct(arrays[name].shape, arrays[name].dtype)
        assert tensor.read().tobytes() == arrays[name].tobytes()


def test_reads_files_of_other_writers(tmp_path):
    arrays = {"a": np.float32([[1, 2], [3, 4]]), "b": np.array(7, np.int32)}
    safetensors.numpy.save_file(arrays, tmp_path / "x.safetensors")
    found = tensors.index(tmp_path)
    assert {n: t.read().tolist() for n, t in found.items()} == {"a": [[1, 2], [3, 4]], "b": 7}


def _file(header, content=b""):
    text = json.dumps(header).encode() if isinstance(header, dict) else header
    return struct.pack("<Q", len(text)) + text + content


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", r"a header within 0 bytes"),
        (struct.pack("<Q", 1 << 60) + b"{}", r"a header within 10 bytes, found a length of 1152"),
        (_file(b"not json"), r"a JSON header, found"),
        (_file(b"[1]"), r"a JSON object, found a list"),
        (_file({"a": {"dtype": "F32", "shape": [1]}}), r"dtype, shape and data_offsets of a"),
        (
            _file({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"1234"),
            r"8 bytes of a within",
        ),
        (
            _file({"a": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}}, b"12345678"),
            r"8 bytes of a within",
        ),
        (
            _file({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 8]}}, b"12345678"),
            r"4 bytes of a within",
        ),
        (
            _file({"a": {"dtype": "F8", "shape": [1], "data_offsets": [0, 1]}}, b"1"),
            r"expected a type of F64, .* found F8",
        ),
    ],
)
def test_damaged_files(tmp_path, content, message):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=rf"model\.safetensors: .*{message}"):
        tensors.index(tmp_path)


def test_a_name_twice_and_no_file(tmp_path):
    with pytest.raises(UserError, match=r"contains no \*\.safetensors"):
        tensors.index(tmp_path)
    for name in ("a", "b"):
        shards._write(tmp_path / f"{name}.safetensors", {"x": np.ones(1, np.float32)})
    with pytest.raises(UserError, match=r"b\.safetensors: x is also in a\.safetensors"):
        tensors.index(tmp_path)


def test_a_flipped_bit_in_a_bundle_is_detected(source, tmp_path):
    out = bundle.export_bundle(source, tmp_path / "out", passes)
    path = out / "model-00001-of-00002.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"out is damaged: its file model-00001-.*another content"):
        bundle.export_bundle(source, out, passes)
    (out / disk.INVENTORY).unlink()  # as older bundles; or samples missed it
    found = checkpoint.open_checkpoint(out)
    with pytest.raises(UserError, match=r"encoder in .* is damaged: expected hash"):
        found.verify("encoder", found.content_hash("encoder"))
    found.verify("decoder", found.content_hash("decoder"))
    path.unlink()
    with pytest.raises(UserError, match=r"-00001-of-00002\.safetensors is missing"):
        found.parts()


def test_existing_output(source, tmp_path):
    out = bundle.export_bundle(source, tmp_path / "out", passes)
    before = {p.name: p.read_bytes() for p in out.iterdir()}

    def never(folder):
        raise AssertionError("exported again")

    assert bundle.export_bundle(source, out, never) == out
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    other = checkpoint.open_checkpoint(tmp_path / "workdir" / "lm")
    with pytest.raises(
        UserError, match=r"out: expected this export, found other content: choose another --out"
    ):
        bundle.export_bundle(other, out, passes)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(UserError, match=r"mine: expected this export, found other content"):
        bundle.export_bundle(source, tmp_path / "mine", passes)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "x"


def test_failed_check_leaves_no_bundle_and_may_be_repeated(source, tmp_path):
    def differs(folder):
        raise UserError("tokens differ")

    with pytest.raises(UserError, match="tokens differ"):
        bundle.export_bundle(source, tmp_path / "out", differs)
    assert not (tmp_path / "out").exists()
    assert bundle.export_bundle(source, tmp_path / "out", passes).exists()
    assert not (tmp_path / "out.partial").exists()


def test_the_rest_of_a_killed_export_is_replaced_and_a_full_disk_reported(source, tmp_path):
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial/.config.partial.json").touch()
    assert bundle.export_bundle(source, tmp_path / "out", passes).exists()
    with pytest.raises(OSError) as full:
        shards._write(epath.Path("/dev/full"), {"x": np.zeros(10, np.float32)})
    assert full.value.filename == "/dev/full"


def test_folder_in_the_way_of_the_partial_one_is_left_alone(source, tmp_path):
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "mine.txt").write_text("x")
    with pytest.raises(
        UserError, match=r"out\.partial: expected this export, found other content: remove it"
    ):
        bundle.export_bundle(source, tmp_path / "out", passes)
    assert (tmp_path / "out.partial" / "mine.txt").exists()


def test_another_tokenizer_is_detected(source, tmp_path):
    folder = source.vocab
    (folder / "spm.model").unlink()
    tiny.vocabulary(["other words"], folder, size=40, kind="word")
    with pytest.raises(UserError, match=r"sft@5#.* the vocabulary \w{16}, found \w{16}"):
        bundle.export_bundle(source, tmp_path / "out", passes)


def test_card(source, tmp_path):
    row = dict(task="dev|other", decode="greedy", utterances=50, ref_len=400)
    row |= dict(error_rate=12.345, ci_low=11.0, ci_high=13.5, checkpoint=source.label)
    few = row | dict(task="few", ci_low=None, ci_high=None)
    task = source.stage.data.mixture[0][0]
    out = bundle.export_bundle(
        source, tmp_path / "out", passes, results=[row, few], licences={task: "CC-BY-4.0"}
    )
    card = (out / "CARD.md").read_text()
    lm = source.lineage()[1]["checkpoint"]
    assert card.startswith(f"# {source.label}\n")
    assert f"| {source.label} | ctc | decoder from {lm} |" in card
    assert f"| {lm} | ctc | nothing |" in card
    assert f"| sft | {task} | 1 | not stated | CC-BY-4.0 |" in card
    assert "| dev\\|other | greedy | 50 | 12.35 | 11.00 to 13.50 |" in card
    assert "| few | greedy | 50 | 12.35 | none |" in card
    assert "| encoder | 680 |" in card  # 2 x 9 x 16 + 3 x 16 x 8 + 8
    none = bundle.export_bundle(source, tmp_path / "none", passes)
    assert "Not measured with this export" in (none / "CARD.md").read_text()


def test_no_pickle_anywhere(source, tmp_path):
    out = bundle.export_bundle(source, tmp_path / "out", passes)
    for path in [*out.iterdir(), *(tmp_path / "workdir").rglob("*")]:
        if path.is_file():
            assert not path.read_bytes().startswith(b"\x80"), path  # pickle's first byte
