"""Long audio: error rates of joined utterances, up to half an hour, against single utterances.

    python benchmarks/long_audio.py --name=commands --checkpoint=runs/quickstart \
        --task='synth:commands?split=test'

Utterances of one language are joined in order, with pauses between them, until a recording has the
requested duration; they are transcribed one by one and as one recording. For recordings longer than
all utterances of a language, utterances are repeated from the first. `silence` adds seconds before
and after. Deletions are the most important figure: they show what cuts lose. Results go to
docs/results/long_audio/NAME.json, from which the tables in docs/results.md are made.
"""

import argparse
import collections
import itertools
import json
import pathlib
import re
import sys

import numpy as np
import pages

import seedasr_jax
from seedasr_jax import checkpoint as checkpoints
from seedasr_jax import workdir as disk
from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import named, waves
from seedasr_jax.tables import markdown
from seedasr_jax.text import score
from seedasr_jax.text.conventions import Convention, Conventions

ROOT = pathlib.Path(__file__).resolve().parent.parent
RAW = ROOT / "docs/results/long_audio"
PAGE = ROOT / "docs/results.md"
PAIRS = 0.0  # minimum seconds that any two utterances exceed
SECONDS = (PAIRS, 3.7, 7.5, 15.0, 30.0, 60.0, 120.0, 300.0, 1200.0, 1800.0)
SILENCES = ((2.0, 0.0), (0.0, 2.0), (2.0, 2.0))  # before and after single utterances and pairs
AT_ONCE = 64  # recordings in memory at a time


def recordings(rows, seconds: float, pause: float):
    """Yields groups of at least two rows with at least `seconds`, including pauses between them.

    An incomplete last group is dropped. If all rows are shorter than `seconds`, they are repeated
    to form a single group.
    """
    total = sum(row.seconds + pause for row in rows)
    group, length = [], 0.0
    for row in itertools.cycle(rows) if total < seconds else rows:
        group.append(row)
        length += row.seconds + pause * (len(group) > 1)
        if len(group) > 1 and length >= seconds:
            yield group
            if total < seconds:
                return
            group, length = [], 0.0


def joined(waves, pause: float, silence) -> np.ndarray:
    """[S] concatenation of waves with pauses between them, and silence before and after."""
    before, after = (np.zeros(round(s * files.RATE), np.int16) for s in silence)
    between = np.zeros(round(pause * files.RATE), np.int16)
    segments = [segment for wave in waves for segment in (between, wave)][1:]
    return np.concatenate([before, *segments, after])


class Bench:
    """Transcribes and scores the utterances of a task, one by one and joined to recordings."""

    def __init__(self, checkpoint: str, task: str, cache: str):
        stage = checkpoints.open_checkpoint(checkpoint).stage
        self.transcriber = seedasr_jax.load(checkpoint)
        self.conventions = Conventions(Convention(stage.eval.normalizer, stage.eval.unit))
        self._waves = files.WaveCache(1 << 30)
        rows = map(waves.measured, named.open_named(task, cache).rows())
        self.by_language = collections.defaultdict(list)
        for row in rows:
            self.by_language[row.language].append(row)
        every = [row for rows in self.by_language.values() for row in rows]
        texts = self.transcribe([self.wave([row]) for row in every])
        self.alone = {row.id: text for row, text in zip(every, texts, strict=True)}

    def wave(self, rows, pause=0.0, silence=(0.0, 0.0)) -> np.ndarray:
        """[S] of a recording joined from rows."""
        return joined([waves.read_recording(row, self._waves) for row in rows], pause, silence)

    def transcribe(self, waves) -> list[str]:
        """Texts of waves, in order."""
        return [found.text for found in self.transcriber.transcribe_many(waves)]

    def measure(self, groups, pause: float, silence) -> dict:
        """Errors of groups of rows, transcribed one by one and joined."""
        references, alone, whole, units, seconds = [], [], [], [], []
        for start in range(0, len(groups), AT_ONCE):
            chosen = groups[start : start + AT_ONCE]
            waves = [self.wave(rows, pause, silence) for rows in chosen]
            seconds += [len(wave) / files.RATE for wave in waves]
            for rows, text in zip(chosen, self.transcribe(waves), strict=True):
                convention = self.conventions.of(rows[0].language)
                references.append(" ".join(convention.clean(row.text) for row in rows))
                alone.append(" ".join(convention.clean(self.alone[row.id]) for row in rows))
                whole.append(convention.clean(text))
                units.append(convention.unit)
        found = {"alone": score.score(references, alone, unit=units)}
        found["joined"] = score.score(references, whole, unit=units)
        return {
            "recordings": len(groups),
            "seconds": round(float(np.mean(seconds)), 2),
            "silence": list(silence),
            "ref_len": found["joined"].ref_len,
        } | {
            name: {"sub": s.substitutions, "del": s.deletions, "ins": s.insertions}
            for name, s in found.items()
        }


def tables(results) -> str:
    """The Markdown of docs/results.md between the marks: a table per name."""
    return "\n".join(_table(name, result) for name, result in sorted(results.items()))


def _table(name, result):
    head = (
        *("recordings", "mean seconds", "silence before, after", "errors: single, joined (%)"),
        *("deletions: single, joined (%)", "more deletions"),
    )
    rows = []
    for row in result["rows"]:
        each = row["alone"], row["joined"]
        errors = [100 * sum(e.values()) / row["ref_len"] for e in each]
        lost = [100 * e["del"] / row["ref_len"] for e in each]
        silence = " / ".join(f"{s:g}" for s in row["silence"])
        both = [f"{single:.1f}, {joined:.1f}" for single, joined in (errors, lost)]
        more = f"{lost[1] - lost[0]:+.1f}"
        rows.append((row["recordings"], f"{row['seconds']:.1f}", silence, *both, more))
    title = f"`{name}`, `{result['task']}`, pauses of {result['pause']:g} s:"
    return f"{title}\n\n{markdown(head, rows)}"


def main(arguments) -> int:
    """Measures; writes the raw results and the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", required=True, help="name of the results")
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--task", required=True)
    parser.add_argument(
        "--cache", default="", help="synthesised audio; default: the checkpoint's cache"
    )
    parser.add_argument("--pause", type=float, default=0.3, help="seconds; default: %(default)s")
    parser.add_argument(
        "--seconds", type=float, nargs="+", default=SECONDS, help="durations of recordings"
    )
    options = parser.parse_args(arguments)
    cache = options.cache or pathlib.Path(options.checkpoint) / disk.CACHE
    bench, rows = Bench(options.checkpoint, options.task, cache), []
    languages = bench.by_language.values()

    def measure(seconds, silence):
        groups = [g for rows in languages for g in recordings(rows, seconds, options.pause)]
        rows.append(bench.measure(groups, options.pause, silence))
        print(json.dumps(rows[-1]), flush=True)

    for seconds in options.seconds:
        measure(seconds, (0.0, 0.0))
    for silence in SILENCES:
        rows.append(bench.measure([[r] for rows in languages for r in rows], 0.0, silence))
        print(json.dumps(rows[-1]), flush=True)
        measure(PAIRS, silence)
    task = re.sub(r":.*/", ":", options.task)
    RAW.mkdir(parents=True, exist_ok=True)
    disk.write_json(RAW / f"{options.name}.json", dict(task=task, pause=options.pause, rows=rows))
    results = {path.stem: disk.read_json(path) for path in RAW.glob("*.json")}
    pages.fill(PAGE, "long-audio", tables(results))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
