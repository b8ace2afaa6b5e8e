"""Long audio against its parts: utterances joined to as much as half an hour, transcribed whole.

    python benchmarks/long_audio.py --name=commands --checkpoint=runs/quickstart \
        --task='synth:commands?split=test'

Utterances of one language are joined in order, with a pause between, until a recording has the
seconds that are asked for; what they hold is transcribed utterance by utterance and in one
recording. Recordings longer than all utterances of a language take them again from the first.
`silence` puts so many seconds before and behind. Deletions count most: what a cut loses is lost.
Results go to docs/results/long_audio/NAME.json; the tables in docs/results.md are made from them.
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
from seedasr_jax.data_pipelines import sources
from seedasr_jax.text import score
from seedasr_jax.text.conventions import Convention, Conventions

ROOT = pathlib.Path(__file__).resolve().parent.parent
RAW = ROOT / "docs/results/long_audio"
PAGE = ROOT / "docs/results.md"
PAIRS = 0.0  # seconds that any two utterances have
SECONDS = (PAIRS, 3.7, 7.5, 15.0, 30.0, 60.0, 120.0, 300.0, 1200.0, 1800.0)
SILENCES = ((2.0, 0.0), (0.0, 2.0), (2.0, 2.0))  # before and behind single utterances and pairs
AT_ONCE = 64  # recordings held in memory


def recordings(rows, seconds: float, pause: float):
    """Groups of rows: of at least two, and of at least so many seconds with pauses between.

    What is left of the last group is dropped, but where there is no other: then rows are repeated.
    """
    whole = sum(row.seconds + pause for row in rows)
    group, length = [], 0.0
    for row in itertools.cycle(rows) if whole < seconds else rows:
        group.append(row)
        length += row.seconds + pause * (len(group) > 1)
        if len(group) > 1 and length >= seconds:
            yield group
            if whole < seconds:
                return
            group, length = [], 0.0


def joined(waves, pause: float, silence) -> np.ndarray:
    """[S] waves, one after another with pauses between, and silence before and behind."""
    before, behind = (np.zeros(round(s * files.RATE), np.int16) for s in silence)
    between = np.zeros(round(pause * files.RATE), np.int16)
    parts = [part for wave in waves for part in (between, wave)][1:]
    return np.concatenate([before, *parts, behind])


class Bench:
    """Utterances of a task, what a checkpoint makes of each, and of recordings joined from them."""

    def __init__(self, checkpoint: str, task: str, cache: str):
        stage = checkpoints.open_checkpoint(checkpoint).stage
        self.transcriber = seedasr_jax.load(checkpoint)
        self.conventions = Conventions(Convention(stage.eval.normalizer, stage.eval.unit))
        self._waves = files.WaveCache(1 << 30)
        rows = map(sources.measured, sources.open_named(task, cache).rows())
        self.by_language = collections.defaultdict(list)
        for row in rows:
            self.by_language[row.language].append(row)
        every = [row for rows in self.by_language.values() for row in rows]
        texts = self.transcribe([self.wave([row]) for row in every])
        self.alone = {row.id: text for row, text in zip(every, texts, strict=True)}

    def wave(self, rows, pause=0.0, silence=(0.0, 0.0)) -> np.ndarray:
        """[S] of rows that are joined."""
        return joined([sources.read_recording(row, self._waves) for row in rows], pause, silence)

    def transcribe(self, waves) -> list[str]:
        """Texts of waves, in order."""
        return [found.text for found in self.transcriber.transcribe_many(waves)]

    def measure(self, groups, pause: float, silence) -> dict:
        """Errors of groups of rows, alone and joined."""
        said, alone, whole, units, seconds = [], [], [], [], []
        for start in range(0, len(groups), AT_ONCE):
            chosen = groups[start : start + AT_ONCE]
            waves = [self.wave(rows, pause, silence) for rows in chosen]
            seconds += [len(wave) / files.RATE for wave in waves]
            for rows, text in zip(chosen, self.transcribe(waves), strict=True):
                by = self.conventions.of(rows[0].language)
                said.append(" ".join(by.clean(row.text) for row in rows))
                alone.append(" ".join(by.clean(self.alone[row.id]) for row in rows))
                whole.append(by.clean(text))
                units.append(by.unit)
        found = {"alone": score.score(said, alone, unit=units)}
        found["joined"] = score.score(said, whole, unit=units)
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
    """The Markdown of docs/results.md between the marks; of each name a table."""
    return "\n\n".join(_table(name, result) for name, result in sorted(results.items()))


def _table(name, result):
    out = [
        f"`{name}`, `{result['task']}`, pauses of {result['pause']:g} s:",
        "",
        "| recordings | mean seconds | silence before, behind | errors: parts, joined (%) |"
        " deletions: parts, joined (%) | more deletions |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        parts, whole = row["alone"], row["joined"]
        errors = [100 * sum(e.values()) / row["ref_len"] for e in (parts, whole)]
        lost = [100 * e["del"] / row["ref_len"] for e in (parts, whole)]
        silence = " / ".join(f"{s:g}" for s in row["silence"])
        out.append(
            f"| {row['recordings']} | {row['seconds']:.1f} | {silence} |"
            f" {errors[0]:.1f}, {errors[1]:.1f} | {lost[0]:.1f}, {lost[1]:.1f} |"
            f" {lost[1] - lost[0]:+.1f} |"
        )
    return "\n".join(out)


def main(arguments) -> int:
    """Measures, writes the raw results and the table."""
    c = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    c.add_argument("--name", required=True, help="of the results")
    c.add_argument("--checkpoint", required=True)
    c.add_argument("--task", required=True)
    c.add_argument("--cache", default="", help="made audio; default: that of the checkpoint")
    c.add_argument("--pause", type=float, default=0.3, help="seconds; default: %(default)s")
    c.add_argument("--seconds", type=float, nargs="+", default=SECONDS, help="of recordings")
    asked = c.parse_args(arguments)
    cache = asked.cache or pathlib.Path(asked.checkpoint) / disk.CACHE
    bench, rows = Bench(asked.checkpoint, asked.task, cache), []
    languages = bench.by_language.values()

    def measure(seconds, silence):
        groups = [g for rows in languages for g in recordings(rows, seconds, asked.pause)]
        rows.append(bench.measure(groups, asked.pause, silence))
        print(json.dumps(rows[-1]), flush=True)

    for seconds in asked.seconds:
        measure(seconds, (0.0, 0.0))
    for silence in SILENCES:
        rows.append(bench.measure([[r] for rows in languages for r in rows], 0.0, silence))
        print(json.dumps(rows[-1]), flush=True)
        measure(PAIRS, silence)
    task = re.sub(r":.*/", ":", asked.task)
    RAW.mkdir(parents=True, exist_ok=True)
    disk.write_json(RAW / f"{asked.name}.json", dict(task=task, pause=asked.pause, rows=rows))
    results = {path.stem: disk.read_json(path) for path in RAW.glob("*.json")}
    pages.fill(PAGE, "long-audio", tables(results))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
