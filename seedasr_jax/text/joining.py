"""Joins the transcripts of consecutive audio into one text."""

from collections.abc import Iterable
import re

from seedasr_jax.text.normalize import CJK

# Scripts without spaces: Chinese and Japanese; Thai, Lao, Burmese and Khmer.
UNSPACED = re.compile(f"[{CJK}\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")


def join(texts: Iterable[str]) -> str:
    """Joins the non-empty texts by spaces, except between two characters of unspaced scripts."""
    out = ""
    for text in filter(None, texts):
        spaced = out and not (UNSPACED.match(out[-1]) and UNSPACED.match(text[0]))
        out += " " * bool(spaced) + text
    return out
