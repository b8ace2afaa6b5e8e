"""`--context` and `--hotwords` of `seedasr transcribe`."""

import os
import pathlib
import re

from seedasr_jax.errors import ConfigError
from seedasr_jax.text import prompts

# Weights in other tools' lists: after the name a number, preceded by a tab or by " :".
_WEIGHTED = re.compile(r".*(\t\s*|\s:\s*)[-+]?[\d.]+(\s+#.*)?\s*")


def read_context(text: str) -> str:
    """Parses a context from the command line; a ConfigError for `@` and the name of a file."""
    if text.startswith("@") and os.path.isfile(text[1:]):
        raise ConfigError(
            f'--context={text}: expected the text itself: write --context="$(cat {text[1:]})"'
        )
    return _typed(text)


def _typed(text) -> str:
    """A command-line argument as UTF-8, also if Python decoded its bytes for another locale."""
    return text.encode(errors="surrogateescape").decode(errors="surrogateescape")


def read_hotwords(text: str) -> tuple[str, ...]:
    """Parses hotwords from the command line: a list in the form that `split` reads, or `@FILE`.

    A file has one name per line, which may contain commas, or the whole list in its only line.
    Empty lines and lines that begin with `# ` are ignored. Anything else is a ConfigError.
    """
    if not text.startswith("@"):
        if pathlib.Path(text).suffix and os.path.isfile(text):
            raise ConfigError(f"--hotwords={text}: a file's names are read as --hotwords=@{text}")
        return tuple(prompts.split(_typed(text)))
    path = pathlib.Path(text[1:])
    expected = f"--hotwords=@{path}: expected a text file in UTF-8 with a word or name per line"
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:  # also a NUL in the path
        raise ConfigError(f"{expected}, found {error}") from error
    names = [line.strip() for line in lines if line.strip() and not line.startswith("# ")]
    if not names:
        raise ConfigError(f"{expected}, found none")
    if weighted := next(filter(_WEIGHTED.fullmatch, names), ""):
        raise ConfigError(f"{expected}, found {weighted!r}: weights are not supported, remove them")
    return tuple(prompts.split(names[0]) if len(names) == 1 else names)
