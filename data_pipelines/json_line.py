"""Parses a line of a manifest as JSON; errors say what the line contains instead."""

import json

_BOM = b"\xef\xbb\xbf"  # may occur on any line of concatenated files
_SHOWN = 40  # characters of a line in errors


def fields(line: bytes) -> tuple[dict, bool]:
    """(the JSON object of a line, whether its strings may contain unpaired surrogates).

    A repeated key with different values is an error; in a nested object the last value counts.

    Raises:
        ValueError: says what was found instead of a JSON object in UTF-8.
    """
    line, surrogates = line.removeprefix(_BOM), b"\\u" in line
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        text, surrogates = _decode(line, error), True
    try:
        found = _DECODER.decode(text)
    except RecursionError:
        raise ValueError("values nested too deep") from None
    except ValueError as error:
        raise ValueError(_instead(text, error)) from error
    if not isinstance(found, dict):
        kinds = {list: "a list: write one of its objects per line", type(None): "null"}
        raise ValueError(kinds.get(type(found), f"a {type(found).__name__}"))
    if isinstance(found, _Ambiguous):
        raise ValueError(f"{found.key!r} twice, with two values: remove one of them")
    return found, surrogates


class _Ambiguous(dict):
    """An object in which `key` has two different values."""

    key = ""

    @classmethod
    def from_pairs(cls, pairs):
        """A dict of the pairs, or an _Ambiguous."""
        found = dict(pairs)
        if len(found) < len(pairs):
            # Compared as JSON: in Python 1 equals True, and NaN does not equal NaN.
            values = {key: json.dumps(value) for key, value in pairs}
            different = (key for key, value in pairs if json.dumps(value) != values[key])
            if key := next(different, None):
                found = cls(found)
                found.key = key
        return found


_DECODER = json.JSONDecoder(object_pairs_hook=_Ambiguous.from_pairs)


def _decode(line, error) -> str:
    """The text of a line that is UTF-8 except for unpaired surrogates."""
    if line[:2] == b"\x1f\x8b":
        raise ValueError("a gzip file: unpack it first") from None
    if line[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError("UTF-16: save it as UTF-8") from None
    try:
        return line.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise ValueError(
            f"byte 0x{line[error.start]:02x} at column {error.start + 1}, which is not UTF-8: save"
            " it as UTF-8"
        ) from None


def _instead(text, error) -> str:
    text = text.strip()
    if not isinstance(error, json.JSONDecodeError):  # an integer of thousands of digits
        return str(error)
    if text in ("{", "[") or (text[0] in "{[" and error.pos >= len(text)):
        return f"the beginning of one, {_short(text)!r}: write each object on a single line"
    if error.msg == "Extra data":
        return f"{_short(text[error.pos :])!r} after an object: write one per line"
    return f"{_short(text)!r}: {error.msg} at column {error.colno}"


def _short(text):
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
