"""Training of SentencePiece vocabularies: word, bpe, unigram, char."""

import collections
from collections.abc import Iterable, Sequence
import concurrent.futures
import functools
import io
import random
import re
import threading

import sentencepiece

from seedasr_jax import errors
from seedasr_jax.text import prompts, vocab

KINDS = ("word", "bpe", "unigram", "char")
MOST_PIECES = 2**24  # SentencePiece computes with `size` in int32
MOST_TEXTS = 2_000_000  # SentencePiece keeps in memory all texts that it learns pieces from
_HAN = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")  # Unicode's script Han
_SPECIALS = {"pad_id": 0, "unk_id": 1, "bos_id": 2, "eos_id": 3}


def train(
    texts: Iterable[str], folder, *, size: int, kind: str, instructions: Sequence[str]
) -> vocab.SentencePieceVocabulary:
    """Trains a vocabulary of one of KINDS and writes it to `folder`; equal texts, equal bytes.

    Instructions never contain unknown tokens. With bpe and unigram each is a single piece, because
    prefix tokens are costly in small models, and so is each Chinese character: merged pairs are not
    recognised better, and pairs that training lacks much worse. Only white space is normalised.

    Args:
        texts: transcripts, iterated once. bpe and unigram learn pieces from a uniform sample of at
            most MOST_TEXTS; every character of all texts is known.
        size: maximum number of ids with the four special ones; fewer if the texts yield fewer.
        instructions: texts of the prompt (`config.Prompt.literals`).

    Raises:
        errors.ConfigError: `size` is below the number of required pieces. DataError: no text.
    """
    if kind not in KINDS:
        raise errors.unknown("vocabulary kind", kind, KINDS)
    if not 0 < size <= MOST_PIECES:
        raise errors.ConfigError(f"size: expected 1 to {MOST_PIECES} pieces, found {size}")
    texts = filter(None, (vocab.one_line(text) for text in texts))
    instructions = list(map(vocab.one_line, instructions))
    symbols = []
    if kind in ("word", "char"):
        split = str.split if kind == "word" else list
        counts = collections.Counter(piece for text in texts for piece in split(text))
        known = {piece for text in instructions for piece in split(text)}
    else:
        texts, counts = _sample(texts)
        symbols = [vocab.SPACE + text.replace(" ", vocab.SPACE) for text in instructions]
        symbols += sorted(char for char in counts if _HAN.match(char))
        known = {*counts, prompts.SEPARATOR.strip(), *symbols}  # these kinds keep every character
    if not counts:
        raise errors.DataError("no text to train a vocabulary on: expected transcripts, found none")
    room = size - len(_SPECIALS) - len(known)
    if room < 0:
        raise errors.ConfigError(
            f"size {size} is too small for a {kind} vocabulary of these texts: set it to at least "
            f"{size - room} ({len(known)} pieces are required, {len(_SPECIALS)} are special)"
        )
    required = ""
    if symbols:  # the separator, and characters that occur only outside the sample
        lacking = counts.keys() - set(" ").union(*texts)
        required = prompts.SEPARATOR.strip() + "".join(sorted(lacking))
    corpus = texts
    if kind in ("word", "char"):  # selected here: SentencePiece would drop rare instruction words
        others = sorted(counts.keys() - known, key=lambda piece: (-counts[piece], piece))
        corpus, size = [" ".join(sorted(known) + others[:room])], size - max(0, room - len(others))
    model = io.BytesIO()
    work = functools.partial(
        sentencepiece.SentencePieceTrainer.train,
        sentence_iterator=iter(corpus),
        model_writer=model,  # with a file name, the model would contain that name
        model_type=kind,
        vocab_size=size,
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        add_dummy_prefix=kind != "char",  # with char it would add a token to each utterance
        max_sentence_length=1 << 30,  # bytes; longer texts would be skipped silently
        user_defined_symbols=symbols,
        required_chars=required,
        num_threads=4,  # affects the result: sums are split by thread
        minloglevel=2,
        **_SPECIALS,
    )
    _in_thread(work)
    vocabulary = vocab.SentencePieceVocabulary(model.getvalue())
    vocabulary.save(folder)
    return vocabulary


def _in_thread(work):
    """Runs a long call into C++ in a daemon thread, so that signals can be handled meanwhile."""
    done = concurrent.futures.Future()

    def run():
        try:
            done.set_result(work())
        except BaseException as error:  # raised by result() below
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done.result()


def _sample(texts: Iterable[str]) -> tuple[list[str], collections.Counter]:
    """Samples at most MOST_TEXTS texts (Vitter's algorithm R); counts characters of all texts."""
    sample, counts, rng = [], collections.Counter(), random.Random(0)
    for number, text in enumerate(texts):
        counts.update(text)
        if number < MOST_TEXTS:
            sample.append(text)
        elif (place := int(rng.random() * (number + 1))) < MOST_TEXTS:
            sample[place] = text
    return sample, counts
