"""Vocabularies: SentencePiece and Hugging Face tokenizers behind one protocol.

A vocabulary is a folder with the tokenizer's own files, so other tools read it too. Ids never carry
a start or end token: whoever builds a sequence adds them. The blank of CTC is `pad_id`.
"""

import collections
from collections.abc import Iterable
import concurrent.futures
import functools
import hashlib
import io
import json
import random
import re
import threading
from typing import Protocol

from etils import epath
import sentencepiece
import tokenizers

from seedasr_jax import errors
from seedasr_jax import workdir as disk
from seedasr_jax.text import prompts

MOST = 2**24  # pieces: SentencePiece counts on from `size` in int32
KINDS = ("word", "bpe", "unigram", "char")
TRAINED = 2_000_000  # texts: SentencePiece holds all that it learns pieces from
_CHINESE = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")  # Unicode's Han
_SPECIALS = {"pad_id": 0, "unk_id": 1, "bos_id": 2, "eos_id": 3}
_SPACE = "\u2581"  # how SentencePiece writes a space
_SPM_FILE = "spm.model"
_HF_FILE, _HF_CONFIG = "tokenizer.json", "tokenizer_config.json"
_HOW_TO_MAKE = "make one with `seedasr data vocab`"


class _Unreadable(errors.ConfigError):
    """No tokenizer is there; `what` says so without the cure."""

    def __init__(self, what: str, near: str = ""):
        super().__init__(f"{what}; {_HOW_TO_MAKE}.{near}")
        self.what = what


class Vocabulary(Protocol):
    """What the project asks of a tokenizer.

    Attributes:
        size: number of ids; embeddings may be padded beyond it, this is not.
        pad_id, start_id, eos_id, unk_id: ids below `size`; some may be equal.
        name: "sentencepiece" or "huggingface".
        hash: 16 hex digits of the content; equal hashes mean equal ids for every text.
    """

    size: int
    pad_id: int
    start_id: int
    eos_id: int
    unk_id: int
    name: str
    hash: str

    def encode(self, text: str) -> list[int]:
        """Text -> ids, without start or end; text that looks like a special token stays text."""

    def decode(self, ids) -> str:
        """Ids -> text; pad, start, end and ids out of range are dropped."""

    def save(self, folder) -> None:
        """Writes the files that `open_vocabulary` reads; refuses to replace different ones."""


class SentencePieceVocabulary:
    """A SentencePiece model; pad 0, unknown 1, start 2, end 3 when this project trained it."""

    name = "sentencepiece"

    def __init__(self, content: bytes, where: str = _SPM_FILE):
        """Args: `content`, the bytes of a model file; `where`, its path for messages."""
        if not content:  # SentencePiece takes it and fails later
            raise _unreadable(where, "a SentencePiece model, found an empty file")
        try:
            self._model = sentencepiece.SentencePieceProcessor(model_proto=content)
        except RuntimeError as error:
            raise _unreadable(where, "a SentencePiece model") from error
        self._content = content
        self.hash = _digest(content)
        self.size = self._model.get_piece_size()
        self.unk_id, self.eos_id = self._model.unk_id(), self._model.eos_id()
        if self.eos_id < 0:  # -1: trained without
            raise errors.ConfigError(f"{where} has no end token: train it with eos_id=3")
        pad, start = self._model.pad_id(), self._model.bos_id()
        self.pad_id = pad if pad >= 0 else self.eos_id
        self.start_id = start if start >= 0 else self.eos_id

    def __reduce__(self):
        """How another process has it: by its content."""
        return SentencePieceVocabulary, (self._content,)

    def encode(self, text: str) -> list[int]:
        """Text -> ids; runs of white space count as one space."""
        return self._model.encode(_one_line(text))

    def decode(self, ids) -> str:
        """Ids -> text, words joined by spaces; an unknown piece is written as U+2047."""
        return self._model.decode(_real(ids, self)).strip()

    def save(self, folder) -> None:
        """Writes spm.model."""
        _write(folder, {_SPM_FILE: self._content})


