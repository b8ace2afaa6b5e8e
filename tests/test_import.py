"""`seedasr import`: frozen outputs of transformers, both layouts, types, and what is refused.

tests/golden/foreign has config.json and the names of tensors as transformers 5.24 saves them, and
what it computes from the weights of tests/foreign.py; test_import_parity.py makes them again.

Dims: B batch, N positions, V vocabulary.
"""

import dataclasses
import json
import struct

from flax import nnx
import foreign
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file
import tiny

import seedasr_jax
from seedasr_jax import checkpoint as checkpoints
from seedasr_jax import config, shapes
from seedasr_jax.audio import files
from seedasr_jax.checkpoint import tensors, trees
from seedasr_jax.configs import common
from seedasr_jax.errors import USAGE, ConfigError, UserError
from seedasr_jax.evaluate import opening
from seedasr_jax.launch import cli, imports
from seedasr_jax.models import acllm, encoders

GOLDEN = tiny.GOLDEN / "foreign"
DECODERS = sorted(name for name in foreign.MODELS if name not in ("qwen3_asr", "whisper"))
CLOSE = 1e-4  # of the largest absolute value


def about(name):
    """config.json and {tensor: shape} of a golden model."""
    found = json.loads((GOLDEN / f"{name}.json").read_text())
    return found["config"], found["tensors"]


def source(folder, name, *, without=(), **changes):
    """A folder of a golden model, with changed keys in its config."""
    settings, named = about(name)
    settings = {k: value for k, value in settings.items() if k not in without} | changes
    return foreign.write(folder / "source", settings, named)


def imported(folder, name, **changes):
    """A golden model as an opened bundle."""
    imports.bundle(str(source(folder, name, **changes)), folder / "bundle")
    return checkpoints.open_checkpoint(folder / "bundle")


def options_of(decoder):
    """A decoder's options, of nested dicts."""
    return config.build(decoder, config.Decoder, "decoder")


def shapes_of(decoder):
    """{path: shape} of the parameters of a decoder of these options."""
    whole = config.build(common.graph("x").model.to_dict(), config.Model)
    model = dataclasses.replace(whole, decoder=decoder)
    made = nnx.eval_shape(
        lambda: acllm.make(model, tiny.TOKENS, 9, ("decoder",), remat="none", rngs=nnx.Rngs(0))
    )
    return {name: leaf.shape for name, leaf in trees.flat(nnx.state(made)).items()}


def logits(bundle, ids):
    """[B N V] of a bundle's decoder."""
    graphdef, state, *_ = opening.open_model(bundle, None, ("decoder",))
    decoder = nnx.merge(graphdef, state).decoder
    positions = jnp.broadcast_to(jnp.arange(ids.shape[1])[None], ids.shape)

    @jax.jit
    def run(ids):
        x = decoder.embed_tokens(ids)
        return decoder.logits(decoder(x, positions, jnp.ones(ids.shape, bool))[0])

    return np.asarray(run(jnp.asarray(ids)))


@pytest.mark.parametrize("name", DECODERS)
def test_logits_are_those_of_transformers(tmp_path, name):
    bundle, frozen = imported(tmp_path, name), np.load(GOLDEN / f"{name}.npz")
    found = logits(bundle, frozen["ids"])[:, -6:]
    pieces = seedasr_jax.text.vocab.open_vocabulary(tmp_path / "bundle").size
    assert pieces < foreign.VOCABULARY == bundle.stage.model.decoder.vocabulary
    largest = np.abs(frozen["logits"]).max()
    np.testing.assert_allclose(
        found[..., :pieces], frozen["logits"][..., :pieces], atol=CLOSE * largest
    )
    assert (found[..., pieces:] == shapes.NEVER).all()  # rows of the embedding without a piece


