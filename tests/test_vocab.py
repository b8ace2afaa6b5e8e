"""Vocabularies: both tokenizers behind the protocol, what bad files get."""

import json
import pickle

import numpy as np
import pytest
import recordings
import tiny
import tokenizers

from seedasr_jax import errors
from seedasr_jax.text import vocab, vocab_training

INSTRUCTIONS = tiny.PROMPT.literals


@pytest.fixture(scope="module", params=vocab_training.KINDS)
def trained(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param) / "vocabulary"
    return tiny.vocabulary(recordings.texts(), folder, size=70, kind=request.param), folder


def test_round_trip(trained):
    vocabulary, _ = trained
    for text in (*recordings.texts(50), *INSTRUCTIONS):
        ids = vocabulary.encode(text)
        assert all(type(i) is int and 4 <= i < vocabulary.size for i in ids)
        assert vocabulary.decode(ids) == text
    assert vocabulary.encode("") == []
    assert vocabulary.decode([]) == ""


def test_white_space_is_one_space(trained):
    vocabulary, _ = trained
    for odd in ("  ban\tden ", "ban\u00a0den", "ban\u3000\nden", "ban\u2581den"):
        assert vocabulary.encode(odd) == vocabulary.encode("ban den")


def test_decode_drops_what_is_not_text(trained):
    vocabulary, _ = trained
    ids = vocabulary.encode("ban den")
    noisy = [2, 0, *ids[:1], -1, 0, *ids[1:], vocabulary.size, 10**6, 3, 0]
    assert vocabulary.decode(noisy) == "ban den"
    assert vocabulary.decode(np.array(noisy, np.int32)) == "ban den"


def test_unknown_is_unknown_and_shows(trained):
    vocabulary, _ = trained
    assert vocabulary.unk_id in vocabulary.encode("ban 中 den")
    assert "\u2047" in vocabulary.decode(vocabulary.encode("ban 中 den"))


def test_special_tokens_cannot_be_written(trained):
    vocabulary, _ = trained
    ids = vocabulary.encode("<s> ban </s> <pad>")
    assert not {vocabulary.pad_id, vocabulary.start_id, vocabulary.eos_id} & set(ids)


def test_saved_is_the_same(trained, tmp_path):
    vocabulary, folder = trained
    again = vocab.open_vocabulary(folder)
    by_file = vocab.open_vocabulary(str(folder / "spm.model"))
    assert vocabulary.hash == again.hash == by_file.hash
    assert len(vocabulary.hash) == 16
    int(vocabulary.hash, 16)
    again.save(tmp_path / "deeper" / "copy")
    copied = tmp_path / "deeper" / "copy" / "spm.model"
    assert copied.read_bytes() == (folder / "spm.model").read_bytes()
    assert [p.name for p in copied.parent.iterdir()] == ["spm.model"]


def test_nothing_is_overwritten(tmp_path):
    first = tiny.vocabulary(["one"], tmp_path, size=100, kind="word")
    with pytest.raises(errors.ConfigError, match="contains another vocabulary"):
        tiny.vocabulary(["two"], tmp_path, size=100, kind="word")
    assert vocab.open_vocabulary(tmp_path).hash == first.hash
    first.save(tmp_path)  # the same content is no conflict


def _save_hugging_face(folder, settings):
    """A byte-level tokenizer without merges: token ids follow from the byte alphabet alone."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    model = tokenizers.models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[])
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|end|>", "<|pad|>", "<|begin|>"])
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=8)
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(tokenizer.to_str())
    if settings is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return alphabet


def test_hugging_face(tmp_path):
    settings = {"eos_token": "<|end|>", "pad_token": {"content": "<|pad|>"}, "bos_token": None}
    alphabet = _save_hugging_face(tmp_path / "hf", settings)
    vocabulary = vocab.open_vocabulary(tmp_path / "hf")
    assert (vocabulary.name, vocabulary.size) == ("huggingface", 259)
    assert (vocabulary.eos_id, vocabulary.pad_id) == (256, 257)
    assert vocabulary.start_id == vocabulary.eos_id  # there is no start token
    assert vocabulary.unk_id == vocabulary.pad_id  # nor an unknown one
    text = "hello wide world"  # longer than the truncation in the file, and not padded
    assert vocabulary.encode(text) == [alphabet.index(c) for c in text.replace(" ", "Ġ")]
    for text in ("hello", " ¿qué? 你好", *INSTRUCTIONS):
        ids = vocabulary.encode(text)
        assert vocabulary.decode([256, 257, *ids, -1, 259, 256]) == text
    assert max(vocabulary.encode("a<|end|><|pad|>")) < 256  # a transcript writes no control tokens
    assert vocabulary.decode(vocabulary.encode("a<|end|>")) == "a<|end|>"
    vocabulary.save(tmp_path / "copy")
    assert vocab.open_vocabulary(tmp_path / "copy").hash == vocabulary.hash
    elsewhere = pickle.loads(pickle.dumps(vocabulary))  # as another process gets it
    assert elsewhere.hash == vocabulary.hash
    assert elsewhere.encode("a<|end|>" * 9) == vocabulary.encode("a<|end|>" * 9)


def test_hugging_face_special_tokens_enter_the_hash(tmp_path):
    hashes = set()
    for i, settings in enumerate(
        ({"eos_token": "<|end|>"}, {"eos_token": "<|end|>", "bos_token": "<|begin|>"})
    ):
        _save_hugging_face(tmp_path / str(i), settings)
        vocabulary = vocab.open_vocabulary(tmp_path / str(i) / "tokenizer.json")
        assert vocabulary.start_id == (256, 258)[i]
        assert vocabulary.pad_id == vocabulary.eos_id
        hashes.add(vocabulary.hash)
    assert len(hashes) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (None, "set eos_token"),
        ({"eos_token": "<|endd|>"}, r"Did you mean <\|end\|>"),
        ([], "JSON object"),
    ],
)
def test_hugging_face_bad_settings(tmp_path, settings, message):
    _save_hugging_face(tmp_path, settings)
    with pytest.raises(errors.ConfigError, match=message):
        vocab.open_vocabulary(tmp_path)


def test_open_names_the_cure(tmp_path):
    (tmp_path / "vocabulary").mkdir()
    with pytest.raises(errors.ConfigError, match=r"data vocab.*Did you mean vocabulary"):
        vocab.open_vocabulary(tmp_path / "vocabulry")
    with pytest.raises(errors.ConfigError, match=r"neither.*data vocab"):
        vocab.open_vocabulary(tmp_path / "vocabulary")
    with pytest.raises(errors.ConfigError, match="no vocabulary"):
        vocab.open_vocabulary(tmp_path / "no" / "such" / "folder")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("spm.model", b"garbage"),
        ("spm.model", b""),
        ("tokenizer.json", b"\xff"),
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", b"[1]"),
        ("words.txt", b"a"),
    ],
)
def test_broken_files(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(errors.ConfigError, match="expected"):
        vocab.open_vocabulary(tmp_path / name)


def test_both_tokenizers_in_one_folder_is_ambiguous(tmp_path):
    _save_hugging_face(tmp_path, {"eos_token": "<|end|>"})
    tiny.vocabulary(["a"], tmp_path, size=100, kind="word")
    with pytest.raises(errors.ConfigError, match="name the file"):
        vocab.open_vocabulary(tmp_path)
    assert vocab.open_vocabulary(tmp_path / "tokenizer.json").name == "huggingface"
