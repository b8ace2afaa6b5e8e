"""Names of a manifest's fields, those of other tools included; no other module knows any."""

import functools

from seedasr_jax.data_pipelines import cells

# Field -> its names, ours first; the first name with a value counts.
ALIASES = {
    "id": ("id", "utt_id", "utt", "uttid", "utterance_id", "key", "audio/filename"),
    "audio": (
        *("audio", "audio_filepath", "audio_path", "audio_filename", "audio_file"),
        *("wav", "wav_path", "wav_filename", "path", "file", "filepath", "file_name", "filename"),
    ),
    "offset": ("offset", "start", "start_time", "start_sec", "begin", "begin_time"),
    "seconds": ("seconds", "duration", "dur"),
    "end": ("end", "end_time", "end_sec", "stop"),  # an alternative to `seconds`
    "text": ("text", "transcript", "transcription", "sentence", "txt"),
    "language": ("language", "lang", "locale"),
    "dialect": ("dialect",),
    "domain": ("domain",),
    "speaker": ("speaker", "speaker_id", "spk", "spk_id", "client_id"),
    "split": ("split",),
    "context": ("context",),
    "context_kind": ("context_kind",),
    "keywords": ("keywords", "hotwords"),
    "siblings": ("siblings",),
    "alignment": ("alignment",),
}
TOLERANCE_SECONDS = 0.02  # between two statements of a time, which may be rounded
_PAIR = {"audio": "source", "text": "target"}  # of FunASR; only if a line has both names
_TIMES = ("offset", "seconds", "end")


def hint(ignored: tuple[str, ...], field: str) -> str:
    """Text for an error: the names of a missing field, and the line's names that are ignored."""
    found = f"; not read: {', '.join(map(repr, ignored))}" if ignored else ""
    return f"expected one of {', '.join(ALIASES[field])}{found}"


@functools.lru_cache(maxsize=256)
def layout(names) -> tuple[tuple, tuple[str, ...]]:
    """([(field, its names, parser)] of a line with these names, names that belong to no field)."""
    found, unknown = [], dict.fromkeys(names)
    paired = set(_PAIR.values()) <= set(names)
    for field, aliases in ALIASES.items():
        if paired and field in _PAIR:
            aliases = (*aliases, _PAIR[field])
        present = tuple(alias for alias in aliases if alias in names)
        if present:
            found.append((field, present, cells.PARSERS.get(field, cells.text)))
            for name in present:
                del unknown[name]
    return tuple(found), tuple(unknown)


def choose(values, field, aliases, parse) -> tuple[str, tuple[str, ...]]:
    """(first name with a value, other names, ignored); cells.Expected: a time has two values."""
    given = [name for name in aliases if values[name] is not None]
    if field in _TIMES:
        times = [parse(values[name]) for name in given]
        if given and max(times) - min(times) > TOLERANCE_SECONDS:
            raise cells.Expected(f"one time by all its names: {', '.join(given)}")
        return (given or aliases)[0], ()
    given = [name for name in given if str(values[name]).strip()] or given
    return (given or aliases)[0], tuple(given[1:])
