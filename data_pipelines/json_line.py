"""A line of a manifest -> its fields, or what stands there instead of them."""

import json

_BOM = b"\xef\xbb\xbf"  # also in the middle, where files were concatenated
_SHOWN = 40  # characters of a line, in messages


def fields(line: bytes) -> tuple[dict, bool]:
    """Reads one line.

    A key that stands twice with two values says nothing; in a group inside of it, the last counts.

    Returns:
        Its JSON object, and whether strings in it may hold halves of surrogate pairs.

    Raises:
        ValueError: says what was found instead of a JSON object in UTF-8.
    """
    line, halves = line.removeprefix(_BOM), b"\\u" in line
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        text, halves = _halves(line, error), True
    try:
        found = _DECODER.decode(text)
    except RecursionError:
        raise ValueError("values nested too deep") from None
    except ValueError as error:
        raise ValueError(_instead(text, error)) from error
    if not isinstance(found, dict):
        kinds = {list: "a list: write one of its objects per line", type(None): "null"}
        raise ValueError(kinds.get(type(found), f"a {type(found).__name__}"))
    if isinstance(found, _Object):
        raise ValueError(f"{found.twice!r} twice, with two values: leave one of them out")
    return found, halves


class _Object(dict):
    """An object in which a key, `twice`, has two values."""

    twice = ""

    @classmethod
    def of(cls, pairs):
        """The dict of pairs, or an _Object."""
        found = dict(pairs)
        if len(found) < len(pairs):
            # Compared as JSON: in Python 1 equals True, and NaN does not equal NaN.
            values = {key: json.dumps(value) for key, value in pairs}
            twice = (key for key, value in pairs if json.dumps(value) != values[key])
            if key := next(twice, None):
                found = cls(found)
                found.twice = key
        return found


_DECODER = json.JSONDecoder(object_pairs_hook=_Object.of)


def _halves(line, error) -> str:
    """The text of bytes that hold halves of surrogate pairs but are UTF-8 otherwise."""
    if line[:2] == b"\x1f\x8b":
        raise ValueError("a gzip file: unpack it first") from None
    if line[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError("UTF-16: save it as UTF-8") from None
    try:
        return line.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise ValueError(
            f"byte 0x{line[error.start]:02x} at column {error.start + 1}, which is no UTF-8: save"
            " it as UTF-8"
        ) from None


def _instead(text, error) -> str:
    text = text.strip()
    if not isinstance(error, json.JSONDecodeError):  # an integer of thousands of digits
        return str(error)
    if text in ("{", "[") or (text[0] in "{[" and error.pos >= len(text)):
        return f"the beginning of one, {_short(text)!r}: an object may not go on in the next line"
    if error.msg == "Extra data":
        return f"{_short(text[error.pos :])!r} after an object: write one per line"
    return f"{_short(text)!r}: {error.msg} at column {error.colno}"


def _short(text):
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