class HuggingFaceVocabulary:
    """A tokenizer.json, run by `tokenizers`; special tokens as in tokenizer_config.json.

    Where the model has no start or pad token the end token stands in; without an unknown token
    (byte-level models need none) `unk_id` is `pad_id`.
    """

    name = "huggingface"

    def __init__(self, content: bytes, config: bytes = b"{}", where: str = _HF_FILE):
        """Args: the bytes of tokenizer.json and of tokenizer_config.json; `where`, for messages."""
        fields, settings = _json(content, where), _json(config, _HF_CONFIG)
        if not isinstance(fields.get("model"), dict):
            raise _unreadable(where, "a tokenizer.json with a `model`")
        self._tokenizer = tokenizers.Tokenizer.from_str(content.decode())
        self._tokenizer.no_truncation()  # a file may carry the settings of its last use
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True  # a transcript cannot write control tokens
        self._files = {_HF_FILE: content, _HF_CONFIG: config}
        pieces = self._tokenizer.get_vocab(with_added_tokens=True)
        self.size = max(pieces.values()) + 1

        def find(key):
            token = settings.get(key)
            token = token.get("content") if isinstance(token, dict) else token
            if token is not None and token not in pieces:
                raise errors.ConfigError(
                    f"{key} {token!r} of {_HF_CONFIG} is not a token of {where}: correct it there."
                    f"{errors.nearest(token, pieces)}"
                )
            return pieces.get(token)

        self.eos_id = find("eos_token")
        if self.eos_id is None:
            raise errors.ConfigError(
                f"{where} has no end token: set eos_token in {_HF_CONFIG} beside it"
            )
        pad, start, unknown = find("pad_token"), find("bos_token"), find("unk_token")
        self.pad_id = self.eos_id if pad is None else pad
        self.start_id = self.eos_id if start is None else start
        self.unk_id = self.pad_id if unknown is None else unknown
        ids = (self.pad_id, self.start_id, self.eos_id, self.unk_id)
        self.hash = _digest(content + repr(ids).encode())

    def __reduce__(self):
        """How another process has it: by its content, for the settings above are in no file."""
        return HuggingFaceVocabulary, (self._files[_HF_FILE], self._files[_HF_CONFIG])

    def encode(self, text: str) -> list[int]:
        """Text -> ids, nothing added."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids) -> str:
        """Ids -> text; all special tokens are dropped."""
        return self._tokenizer.decode(_real(ids, self), skip_special_tokens=True)

    def save(self, folder) -> None:
        """Writes tokenizer.json and tokenizer_config.json."""
        _write(folder, self._files)


def holds(path) -> bool:
    """Whether a path is a tokenizer's file, or a folder with one."""
    path = epath.Path(path)
    return path.is_file() or any((path / name).exists() for name in (_SPM_FILE, _HF_FILE))


def open_vocabulary(path) -> Vocabulary:
    """Opens a vocabulary.

    Args:
        path: a folder with spm.model or tokenizer.json, or such a file.

    Raises:
        errors.ConfigError: nothing is there, or nothing that is a tokenizer; says what to do.
    """
    disk.check_local(path, "vocabulary")
    path = epath.Path(path)
    if not path.exists():
        siblings = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else ()
        near = errors.nearest(path.name, siblings)
        raise _Unreadable(f"no vocabulary at {path}", near)
    if path.is_dir():
        found = [path / name for name in (_SPM_FILE, _HF_FILE) if (path / name).exists()]
        if len(found) != 1:
            expected = f"expected one of {_SPM_FILE} and {_HF_FILE} in {path}, found"
            if found:
                raise errors.ConfigError(f"{expected} both: name the file")
            raise _Unreadable(f"{expected} neither")
        path = found[0]
    if path.suffix == ".model":
        return SentencePieceVocabulary(path.read_bytes(), str(path))
    if path.suffix == ".json":
        config = path.parent / _HF_CONFIG
        settings = config.read_bytes() if config.exists() else b"{}"
        return HuggingFaceVocabulary(path.read_bytes(), settings, str(path))
    raise errors.ConfigError(f"{path} is no tokenizer: expected *.model or *.json")


def open_trained(folder, expected: str, label: str) -> Vocabulary:
    """Opens the tokenizer that a checkpoint was trained with.

    Args:
        folder: where it is.
        expected: the hash of its content, by the checkpoint's record.
        label: the checkpoint's.

    Raises:
        errors.UserError: nothing is there that can be read, or another tokenizer.
    """
    cure = (
        "; put back the tokenizer of its training: in a workdir, remove the folder, and `seedasr"
        " train` makes it again"
    )
    try:
        found = open_vocabulary(folder)
    except _Unreadable as error:
        raise errors.UserError(f"{label}: {error.what}{cure}") from error
    if found.hash != expected:
        raise errors.UserError(
            f"{label}: {folder}: expected the vocabulary {expected}, found {found.hash}{cure}"
        )
    return found


