"""Speech by espeak-ng, in processes of their own.

    from seedasr_jax.data_pipelines.synth import espeak
    speech = espeak.speak([espeak.Utterance("hello world", voice="gmw/en-US", variant="f3")])

espeak-ng is GPL-3.0-or-later and keeps global state: the same call twice in one process gives other
samples, and initialising it seeds its noise by the clock. So the library is loaded by
`espeak_process` alone, one fresh process per shard, with seeds set; a fresh process that makes the
same calls in the same order gives the same bytes, and nothing less does. The library accepts wrong
names (an unknown variant returns "ok", an unknown voice leaves the voice before it in place), so
names are checked before a process starts, and the voice is read back after every change.

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
TIMEOUT_SECONDS = 600  # of one shard, which takes about a second: more is a process that hangs


@dataclasses.dataclass(frozen=True)
class Utterance:
    """A text and who says it how.

    `voice` is an identifier of `voices()`, such as gmw/en-US; `variant` one of `variants()`, or ""
    for the voice as it is. `pitch` and `range` (of the pitch) go from 0 to 99 with 50 as normal,
    `rate` from 80 to 450 words a minute. A low pitch with a wide range can crash the process in a
    language with tones.
    """

    text: str
    voice: str
    variant: str = ""
    pitch: int = 50
    range: int = 50
    rate: int = 175


class Event(NamedTuple):
    """Something that begins at `sample`: a `word` (value: as written) or a `phoneme` (its name).

    `place` is the word's first character in the text. The library gives one event to words that it
    says as one ("on the", 十五): the first of them has it.
    """

    kind: str
    sample: int
    value: str
    place: int | None = None


class Speech(NamedTuple):
    """What was said: a read-only wave [S] int16 at RATE, and when each word and phoneme begins."""

    wave: np.ndarray
    events: tuple[Event, ...]


def _package():
    try:
        return importlib.import_module("espeakng_loader")  # finds files; does not load the library
    except ImportError as error:
        raise errors.ConfigError(
            "speech synthesis needs the package espeakng_loader, which is not installed:"
            " pip install 'seedasr_jax[synth]'"
        ) from error


def version() -> str:
    """The version of espeakng-loader, on which the sound depends."""
    _package()
    return importlib.metadata.version("espeakng-loader")


@functools.cache
def voices() -> tuple[str, ...]:
    """Identifiers of the voices that the library has, such as gmw/en-US and roa/fr, sorted."""
    root = pathlib.Path(_package().get_data_path(), "lang")
    return tuple(sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()))


@functools.cache
def variants() -> tuple[str, ...]:
    """Names of the speaker variants, such as f3; any of them goes with any voice. Sorted."""
    root = pathlib.Path(_package().get_data_path(), "voices", "!v")
    return tuple(sorted(p.name for p in root.iterdir()))


def check(utterance: Utterance) -> None:
    """Raises ConfigError for what the library would get wrong without saying so."""
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
                f"espeak-ng's {name} must be a whole number from {low} to {high}, found {value!r}"
            )
    if not utterance.text.strip() or "\0" in utterance.text:
        raise errors.ConfigError(f"espeak-ng needs a text without NUL, found {utterance.text!r}")


def speak(utterances: list[Utterance]) -> list[Speech]:
    """Says a shard of utterances in one fresh process.

    Equal lists give equal bytes; the same utterance at another place of another list may not.

    Raises:
        ConfigError: the package is missing, or an utterance asks for what the library has not.
        UserError: the process failed; says why.
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
    """What each utterance's voice makes of its text; clauses are joined by ' | '.

    In IPA, which here loses some tones of Chinese, or in the library's own names, which keep them.
    """
    task = "phonemes" if ipa else "mnemonics"
    with tempfile.TemporaryDirectory() as folder:
        return [row["phonemes"] for row in _run(task, utterances, folder)]


def _run(task, utterances, folder):
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
            start_new_session=True,  # a terminal's Ctrl-C ends the maker: this shard is made whole
        )
    except subprocess.TimeoutExpired as error:
        raise errors.UserError(
            f"espeak-ng did not finish {len(utterances)} utterances, the first"
            f" {utterances[0]}, within {TIMEOUT_SECONDS} s; use smaller shards"
        ) from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["nothing"]
        raise errors.UserError(
            f"espeak-ng's process, which writes to {folder}, left with {done.returncode}:"
            f" {said[-1]}"
        )
    return json.loads(pathlib.Path(folder, "speech.json").read_text())


def each_shard(make, shards: list, *, label: str, workers: int = 0):
    """Yields make(shard) in order, several at once, with a line of progress on stderr.

    Threads suffice: the work is in the processes that `speak` starts, and in C.

    Args:
        make: shard -> anything; calls `speak` once.
        shards: what `make` takes.
        label: begins the progress line.
        workers: shards at once; 0 for one per CPU, which is also the most.
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
    elif done * 4 // total > (done - 1) * 4 // total:  # a log wants four lines, not fifty
        print(line, file=sys.stderr, flush=True)
