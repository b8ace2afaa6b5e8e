"""Training of vocabularies: what each kind learns, what is always known, what bad arguments get."""

import pytest
import recordings
import sentencepiece
import tiny

from seedasr_jax import errors
from seedasr_jax.text import vocab_training

INSTRUCTIONS = tiny.PROMPT.literals
INSTRUCTION_WORDS = {word for text in INSTRUCTIONS for word in text.split()}


@pytest.mark.parametrize("kind", vocab_training.KINDS)
def test_training_is_deterministic_and_hash_follows_content(kind, tmp_path):
    def train(name, texts):
        return tiny.vocabulary(texts, tmp_path / name, size=70, kind=kind)

    made = train("first", recordings.texts())
    ids = made.pad_id, made.unk_id, made.start_id, made.eos_id
    assert ids == (0, 1, 2, 3) and 4 < made.size <= 70
    assert train("again", iter(recordings.texts())).hash == made.hash
    other = [text.replace("ban", "zzan") for text in recordings.texts()]
    assert train("other", other).hash != made.hash


def test_training_is_silent(tmp_path, capfd):
    for kind in vocab_training.KINDS:
        tiny.vocabulary(recordings.texts(20), tmp_path / kind, size=70, kind=kind)
    assert capfd.readouterr() == ("", "")


def test_word_vocabulary_has_instructions_then_the_most_frequent(tmp_path):
    texts = ["common often"] * 50 + ["often"] * 10 + ["seldom"]
    size = 4 + len(INSTRUCTION_WORDS) + 2
    vocabulary = tiny.vocabulary(texts, tmp_path, size=size, kind="word")
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "spm.model"))
    pieces = {model.id_to_piece(i) for i in range(4, model.get_piece_size())}
    assert pieces == {f"\u2581{word}" for word in INSTRUCTION_WORDS | {"common", "often"}}
    assert vocabulary.size == size
    assert vocabulary.encode("often seldom")[1:] == [vocabulary.unk_id]
    assert vocabulary.decode(vocabulary.encode("often common often")) == "often common often"


def test_char_vocabulary_is_one_token_per_character(tmp_path):
    vocabulary = tiny.vocabulary(["你好 世界"], tmp_path, size=500, kind="char")
    assert len(vocabulary.encode("你好世界")) == 4
    assert len(vocabulary.encode("你 好")) == 3
    assert vocabulary.decode(vocabulary.encode("世界 你好")) == "世界 你好"


@pytest.mark.parametrize("kind", vocab_training.KINDS)
def test_few_texts_give_a_smaller_vocabulary(kind, tmp_path):
    vocabulary = tiny.vocabulary(["", "a", "  "], tmp_path, size=1000, kind=kind)
    assert vocabulary.size < 1000
    for text in ("a", *INSTRUCTIONS):
        assert vocabulary.decode(vocabulary.encode(text)) == text


@pytest.mark.parametrize("kind", vocab_training.KINDS)
def test_size_too_small_says_which_is_enough(kind, tmp_path):
    with pytest.raises(errors.ConfigError, match="at least") as caught:
        tiny.vocabulary(recordings.texts(), tmp_path, size=9, kind=kind)
    enough = int(str(caught.value).split("at least ")[1].split()[0])
    vocabulary = tiny.vocabulary(recordings.texts(), tmp_path / "a", size=enough, kind=kind)
    assert all(vocabulary.unk_id not in vocabulary.encode(text) for text in INSTRUCTIONS)
    with pytest.raises(errors.ConfigError, match="at least"):
        tiny.vocabulary(recordings.texts(), tmp_path / "b", size=enough - 1, kind=kind)


def test_a_long_text_is_not_left_out(tmp_path):
    long = "ban " * 300_000 + "lastword"
    vocabulary = tiny.vocabulary([long], tmp_path, size=100, kind="word")
    assert vocabulary.decode(vocabulary.encode("lastword")) == "lastword"


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_pieces_of_many_texts_are_learned_from_some_of_them(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(vocab_training, "MOST_TEXTS", 300)
    texts = [f"{'abcdefgh'[n % 8]}ey ho" for n in range(3_000)]
    drawn = {int(number) for number in vocab_training._sample(map(str, range(3_000)))[0]}
    texts[min({*range(3_000)} - drawn)] += " ω"  # in one alone, which is not drawn
    found, seen = vocab_training._sample(iter(texts))
    assert len(found) == 300 and "ω" not in "".join(found) and seen["ω"] == 1
    shares = [sum(text[0] == first for text in found) for first in "abcdefgh"]
    assert min(shares) > 15 and max(shares) < 65  # 37.5 expected
    made = tiny.vocabulary(iter(texts), tmp_path / "a", size=60, kind=kind)
    assert made.unk_id not in made.encode("aey ω ho")
    again = tiny.vocabulary(iter(texts), tmp_path / "b", size=60, kind=kind)
    assert again.hash == made.hash


def test_bad_training_arguments(tmp_path):
    with pytest.raises(errors.ConfigError, match="Did you mean unigram"):
        tiny.vocabulary(["a"], tmp_path, size=50, kind="unigrams")
    with pytest.raises(errors.DataError, match="no text"):
        tiny.vocabulary(["", " "], tmp_path, size=50, kind="char")
    assert not list(tmp_path.iterdir())


def test_chinese_characters_stay_alone_and_words_do_not(tmp_path):
    spoken = ["今天上海 turn on the light", "今天北京 turn off the light", "我今天去上海 the light"]
    texts = spoken * 40
    made = tiny.vocabulary(texts, tmp_path, size=90, kind="bpe")
    pieces = [made.decode([piece]) for piece in range(made.size)]
    assert {"今", "天", "上", "海", "light"} <= {*pieces}
    assert all(len(piece) == 1 for piece in pieces if vocab_training._HAN.search(piece))
    assert made.decode(made.encode(texts[0])) == texts[0]