def train_sentencepiece(
    texts: Iterable[str], folder, *, size: int, kind: str
) -> SentencePieceVocabulary:
    """Trains a vocabulary and writes it to `folder`; equal texts give equal bytes.

    The two instructions of text/prompts.py are never unknown; to bpe and unigram each is one piece,
    for small models pay for every token of a prefix. Chinese characters stay pieces of their own
    there: a pair of them is heard no better, and new pairs much worse. Nothing is normalised here
    but white space: text/normalize.py did that.

    Args:
        texts: transcripts; read once. bpe and unigram learn from TRAINED of them at most, drawn so
            that each is as likely as any other; the characters of all are known.
        folder: where spm.model goes.
        size: the most ids it may have, the four special ones included; fewer where the texts give
            no more.
        kind: "word", "bpe", "unigram" or "char".

    Raises:
        errors.ConfigError: no such kind, or a size that cannot hold what must be known.
        errors.DataError: there is no text.
    """
    if kind not in KINDS:
        raise errors.ConfigError(
            f"unknown vocabulary kind {kind!r}: expected one of {', '.join(KINDS)}."
            f"{errors.nearest(kind, KINDS)}"
        )
    if not 0 < size <= MOST:
        raise errors.ConfigError(f"size: expected 1 to {MOST} pieces, found {size}")
    texts = filter(None, (_one_line(text) for text in texts))
    instructions = [prompts.INSTRUCTION, prompts.INSTRUCTION_WITH_CONTEXT]
    symbols = []
    if kind in ("word", "char"):
        split = str.split if kind == "word" else list
        seen = collections.Counter(piece for text in texts for piece in split(text))
        known = {piece for text in instructions for piece in split(text)}
    else:
        texts, seen = _drawn(texts)
        symbols = [_SPACE + text.replace(" ", _SPACE) for text in instructions]
        symbols += sorted(char for char in seen if _CHINESE.match(char))
        # bpe and unigram keep every character
        known = {*seen, prompts.SEPARATOR.strip(), *symbols}
    if not seen:
        raise errors.DataError("no text to train a vocabulary on: expected transcripts, found none")
    room = size - len(_SPECIALS) - len(known)
    if room < 0:
        raise errors.ConfigError(
            f"size {size} is too small for a {kind} vocabulary of these texts: set it to at least "
            f"{size - room} ({len(known)} pieces must be known, {len(_SPECIALS)} are special)"
        )
    required = ""
    if symbols:  # the separator, and characters of texts that were not drawn
        lacking = seen.keys() - set(" ").union(*texts)
        required = prompts.SEPARATOR.strip() + "".join(sorted(lacking))
    if kind in ("word", "char"):  # chosen here: SentencePiece would drop rare instruction words
        others = sorted(seen.keys() - known, key=lambda piece: (-seen[piece], piece))
        corpus, size = [" ".join(sorted(known) + others[:room])], size - max(0, room - len(others))
    else:
        corpus = texts
    model = io.BytesIO()
    train = functools.partial(
        sentencepiece.SentencePieceTrainer.train,
        sentence_iterator=iter(corpus),
        model_writer=model,  # a file name would be written into the model
        model_type=kind,
        vocab_size=size,
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        add_dummy_prefix=kind != "char",  # there it would be one more token per utterance
        max_sentence_length=1 << 30,  # bytes; longer ones would be left out silently
        user_defined_symbols=symbols,
        required_chars=required,
        num_threads=4,  # part of the result: sums are split by thread
        minloglevel=2,
        **_SPECIALS,
    )
    _apart(train)
    vocabulary = SentencePieceVocabulary(model.getvalue())
    vocabulary.save(folder)
    return vocabulary


def _apart(work):
    """Runs work in C++ in a thread of its own, for this one hears signals meanwhile.

    A signal that ends the program does not wait for it.
    """
    done = concurrent.futures.Future()

    def run():
        try:
            done.set_result(work())
        except BaseException as error:  # raised where it is waited for
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done.result()


def _drawn(texts: Iterable[str]) -> tuple[list[str], collections.Counter]:
    """Up to TRAINED of the texts (Vitter's algorithm R), and how often all have each character."""
    found, seen, chance = [], collections.Counter(), random.Random(0)
    for number, text in enumerate(texts):
        seen.update(text)
        if number < TRAINED:
            found.append(text)
        elif (place := int(chance.random() * (number + 1))) < TRAINED:
            found[place] = text
    return found, seen


def _one_line(text: str) -> str:
    return " ".join(text.replace(_SPACE, " ").split())


def _real(ids, vocabulary: Vocabulary) -> list[int]:
    dropped = (vocabulary.pad_id, vocabulary.start_id, vocabulary.eos_id)
    return [int(i) for i in ids if 0 <= i < vocabulary.size and i not in dropped]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _unreadable(where: str, expected: str) -> errors.ConfigError:
    return _Unreadable(f"cannot read {where}: expected {expected}")


def _json(content: bytes, where: str) -> dict:
    try:
        fields = json.loads(content)
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError
        raise _unreadable(where, "a JSON object") from error
    if not isinstance(fields, dict):
        raise _unreadable(where, "a JSON object")
    return fields


def _write(folder, files: dict[str, bytes]) -> None:
    folder = epath.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name
        if path.exists():
            if path.read_bytes() == content:
                continue
            raise errors.ConfigError(
                f"{path} exists and holds another vocabulary: choose another folder or remove it"
            )
        with disk.replacing(path) as partial:
            partial.write_bytes(content)
