"""What is in a source, and what is wrong with it, row by row. No TensorFlow."""

import collections
import collections.abc

from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import sources
from seedasr_jax.errors import DataError

_COLUMNS = ("source", "utterances", "hours", "shortest", "mean", "longest", "speakers", "texts")


def stats(name: str, data_folder) -> dict:
    """Counts of a SPEC, task or mixture; joined utterances are those of the first pass.

    Returns:
        source, utterances, hours, shortest, mean, longest (seconds), speakers, texts (distinct),
        words (distinct), languages (tag -> utterances).
    """
    source = sources.open_named(name, data_folder)
    rows = [sources.measured(row) for row in source.rows()]
    seconds = [row.seconds for row in rows]
    languages = collections.Counter(row.language or "not stated" for row in rows)
    return {
        "source": source.name,
        "utterances": len(rows),
        "hours": round(sum(seconds) / 3600, 4),
        "shortest": round(min(seconds), 3),
        "mean": round(sum(seconds) / len(rows), 3),
        "longest": round(max(seconds), 3),
        "speakers": len({row.speaker for row in rows if row.speaker}),
        "texts": len({row.text for row in rows if row.text}),
        "words": len({word for row in rows for word in row.text.split()}),
        "languages": dict(sorted(languages.items())),
    }


def table(rows: list[dict]) -> str:
    """The counts for a person."""
    lines = [_COLUMNS] + [tuple(str(row[key]) for key in _COLUMNS) for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_COLUMNS))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in lines)


def problems(name: str, data_folder) -> collections.abc.Iterator[str]:
    """A line for each thing that is wrong with a source's rows: decodes every recording.

    A source without any text is speech alone, which stages of self-supervision take.
    """
    source = sources.open_named(name, data_folder)
    rows = list(source.rows())
    told = any(row.text for row in rows)
    cache = files.WaveCache(0)
    seen: dict[str, int] = {}
    for row in rows:
        where = f"{source.name} line {row.line} ({row.id})"
        if row.id in seen:
            yield f"{where}: expected an id of its own, found that of line {seen[row.id]}"
        seen.setdefault(row.id, row.line)
        if told and not row.text:
            yield f"{where}: expected text as other rows have, found none"
        if not row.audio:
            yield f"{where}: expected audio, found none"
            continue
        try:
            wave = sources.recording(row, cache)
        except DataError as error:
            yield f"{where}: {error}"
            continue
        if not wave.any():
            seconds = len(wave) / files.RATE
            yield f"{where}: expected sound, found {seconds:.2f} s of digital silence"
