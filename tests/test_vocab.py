"""Vocabularies: training, both tokenizers behind the protocol, what bad files get."""

import json
import pickle
import random

import numpy as np
import pytest
import sentencepiece
import tokenizers

from seedasr_jax import errors
from seedasr_jax.text import prompts, vocab

INSTRUCTIONS = (prompts.INSTRUCTION, prompts.INSTRUCTION_WITH_CONTEXT)
INSTRUCTION_WORDS = {word for text in INSTRUCTIONS for word in text.split()}


def _texts(count=300, seed=0):
    """Many common words and some rare ones, so that a small vocabulary must leave words out."""
    rng = random.Random(seed)
    words = [f"{a}{b}" for a in "bdfgk" for b in ("an", "en", "ino", "u", "alo")]
    rare = [f"rare{chr(97 + i)}" for i in range(20)]
    return [" ".join(rng.choices(words, k=6) + rng.choices(rare, k=1)) for _ in range(count)]


@pytest.fixture(scope="module", params=vocab.KINDS)
def trained(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param) / "vocabulary"
    return vocab.train_sentencepiece(_texts(), folder, size=70, kind=request.param), folder


def test_special_ids_and_size(trained):
    vocabulary, _ = trained
    ids = vocabulary.pad_id, vocabulary.unk_id, vocabulary.start_id, vocabulary.eos_id
    assert ids == (0, 1, 2, 3)
    assert 4 < vocabulary.size <= 70
    assert vocabulary.name == "sentencepiece"


def test_round_trip(trained):
    vocabulary, _ = trained
    for text in (*_texts(50), *INSTRUCTIONS):
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


def test_training_is_deterministic_and_hash_follows_content(trained, tmp_path):
    vocabulary, folder = trained
    kind = folder.parent.name.removesuffix("0")
    again = vocab.train_sentencepiece(iter(_texts()), tmp_path / "elsewhere", size=70, kind=kind)
    assert again.hash == vocabulary.hash
    other = [text.replace("ban", "zzan") for text in _texts()]
    changed = vocab.train_sentencepiece(other, tmp_path / "other", size=70, kind=kind)
    assert changed.hash != vocabulary.hash


def test_training_is_silent(tmp_path, capfd):
    for kind in vocab.KINDS:
        vocab.train_sentencepiece(_texts(20), tmp_path / kind, size=70, kind=kind)
    assert capfd.readouterr() == ("", "")


def test_word_vocabulary_has_instructions_then_the_most_frequent(tmp_path):
    texts = ["common often"] * 50 + ["often"] * 10 + ["seldom"]
    size = 4 + len(INSTRUCTION_WORDS) + 2
    vocabulary = vocab.train_sentencepiece(texts, tmp_path, size=size, kind="word")
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "spm.model"))
    pieces = {model.id_to_piece(i) for i in range(4, model.get_piece_size())}
    assert pieces == {f"\u2581{word}" for word in INSTRUCTION_WORDS | {"common", "often"}}
    assert vocabulary.size == size
    assert vocabulary.encode("often seldom")[1:] == [vocabulary.unk_id]
    assert vocabulary.decode(vocabulary.encode("often common often")) == "often common often"


def test_char_vocabulary_is_one_token_per_character(tmp_path):
    vocabulary = vocab.train_sentencepiece(["你好 世界"], tmp_path, size=500, kind="char")
    assert len(vocabulary.encode("你好世界")) == 4
    assert len(vocabulary.encode("你 好")) == 3
    assert vocabulary.decode(vocabulary.encode("世界 你好")) == "世界 你好"


@pytest.mark.parametrize("kind", vocab.KINDS)
def test_few_texts_give_a_smaller_vocabulary(kind, tmp_path):
    vocabulary = vocab.train_sentencepiece(["", "a", "  "], tmp_path, size=1000, kind=kind)
    assert vocabulary.size < 1000
    for text in ("a", *INSTRUCTIONS):
        assert vocabulary.decode(vocabulary.encode(text)) == text


@pytest.mark.parametrize("kind", vocab.KINDS)
def test_size_too_small_says_which_is_enough(kind, tmp_path):
    with pytest.raises(errors.ConfigError, match="at least") as caught:
        vocab.train_sentencepiece(_texts(), tmp_path, size=9, kind=kind)
    enough = int(str(caught.value).split("at least ")[1].split()[0])
    vocabulary = vocab.train_sentencepiece(_texts(), tmp_path / "a", size=enough, kind=kind)
    assert all(vocabulary.unk_id not in vocabulary.encode(text) for text in INSTRUCTIONS)
    with pytest.raises(errors.ConfigError, match="at least"):
        vocab.train_sentencepiece(_texts(), tmp_path / "b", size=enough - 1, kind=kind)


def test_a_long_text_is_not_left_out(tmp_path):
    long = "ban " * 300_000 + "lastword"
    vocabulary = vocab.train_sentencepiece([long], tmp_path, size=100, kind="word")
    assert vocabulary.decode(vocabulary.encode("lastword")) == "lastword"


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_pieces_of_many_texts_are_learned_from_some_of_them(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(vocab, "TRAINED", 300)
    texts = [f"{'abcdefgh'[n % 8]}ey ho" for n in range(3_000)]
    drawn = {int(number) for number in vocab._drawn(map(str, range(3_000)))[0]}
    texts[min({*range(3_000)} - drawn)] += " ω"  # in one alone, which is not drawn
    found, seen = vocab._drawn(iter(texts))
    assert len(found) == 300 and "ω" not in "".join(found) and seen["ω"] == 1
    shares = [sum(text[0] == first for text in found) for first in "abcdefgh"]
    assert min(shares) > 15 and max(shares) < 65  # 37.5 expected
    made = vocab.train_sentencepiece(iter(texts), tmp_path / "a", size=60, kind=kind)
    assert made.unk_id not in made.encode("aey ω ho")
    again = vocab.train_sentencepiece(iter(texts), tmp_path / "b", size=60, kind=kind)
    assert again.hash == made.hash


def test_bad_training_arguments(tmp_path):
    with pytest.raises(errors.ConfigError, match="Did you mean unigram"):
        vocab.train_sentencepiece(["a"], tmp_path, size=50, kind="unigrams")
    with pytest.raises(errors.DataError, match="no text"):
        vocab.train_sentencepiece(["", " "], tmp_path, size=50, kind="char")
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path):
    first = vocab.train_sentencepiece(["one"], tmp_path, size=100, kind="word")
    with pytest.raises(errors.ConfigError, match="holds another vocabulary"):
        vocab.train_sentencepiece(["two"], tmp_path, size=100, kind="word")
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
    vocab.train_sentencepiece(["a"], tmp_path, size=100, kind="word")
    with pytest.raises(errors.ConfigError, match="name the file"):
        vocab.open_vocabulary(tmp_path)
    assert vocab.open_vocabulary(tmp_path / "tokenizer.json").name == "huggingface"


def test_chinese_characters_stay_alone_and_words_do_not(tmp_path):
    spoken = ["今天上海 turn on the light", "今天北京 turn off the light", "我今天去上海 the light"]
    texts = spoken * 40
    made = vocab.train_sentencepiece(texts, tmp_path, size=90, kind="bpe")
    pieces = [made.decode([piece]) for piece in range(made.size)]
    assert {"今", "天", "上", "海", "light"} <= {*pieces}
    assert all(len(piece) == 1 for piece in pieces if vocab._CHINESE.search(piece))
    assert made.decode(made.encode(texts[0])) == texts[0]
