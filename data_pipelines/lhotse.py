"""A cut of lhotse -> the fields of a line of ours: one file, one stretch of it, one text."""

_OWN = ("id", "start", "duration", "channel", "type", "supervisions", "recording", "features")
_SAID = ("text", "language", "speaker")  # of a supervision
_SLACK_SECONDS = 0.02  # of a supervision's bounds, which are rounded
_TRIM = "cuts.trim_to_supervisions() makes a cut of each"
_SAVE = "cuts.save_audios(FOLDER) writes what it stands for and returns cuts that can be read"


def is_cut(fields: dict) -> bool:
    """Whether the object of a line is a cut."""
    return isinstance(fields.get("supervisions"), list)


def fields(cut: dict) -> dict:
    """The fields of a MonoCut that has one supervision at most; unknown ones are kept.

    Raises:
        ValueError: another cut; says what was expected and found, and the cure.
    """
    kind = cut.get("type", "MonoCut")
    if kind != "MonoCut":
        raise ValueError(f"expected a MonoCut of lhotse, found a {kind}: {_SAVE}")
    found = {key: value for key, value in cut.items() if key not in _OWN}
    found |= {key: cut.get(key) for key in ("id", "start", "duration")}
    try:
        return found | {"audio": _file(cut)} | _said(cut)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            "expected a MonoCut of lhotse with a recording and supervisions, found one that lacks a"
            f" field, or has one of another kind: {error!r}"
        ) from error


def _file(cut) -> str:
    """The path of a cut's recording, which is a file of one channel, read as it is."""
    recording = cut["recording"]
    if recording.get("transforms"):
        raise ValueError(f"expected a recording as it is, found one with transforms: {_SAVE}")
    sources = recording["sources"]
    kinds = [source["type"] for source in sources]
    channels = [channel for source in sources for channel in source["channels"]]
    if kinds != ["file"] or len(channels) != 1:
        found = f"{', '.join(kinds) or 'no source'} with channels {channels}"
        raise ValueError(
            f"expected a recording of one file with one channel, found {found}: {_SAVE}"
        )
    return sources[0]["source"]


def _said(cut) -> dict:
    if not cut["supervisions"]:
        return {}
    if len(cut["supervisions"]) > 1:
        found = len(cut["supervisions"])
        raise ValueError(f"expected a cut with one supervision, found {found}: {_TRIM}")
    (said,) = cut["supervisions"]
    start, end = said["start"], said["start"] + said["duration"]
    if start < -_SLACK_SECONDS or end > cut["duration"] + _SLACK_SECONDS:
        raise ValueError(
            f"expected a supervision inside of its cut, found {start:g} to {end:g} s of"
            f" {cut['duration']:g} s: {_TRIM}"
        )
    return {key: said.get(key) for key in _SAID}
