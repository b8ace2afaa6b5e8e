"""Converts a lhotse cut to the fields of a manifest row: one file, one segment of it, one text."""

_OWN = ("id", "start", "duration", "channel", "type", "supervisions", "recording", "features")
_SUPERVISED = ("text", "language", "speaker")  # fields of a supervision
_SLACK_SECONDS = 0.02  # a supervision's bounds are rounded
_TRIM = "cuts.trim_to_supervisions() makes a cut of each"
_SAVE = "cuts.save_audios(FOLDER) writes its audio to a file and returns cuts that can be read"


def is_cut(fields: dict) -> bool:
    """Whether the JSON object of a line is a cut."""
    return isinstance(fields.get("supervisions"), list)


def fields(cut: dict) -> dict:
    """The fields of a MonoCut with at most one supervision, also unknown ones; else ValueError."""
    kind = cut.get("type", "MonoCut")
    if kind != "MonoCut":
        raise ValueError(f"expected a MonoCut of lhotse, found a {kind}: {_SAVE}")
    found = {key: value for key, value in cut.items() if key not in _OWN}
    found |= {key: cut.get(key) for key in ("id", "start", "duration")}
    try:
        return found | {"audio": _file(cut)} | _supervision(cut)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            "expected a MonoCut of lhotse with a recording and supervisions, found one with a"
            f" missing field or a field of another type ({error!r}): write the manifest again with"
            " lhotse"
        ) from error


def _file(cut) -> str:
    """The path of a cut's recording: a single file of one channel without transforms."""
    recording = cut["recording"]
    if recording.get("transforms"):
        raise ValueError(f"expected a recording without transforms, found some: {_SAVE}")
    sources = recording["sources"]
    kinds = [source["type"] for source in sources]
    channels = [channel for source in sources for channel in source["channels"]]
    if kinds != ["file"] or len(channels) != 1:
        found = f"{', '.join(kinds) or 'no source'} with channels {channels}"
        raise ValueError(f"expected one file with one channel, found {found}: {_SAVE}")
    return sources[0]["source"]


def _supervision(cut) -> dict:
    if not cut["supervisions"]:
        return {}
    if (found := len(cut["supervisions"])) > 1:
        raise ValueError(f"expected a cut with one supervision, found {found}: {_TRIM}")
    (one,) = cut["supervisions"]
    start, end = one["start"], one["start"] + one["duration"]
    if start < -_SLACK_SECONDS or end > cut["duration"] + _SLACK_SECONDS:
        raise ValueError(
            f"expected a supervision inside its cut, found {start:g} to {end:g} s of"
            f" {cut['duration']:g} s: {_TRIM}"
        )
    return {key: one.get(key) for key in _SUPERVISED}
