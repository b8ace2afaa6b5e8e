"""Vocabularies: SentencePiece and Hugging Face tokenizers behind one protocol.

A vocabulary is a folder with the tokenizer's own files, which other tools can read too. Start and
end tokens are added by the code that assembles a sequence. The blank of CTC is `pad_id`.
"""

from collections.abc import Mapping
import functools
import hashlib
import json
import re
from typing import Protocol

from etils import epath
import sentencepiece
import tokenizers

from seedasr_jax import errors, filesystem
from seedasr_jax import workdir as disk

SPACE = "\u2581"  # how SentencePiece writes a space
_SPM_FILE = "spm.model"
_MARKUP = re.compile(r"<[^<>\s]+>")
_HF_FILE, _HF_CONFIG = "tokenizer.json", "tokenizer_config.json"


class _Unreadable(errors.ConfigError):
    """No readable tokenizer was found; `what` is the message without its cure."""

    def __init__(self, what: str, near: str = ""):
        super().__init__(f"{what}; make one with `seedasr data vocab`.{near}")
        self.what = what


class Vocabulary(Protocol):
    """The interface of a tokenizer."""

    size: int  # number of ids; excludes the padding rows that embeddings may have
    pad_id: int  # this and the next three: below `size`; some may be equal
    start_id: int
    eos_id: int
    unk_id: int
    name: str  # "sentencepiece" or "huggingface"
    hash: str  # 16 hex digits of the content; equal hashes mean equal ids for every text
    special: Mapping[str, int]  # special tokens as spelled -> ids; no encoded text yields them

    def encode(self, text: str) -> list[int]:
        """Text -> ids, without start or end; a spelled special token is encoded as text."""

    def separate(self, text: str) -> list[int | str]:
        """Ids of the special tokens spelled in a text, and the texts between them, in order."""

    def decode(self, ids) -> str:
        """Ids -> text; pad, start, end and out-of-range ids are dropped."""

    def save(self, folder) -> None:
        """Writes the files that `open_vocabulary` reads; refuses to replace other content."""


class _Stored:
    """What both kinds have in common: their files, and special tokens spelled in a text."""

    special: Mapping[str, int]
    _files: dict[str, bytes]  # the arguments of the constructor
    _flags: Mapping[str, dict] = {}  # special token -> its `lstrip` and `rstrip`

    def __reduce__(self):
        """Pickles the files: the library's object is made again in the other process."""
        return type(self), tuple(self._files.values())

    def separate(self, text: str) -> list[int | str]:
        """As `Vocabulary.separate`, without white space that a token takes with it."""
        found, at = [], 0
        longest_first = sorted(self.special, key=len, reverse=True)
        for match in re.finditer("|".join(map(re.escape, longest_first)) or r"(?!)", text):
            token = match[0]
            between, strips = text[at : match.start()], self._flags.get(token, {})
            found += [between.rstrip() if strips.get("lstrip") else between, self.special[token]]
            at = match.end()
            if strips.get("rstrip"):
                at += len(text[at:]) - len(text[at:].lstrip())
        return [item for item in (*found, text[at:]) if item != ""]

    def _text_ids(self, ids) -> list[int]:
        """The ids without pad, start, end and out-of-range ids."""
        dropped = (self.pad_id, self.start_id, self.eos_id)
        return [int(i) for i in ids if 0 <= i < self.size and i not in dropped]

    def save(self, folder) -> None:
        """As `Vocabulary.save`."""
        folder = epath.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self._files.items():
            path = folder / name
            if not path.exists():
                with disk.replacing(path) as partial:
                    partial.write_bytes(content)
            elif path.read_bytes() != content:
                raise errors.ConfigError(
                    f"{path} exists and contains another vocabulary: choose another folder or"
                    " remove it"
                )


class SentencePieceVocabulary(_Stored):
    """A SentencePiece model; pad 0, unknown 1, start 2, end 3 if trained by vocab_training.py.

    Where the model has no start or pad token, the end token takes its place.
    """

    name = "sentencepiece"

    def __init__(self, content: bytes, where: str = _SPM_FILE):
        """`content`: the bytes of a model file; `where`: its path for messages."""
        if not content:  # SentencePiece accepts it and fails later
            raise _Unreadable(f"cannot read {where}: expected a SentencePiece model, found 0 bytes")
        try:
            self._model = sentencepiece.SentencePieceProcessor(model_proto=content)
        except RuntimeError as error:
            raise _Unreadable(f"cannot read {where}: expected a SentencePiece model") from error
        self._files = {_SPM_FILE: content}
        self.hash = _digest(content)
        self.size = self._model.get_piece_size()
        self.unk_id, self.eos_id = self._model.unk_id(), self._model.eos_id()
        if self.eos_id < 0:  # -1: trained without
            raise errors.ConfigError(f"{where} has no end token: train the model with eos_id=3")
        pad, start = self._model.pad_id(), self._model.bos_id()
        self.pad_id = pad if pad >= 0 else self.eos_id
        self.start_id = start if start >= 0 else self.eos_id

    @functools.cached_property
    def special(self) -> dict[str, int]:
        """Control pieces."""
        ids = filter(self._model.is_control, range(self.size))
        return {self._model.id_to_piece(i): i for i in ids}

    def encode(self, text: str) -> list[int]:
        """Text -> ids; a run of white space is one space."""
        return self._model.encode(one_line(text))

    def decode(self, ids) -> str:
        """Ids -> text, words joined by spaces; an unknown piece is written as U+2047."""
        return self._model.decode(self._text_ids(ids)).strip()