def test_keys_of_the_older_generation_are_read(tmp_path):
    """rope_theta, rope_scaling, num_experts and torch_dtype, as in folders on the hub."""
    scaled, _ = about("llama")
    rope = scaled["rope_parameters"]
    older = dict(rope_theta=rope["rope_theta"], torch_dtype="bfloat16")
    older["rope_scaling"] = {"type" if k == "rope_type" else k: v for k, v in rope.items()}
    del older["rope_scaling"]["rope_theta"]
    for name, without, keys in (
        ("llama", ("rope_parameters", "dtype"), older),
        ("qwen3_moe", ("num_local_experts",), {"num_experts": 4}),
    ):
        folders = [tmp_path / f"{name}{number}" for number in range(2)]
        for folder in folders:
            folder.mkdir()
        new, old = imported(folders[0], name), imported(folders[1], name, without=without, **keys)
        assert new.stage.model == old.stage.model


def test_encoder_frames_are_those_of_transformers(tmp_path):
    """Padded to the length of the table of positions; in a longer batch, and each alone."""
    bundle, frozen = imported(tmp_path, "whisper"), np.load(GOLDEN / "whisper.npz")
    assert bundle.record.vocabulary == "" and bundle.parts() == ("encoder",)
    graphdef, state, *_ = opening.open_model(bundle, None, ("encoder",))
    encoder = nnx.merge(graphdef, state).encoder
    sounds = [foreign.wave(0), foreign.wave(2)]
    wave = np.zeros((2, 30_000), np.float32)
    for row, sound in enumerate(sounds):
        wave[row, : len(sound)] = sound
    features, count = encoder.frontend(wave, np.array(list(map(len, sounds)), np.int32))
    assert count.tolist() == [200, 200]  # the padding is real
    given = np.asarray(features).swapaxes(1, 2)[:, ::7]
    np.testing.assert_allclose(given, frozen["features"], atol=CLOSE)
    frames, length = encoder(features, count)
    largest = np.abs(frozen["frames"]).max()
    np.testing.assert_allclose(frames[:, ::9], frozen["frames"], atol=CLOSE * largest)
    assert length.tolist() == [encoders.clock(bundle.stage.model).frames(len(s)) for s in sounds]


def asked(bundle, number):
    sound, context, language = foreign.ASKED[number]
    wave = foreign.wave(sound)
    return bundle.transcribe(wave, files.RATE, context=context, language=language, decode="greedy")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A small Qwen3-ASR: source, and the bundle's Transcriber."""
    folder = tmp_path_factory.mktemp("whole")
    imported(folder, "qwen3_asr")
    return folder, seedasr_jax.load(folder / "bundle")


@pytest.mark.parametrize("number", range(len(foreign.ASKED)))
def test_a_whole_model_answers_as_in_transformers(whole, number):
    """Without a context and with one, and with a forced language: tokens and log-probabilities."""
    _, transcriber = whole
    frozen = np.load(GOLDEN / "qwen3_asr.npz")
    found = asked(transcriber, number)
    wanted, scores = frozen[f"tokens_{number}"], frozen[f"scores_{number}"]
    ends = {transcriber.recogniser.vocab.special[one] for one in ("<|im_end|>", "<|endoftext|>")}
    ended = wanted[-1] in ends
    wanted = wanted[: len(wanted) - ended]
    assert list(found.tokens[: len(wanted)]) == wanted.tolist()
    assert not ended or len(found.tokens) == len(wanted)
    scores = scores[:, : transcriber.recogniser.vocab.size]  # other rows are masked here
    expected = np.asarray(jax.nn.log_softmax(scores))[np.arange(len(wanted)), wanted]
    np.testing.assert_allclose(found.logprobs[: len(wanted)], expected, atol=1e-3)
    language = foreign.ASKED[number][2]
    assert found.language == language


def test_the_prompt_is_that_of_the_chat_template(whole):
    folder, transcriber = whole
    template, frozen = transcriber.recogniser.template, np.load(GOLDEN / "qwen3_asr.npz")
    pad = foreign.ids(folder / "source")[foreign.PAD]
    for number, (_, context, language) in enumerate(foreign.ASKED):
        row = template.row(language, given=True)
        around = (template.with_context if context else template.plain)[row]
        before = (*around.prompt, *template.context(context, row))
        given = frozen[f"input_{number}"].tolist()
        speech = [at for at, one in enumerate(given) if one == pad]
        assert given[: speech[0]] == list(before)
        assert given[speech[-1] + 1 :] == [*around.suffix, around.start]


