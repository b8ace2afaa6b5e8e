"""Transcripts of consecutive pieces -> one text."""

from collections.abc import Iterable
import re

from seedasr_jax.text.normalize import CJK

# Thai, Lao, Burmese and Khmer, which are written without spaces too.
UNSPACED = re.compile(f"[{CJK}\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")


def join(texts: Iterable[str]) -> str:
    """The texts one after another, empty ones left out.

    A space stands between two, or nothing where both ends are of a script without spaces.
    """
    out = ""
    for text in filter(None, texts):
        apart = out and not (UNSPACED.match(out[-1]) and UNSPACED.match(text[0]))
        out += " " * bool(apart) + text
    return out