class HuggingFaceVocabulary(_Stored):
    """A tokenizer.json, run by `tokenizers`; special tokens as in tokenizer_config.json.

    Where the model has no start or pad token, the end token takes its place; without an unknown
    token (byte-level models need none), `unk_id` is `pad_id`.
    """

    name = "huggingface"

    def __init__(self, content: bytes, config: bytes = b"{}", where: str = _HF_FILE):
        """`content`, `config`: bytes of tokenizer.json and tokenizer_config.json."""
        fields, settings = _json(content, where), _json(config, _HF_CONFIG)
        if not isinstance(fields.get("model"), dict):
            raise _Unreadable(f"cannot read {where}: expected a tokenizer.json with a `model`")
        added = fields.get("added_tokens") or ()
        hidden = {token["content"] for token in added if token["special"]}
        for token in added:  # in Qwen's files markup such as <think> is not special
            token["special"] = token["special"] or bool(_MARKUP.fullmatch(token["content"]))
        self._tokenizer = tokenizers.Tokenizer.from_str(json.dumps(fields))
        self._tokenizer.no_truncation()  # the file may contain such settings
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True  # text never yields special tokens
        self._files = {_HF_FILE: content, _HF_CONFIG: config}
        pieces = self._tokenizer.get_vocab(with_added_tokens=True)
        self.size = max(pieces.values()) + 1
        self._flags = {token["content"]: token for token in added if token["special"]}
        self.special = {content: pieces[content] for content in self._flags}
        self._hidden = {pieces[content] for content in hidden}  # in decoded text

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
            raise errors.ConfigError(f"{where} has no end token: set eos_token in {_HF_CONFIG}")
        pad, start, unknown = find("pad_token"), find("bos_token"), find("unk_token")
        self.pad_id = self.eos_id if pad is None else pad
        self.start_id = self.eos_id if start is None else start
        self.unk_id = self.pad_id if unknown is None else unknown
        ids = (self.pad_id, self.start_id, self.eos_id, self.unk_id)
        self.hash = _digest(content + repr(ids).encode())

    def encode(self, text: str) -> list[int]:
        """Text -> ids, without added tokens."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids) -> str:
        """Ids -> text; special tokens are dropped, except those that the file calls ordinary."""
        kept = [i for i in self._text_ids(ids) if i not in self._hidden]
        return self._tokenizer.decode(kept, skip_special_tokens=False)


def one_line(text: str) -> str:
    """The text with each run of white space, and SentencePiece's own space, as one space."""
    return " ".join(text.replace(SPACE, " ").split())


def holds(path) -> bool:
    """Whether `path` is a file, or a folder with a tokenizer."""
    path = epath.Path(path)
    return path.is_file() or any((path / name).exists() for name in (_SPM_FILE, _HF_FILE))


def open_vocabulary(path) -> Vocabulary:
    """Opens a folder with spm.model or tokenizer.json, or such a file.

    Raises:
        ConfigError: there is none, both or an unreadable one, or it has no end token.
    """
    filesystem.check_local(path, "vocabulary")
    path = epath.Path(path)
    if not path.exists():
        siblings = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else ()
        raise _Unreadable(f"no vocabulary at {path}", errors.nearest(path.name, siblings))
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
    """Opens the tokenizer of a checkpoint, `label`, whose record states the hash `expected`.

    Raises:
        UserError: there is no readable tokenizer, or another one.
    """
    cure = (
        "; restore the tokenizer that it was trained with: in a workdir, remove the folder, and"
        " `seedasr train` creates it again"
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


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _json(content: bytes, where: str) -> dict:
    try:
        fields = json.loads(content)
    except ValueError:  # JSONDecodeError and UnicodeDecodeError
        fields = None
    if not isinstance(fields, dict):
        raise _Unreadable(f"cannot read {where}: expected a JSON object")
    return fields