def test_an_answer_is_parsed(whole):
    """The target of training and the text of decoding are each other's inverse."""
    _, transcriber = whole
    template, special = transcriber.recogniser.template, transcriber.recogniser.vocab.special
    for tag, named in (("en", "English"), ("yue", "Cantonese"), ("zh-x-henan", "Chinese")):
        row = template.row(tag)
        ids = template.answer("the quick <asr_text> fox", row)
        assert ids.count(special["<asr_text>"]) == 1  # spelled in a transcript it is text
        spelled = transcriber.recogniser.vocab.decode(ids)
        assert spelled == f"language {named}<asr_text>the quick <asr_text> fox"
        language = {"zh-x-henan": "zh"}.get(tag, tag)
        assert template.parse(ids) == (language, "the quick <asr_text> fox")
        alone = template.answer("fox", template.row(tag, given=True))
        assert alone == template.answer("fox", row)[-len(alone) :]
    assert template.parse(template.answer("fox")) == ("", "fox")  # language None
    assert template.parse(template.answer("", 0)) == ("", "")
    vocab = transcriber.recogniser.vocab
    assert template.parse(vocab.encode("plain text")) == ("", "plain text")


def test_limits_and_lineage_come_from_the_source(whole):
    folder, _ = whole
    opened = checkpoints.open_checkpoint(folder / "bundle")
    assert opened.limits.seconds == 30 and opened.limits.context_tokens == 1024
    assert {"en", "yue", "zh"} < set(opened.limits.languages)
    (entry,) = opened.lineage()
    assert entry["step"] == 0 and set(entry["parents"].values()) == {*entry["parents"].values()}
    assert all(where.startswith("source#") for where in entry["parents"].values())
    kept = {path.name for path in (folder / "bundle/source").iterdir()}
    assert {"config.json", "chat_template.jinja", "processor_config.json"} < kept


def test_the_first_layout_is_the_same_model(tmp_path, whole):
    """`thinker`: config and names of the first release, written apart from the table."""
    settings, named = about("qwen3_asr")
    inner = {k: v for k, v in settings.items() if k not in ("architectures", "model_type")}
    del inner["tie_word_embeddings"], inner["token_classification_bias"]
    inner |= {"audio_start_token_id": 1, "audio_end_token_id": 2}
    sections = dict(mrope_section=[2, 2, 1], interleaved=True, rope_type="default", type="default")
    text = dict(inner["text_config"], rope_theta=1e4, rope_scaling=sections)
    del text["rope_parameters"]
    inner["text_config"] = text
    outer = dict(architectures=settings["architectures"], model_type="qwen3_asr")
    outer |= dict(thinker_config=inner, support_languages=["Chinese", "English"])
    renamed = {}
    for name in named:
        new = name.replace("model.", "thinker.", 1).replace("language_model", "model", 1)
        new = new.replace("multi_modal_projector.linear_", "audio_tower.proj")
        renamed[new] = foreign.weights(name, named[name])
    folder = foreign.write(tmp_path / "source", outer, {})
    foreign.save(folder, renamed)
    imports.bundle(str(folder), tmp_path / "bundle")
    first = checkpoints.open_checkpoint(tmp_path / "bundle")
    other = checkpoints.open_checkpoint(whole[0] / "bundle")
    for part in other.parts():
        assert first.part_hash(part) == other.part_hash(part)
    assert first.stage.model == other.stage.model
    assert first.limits.languages == ("en", "zh")


def test_types_are_kept_and_shards_are_read(tmp_path):
    settings, named = about("qwen3_moe")
    folder = foreign.write(tmp_path / "source", settings, named, shards=3, dtype=ml_dtypes.bfloat16)
    imports.bundle(str(folder), tmp_path / "bundle")
    found = tensors.index(tmp_path / "bundle")
    assert {str(tensor.dtype) for tensor in found.values()} == {"bfloat16"}
    up = found["decoder.blocks.blocks.feedforward.up.kernels"].load()
    name = "model.layers.1.mlp.experts.gate_up_proj"
    fused = foreign.weights(name, named[name]).astype(ml_dtypes.bfloat16)
    assert (fused[2, 16:] == up[1, 2].T).all()


