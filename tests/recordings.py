"""A corpus in a moment: recordings whose samples say which one they are. Dims: S samples."""

import json
import pathlib
import random

import numpy as np

from seedasr_jax.audio import files

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def row(number: int, speaker: str) -> dict:
    """The manifest row of a recording: 0.1 to 0.4 s long, one or two words."""
    samples = 1_600 + number * 977 % 4_800
    text = WORDS[number % 10] if number % 3 else f"{WORDS[number % 10]} {WORDS[number % 7]}"
    return {
        "id": f"r{number:03}",
        "audio": f"audio/{speaker}/r{number:03}.flac",
        "duration": samples / files.RATE,
        "speaker": speaker,
        "lang": "en",
        "text": text,
    }


def wave(row: dict) -> np.ndarray:
    """[S] int16 of a row: its number, then its place; nowhere zero."""
    out = np.arange(round(row["duration"] * files.RATE), dtype=np.int16) + 1
    out[0] = int(row["id"][1:]) + 1
    return out


def write(folder, rows, name="corpus.jsonl") -> pathlib.Path:
    """Writes manifest and audio; returns the manifest's path."""
    folder = pathlib.Path(folder)
    for each in rows:
        path = folder / each["audio"]
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, wave(each), files.RATE)
    return manifest(folder / name, rows)


def manifest(path, rows) -> pathlib.Path:
    """Writes a manifest without audio."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


def rows(count: int, speakers=("ann", "bob")) -> list[dict]:
    """Rows of several speakers in turn."""
    return [row(number, speakers[number % len(speakers)]) for number in range(count)]


def texts(count=300, seed=0):
    """Many common words and some rare ones, so that a small vocabulary must leave words out."""
    rng = random.Random(seed)
    words = [f"{a}{b}" for a in "bdfgk" for b in ("an", "en", "ino", "u", "alo")]
    rare = [f"rare{chr(97 + i)}" for i in range(20)]
    return [" ".join(rng.choices(words, k=6) + rng.choices(rare, k=1)) for _ in range(count)]
