"""`seedasr import`: frozen outputs of transformers, both layouts, types.

tests/golden/foreign has config.json and the names of tensors as transformers 5.24 saves them, and
what it computes from the weights of tests/foreign.py; test_import_parity.py makes them again.

Dims: B batch, N positions, V vocabulary.
"""

import dataclasses
import json

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
from seedasr_jax.errors import ConfigError, UserError
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