def test_experts_are_read_one_by_one_too(tmp_path):
    """As in folders on the hub, where each expert's matrix is a tensor."""
    settings, named = about("qwen3_moe")
    folders = [tmp_path / "fused", tmp_path / "single"]
    arrays = {}
    for name in named:
        x = foreign.weights(name, named[name])
        stem = name.removesuffix("gate_up_proj").removesuffix("down_proj")
        if name.endswith("gate_up_proj"):
            for expert, one in enumerate(x):
                arrays[f"{stem}{expert}.gate_proj.weight"] = one[:16]
                arrays[f"{stem}{expert}.up_proj.weight"] = one[16:]
        elif name.endswith("experts.down_proj"):
            arrays |= {f"{stem}{n}.down_proj.weight": one for n, one in enumerate(x)}
        else:
            arrays[name] = x
    foreign.write(folders[0], settings, named)
    foreign.save(foreign.write(folders[1], settings, {}), arrays)
    bundles = [tmp_path / f"{folder.name}.b" for folder in folders]
    for folder, out in zip(folders, bundles):
        imports.bundle(str(folder), out)
    one, two = (checkpoints.open_checkpoint(out).part_hash("decoder") for out in bundles)
    assert one == two


def test_one_part_alone(tmp_path):
    written = imports.bundle(str(source(tmp_path, "qwen3_asr")), tmp_path / "llm", "decoder")
    assert written.endswith(f"decoder of Qwen3ASRForConditionalGeneration from {tmp_path}/source")
    assert checkpoints.open_checkpoint(tmp_path / "llm").parts() == ("decoder",)
    (tmp_path / "other").mkdir()
    other = source(tmp_path / "other", "qwen3")
    with pytest.raises(ConfigError, match="--part=encoder: Qwen3ForCausalLM has decoder"):
        imports.bundle(str(other), tmp_path / "no", "encoder")


def test_the_same_import_again_is_done_already(tmp_path):
    folder = source(tmp_path, "qwen3")
    out = tmp_path / "bundle"
    command = ["import", f"--from={folder}", f"--out={out}"]
    assert cli.main(command) == 0
    before = (out / "inventory.json").stat().st_mtime_ns
    assert cli.main(command) == 0
    assert (out / "inventory.json").stat().st_mtime_ns == before
    arrays = load_file(folder / "model.safetensors")
    arrays["model.norm.weight"][0] += 1
    foreign.save(folder, arrays)
    with pytest.raises(UserError, match="expected this export, found other content"):
        imports.bundle(str(folder), out)


def test_a_head_stored_beside_its_tied_embedding_is_read(tmp_path):
    """As in the folders of small Qwen3 models; one with other content is an error."""
    settings, named = about("qwen3")
    folder = foreign.write(tmp_path / "source", settings, named)
    arrays = load_file(folder / "model.safetensors")
    arrays["lm_head.weight"] = arrays["model.embed_tokens.weight"].copy()
    foreign.save(folder, arrays)
    imports.bundle(str(folder), tmp_path / "bundle")
    arrays["lm_head.weight"][3, 4] += 1
    foreign.save(folder, arrays)
    with pytest.raises(UserError, match=r"lm_head\.weight: expected the values of .*embed_tokens"):
        imports.bundle(str(folder), tmp_path / "other")


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
    folder = source(tmp_path, name, **changes)
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
    folder = source(tmp_path, "qwen3")
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
    folder = source(tmp_path, "qwen3")
    arrays = load_file(folder / "model.safetensors")
    change(arrays)
    foreign.save(folder, arrays)
    with pytest.raises(UserError, match=message):
        imports.bundle(str(folder), tmp_path / "bundle")
    assert not list(tmp_path.glob("bundle*"))


def test_other_folders_are_refused(tmp_path, capsys):
    """Unknown architecture, remote code, a pickle, a missing shard, another tokenizer."""
    settings, named = about("qwen3")
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
