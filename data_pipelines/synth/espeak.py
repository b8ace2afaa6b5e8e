"""Speech synthesis with espeak-ng, in separate processes.

    from seedasr_jax.data_pipelines.synth import espeak
    speech = espeak.speak([espeak.Utterance("hello world", voice="gmw/en-US", variant="f3")])

espeak-ng is GPL-3.0-or-later and has global state: a repeated call in one process gives other
samples, and initialisation seeds its noise by the clock. The library is therefore loaded only by
`espeak_process`, in a new process per shard with seeds set: only the same calls in the same order
in a new process give the same bytes. The library accepts wrong names (an unknown variant returns
"ok", an unknown voice leaves the previous one active), so names are checked before a process
starts, and the voice is read back after every change.

Dims: S samples.
"""

import concurrent.futures
import dataclasses
import functools
import importlib
import importlib.metadata
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import numpy as np

from seedasr_jax import errors
from seedasr_jax.data_pipelines.synth import espeak_process

RATE = espeak_process.RATE  # Hz
LIMITS = {"pitch": (0, 99), "range": (0, 99), "rate": (80, 450)}
TIMEOUT_SECONDS = 600  # per shard, which takes about a second: a longer run hangs


@dataclasses.dataclass(frozen=True)
class Utterance:
    """A text and the voice that speaks it; numbers are within LIMITS.

    A low pitch with a wide range can crash the process in a tonal language.
    """

    text: str
    voice: str  # of `voices()`, such as gmw/en-US
    variant: str = ""  # of `variants()`; "": the unmodified voice
    pitch: int = 50
    range: int = 50  # of the pitch
    rate: int = 175  # words per minute


class Event(NamedTuple):
    """A `word` (value: as written) or a `phoneme` (value: its name) that begins at `sample`.

    `place` is the index of the word's first character in the text. Words that the library
    pronounces as one ("on the", 十五) have a single event, the first word's.
    """

    kind: str
    sample: int
    value: str
    place: int | None = None


class Speech(NamedTuple):
    """Synthesised speech: a read-only wave [S] int16 at RATE, and events of words and phonemes."""

    wave: np.ndarray
    events: tuple[Event, ...]


def _package():
    """The module espeakng_loader, which locates the library's files without loading it."""
    try:
        return importlib.import_module("espeakng_loader")
    except ImportError as error:
        raise errors.ConfigError(
            "speech synthesis needs the package espeakng_loader, which is not installed:"
            " pip install 'seedasr_jax[synth]'"
        ) from error


def version() -> str:
    """The version of espeakng-loader, on which the audio depends."""
    _package()
    return importlib.metadata.version("espeakng-loader")


@functools.cache
def voices() -> tuple[str, ...]:
    """Identifiers of the library's voices, such as gmw/en-US and roa/fr, sorted."""
    root = pathlib.Path(_package().get_data_path(), "lang")
    return tuple(sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()))


@functools.cache
def variants() -> tuple[str, ...]:
    """Names of the speaker variants, such as f3, sorted; each can be used with any voice."""
    root = pathlib.Path(_package().get_data_path(), "voices", "!v")
    return tuple(sorted(p.name for p in root.iterdir()))


def check(utterance: Utterance) -> None:
    """Raises ConfigError for arguments that the library would silently mishandle."""
    for kind, name, names in (
        ("voice", utterance.voice, voices()),
        ("variant", utterance.variant, ("", *variants())),
    ):
        if name not in names:
            near = errors.nearest(name, names)
            raise errors.ConfigError(f"espeak-ng has no {kind} {name!r}, of {len(names)}.{near}")
    for name, (low, high) in LIMITS.items():
        value = getattr(utterance, name)
        if not (isinstance(value, int) and low <= value <= high):
            raise errors.ConfigError(
                f"espeak-ng's {name}: expected an integer from {low} to {high}, found {value!r}"
            )
    if not utterance.text.strip() or "\0" in utterance.text:
        raise errors.ConfigError(
            f"espeak-ng: expected a non-empty text without NUL, found {utterance.text!r}"
        )


def speak(utterances: list[Utterance]) -> list[Speech]:
    """Synthesises a shard of utterances in one new process.

    Equal lists give equal bytes; an utterance at another position of another list may not.

    Raises:
        ConfigError: the package is missing, or an utterance is not supported by the library.
        UserError: the process failed; gives its reason.
    """
    with tempfile.TemporaryDirectory() as folder:
        rows = _run("speak", utterances, folder)
        pcm = pathlib.Path(folder, "speech.raw").read_bytes()
    ends = itertools.accumulate(row["samples"] for row in rows)
    return [
        Speech(
            np.frombuffer(pcm, "<i2", row["samples"], 2 * (end - row["samples"])),
            tuple(Event(*event) for event in row["events"]),
        )
        for row, end in zip(rows, ends, strict=True)
    ]


def phonemes(utterances: list[Utterance], *, ipa: bool = True) -> list[str]:
    """Phonemes of each utterance, clauses joined by ' | '; IPA lacks some tones of Chinese."""
    task = "phonemes" if ipa else "mnemonics"
    with tempfile.TemporaryDirectory() as folder:
        return [row["phonemes"] for row in _run(task, utterances, folder)]


def _run(task, utterances, folder):
    """Runs `espeak_process` on a shard; returns the rows of its speech.json."""
    for utterance in utterances:
        check(utterance)
    job = {"task": task, "folder": folder, "utterances": list(map(dataclasses.asdict, utterances))}
    command = [sys.executable, "-P", "-m", espeak_process.__name__]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(job).encode(),
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            env=os.environ | {"LC_ALL": "C.UTF-8"},
            start_new_session=True,  # not reached by a terminal's Ctrl-C: the shard is completed
        )
    except subprocess.TimeoutExpired as error:
        raise errors.UserError(
            f"espeak-ng did not finish {len(utterances)} utterances, the first of which is"
            f" {utterances[0]}, within {TIMEOUT_SECONDS} s; use smaller shards"
        ) from error
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        place = f"espeak-ng's process, which writes to {folder}"
        raise errors.UserError(f"{place}, exited with {done.returncode}: {lines[-1]}")
    return json.loads(pathlib.Path(folder, "speech.json").read_text())


def each_shard(make, shards: list, *, label: str, workers: int = 0):
    """Yields make(shard) in order, computed by `workers` threads, with a progress line on stderr.

    Threads suffice: the work is done in the processes that `speak` starts, and in C. There is at
    most one per CPU; 0 workers: one per CPU.
    """
    most = len(os.sched_getaffinity(0))
    pool = concurrent.futures.ThreadPoolExecutor(min(workers or most, most))
    start = time.monotonic()
    try:
        for done, result in enumerate(pool.map(make, shards), 1):
            _progress(label, done, len(shards), time.monotonic() - start)
            yield result
    finally:
        pool.shutdown(cancel_futures=True)


def _progress(label, done, total, seconds):
    left = seconds / done * (total - done)
    line = f"{label} {done}/{total} shards, {seconds:.0f} s, {left:.0f} s left"
    if sys.stderr.isatty():
        print(f"\r{line} ", end="\n" if done == total else "", file=sys.stderr, flush=True)
    elif done * 4 // total > (done - 1) * 4 // total:  # four lines in a log
        print(line, file=sys.stderr, flush=True)
