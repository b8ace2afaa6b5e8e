"""Audio containers: an open file together with the length that its container states.

libsndfile trusts a stated length, or silently reduces it to what the file contains. headers.py
therefore reads it too, and where it is not reliable (FLAC without a length, MP3 without a Xing
frame, WAV from a pipe) a file is decoded to its end.
"""

import collections
import contextlib
import dataclasses
import io
import os
import re
from typing import BinaryIO

import soundfile

from seedasr_jax import errors
from seedasr_jax.audio import headers

_ENDLESS = 1 << 40  # bytes; size of a view that claims to be far longer than its file
_BLOCK = 1 << 16  # frames
_LAYERS = 4  # maximum depth of files nested in files
_BY_SAMPLE = ("PCM", "FLOAT", "DOUBLE", "ULAW", "ALAW")  # subtypes without a block codec
_MPEG_DELAY = 10_000  # maximum number of samples that an MP3's encoder and decoder add


class _Forward(soundfile.SoundFile):
    """Never seeks: it fails in GSM 6.10 and the like, and at the end of FLAC without a length."""

    def seekable(self):
        return False


@dataclasses.dataclass
class Sound:
    """An open audio file."""

    file: soundfile.SoundFile  # decodes from start to end
    frames: int | None  # as the container states; None if it states none, or an unreliable one
    fault: str  # why the file does not contain all of its audio; "" if it does

    def blocks(self, size: int, dtype: str, frames: int | None = None):
        """Yields the next `frames` frames, or all that remain, in arrays of at most `size`."""
        left = float("inf") if frames is None else frames
        while left > 0:
            wanted = min(size, left)
            block = self.file.read(wanted, dtype=dtype)
            yield block
            left = left - wanted if len(block) == wanted else 0

    def more(self) -> bool:
        """Whether any frame remains that can be decoded."""
        try:
            return len(self.file.read(1)) > 0
        except soundfile.LibsndfileError:  # the rest is a tag or padding
            return False

    def skip(self, frames: int):
        """Skips `frames` frames from the start, or all."""
        if self.frames is not None and soundfile.SoundFile.seekable(self.file):
            self.file.seek(frames)
        else:
            collections.deque(self.blocks(_BLOCK, "int16", frames), maxlen=0)


@contextlib.contextmanager
def opened(source: str | os.PathLike | BinaryIO, name: str):
    """Opens a path, or a seekable binary file, as a Sound; DataError: none that is supported."""
    with contextlib.ExitStack() as stack:
        raw = source
        if isinstance(source, str | os.PathLike):
            raw = stack.enter_context(open(source, "rb", buffering=0))
        header = headers.header(raw)
        for _ in range(_LAYERS):
            if header and header.inside:
                raw = _View(raw, *header.inside)
                header = headers.header(raw)
        known, header = header is not None, header or headers.Header()
        # Never a path: libsndfile decides by the extension whether audio is headerless.
        view = _View(raw, 0, headers.size_of(raw), header.changes)
        try:
            file = stack.enter_context(_Forward(view))
            if header.endless:  # opened unchanged first: without any audio libsndfile would crash
                view.extend()
                file = stack.enter_context(_Forward(view))
        except soundfile.LibsndfileError as error:
            fault = header.fault or _unreadable(raw, error)
            raise errors.DataError(f"{name}: {fault}") from error
        frames = file.frames if header.frames is None else header.frames
        fault = _fault(file, header) if known else _logged(file)
        if header.stated and frames > file.samplerate * (size := headers.size_of(raw)):
            found = f"{frames / file.samplerate:.0f} s in {size:,} bytes"  # below any codec's rate
            fault = f"damaged or cut off: its header states {found}"
        yield Sound(file, frames if header.stated else None, fault)


class _View(io.RawIOBase):
    """A range of a file's bytes, some of them replaced; if endless, an MP3 is decoded wholly."""

    def __init__(self, raw: BinaryIO, start: int, end: int, changes=()):
        self._raw, self._changes, self._start = raw, changes, start
        self._size = self._end = max(end - start, 0)
        self._at = 0

    def extend(self):
        """Makes the view endless and rewinds it."""
        self._end, self._at = _ENDLESS, 0

    def seek(self, offset, whence=os.SEEK_SET):
        self._at = offset + (0, self._at, self._end)[whence]
        return self._at

    def tell(self):
        return self._at

    def readinto(self, out):
        out, start = memoryview(out), self._at
        if start > self._size:
            count = len(out) if self._end > self._size else 0
            out[:count] = bytes(count)  # zeros: libsndfile searches for tags before the end
        else:
            self._raw.seek(self._start + start)
            count = self._raw.readinto(out[: self._size - start])
        for place, new in self._changes:
            low, high = max(place, start), min(place + len(new), start + count)
            if low < high:
                out[low - start : high - start] = new[low - place : high - place]
        self._at += count
        return count


def _unreadable(raw, error) -> str:
    if not headers.size_of(raw):
        return "not a readable audio file: it is empty"
    # For MPEG audio without a complete frame, libsndfile reports that the file does not exist.
    known = "" if "does not exist" in error.error_string else f" {error.error_string}"
    return (
        f"not a readable audio file:{known or ' damaged or cut off.'} Expected WAV, FLAC, Ogg, MP3"
        " or another format of libsndfile"
    )


def _fault(file, header) -> str:
    """The fault of a container, by its header and by libsndfile; "" if none."""
    if header.fault:
        return header.fault
    if header.odd and not file.subtype.startswith(_BY_SAMPLE):
        return f"cut off: the last byte of its {file.subtype} is missing"
    if header.about and abs(file.frames - header.about) > _MPEG_DELAY:
        return f"damaged: its first frame states {header.about:,} samples, found {file.frames:,}"
    if file.subtype.startswith("MPEG") and file.format != "MP3":
        return f"MPEG audio inside {file.format} states no length; convert it to WAV or FLAC"
    return ""


def _logged(file) -> str:
    """The fault of a container that headers.py cannot parse, by libsndfile's log; "" if none."""
    log = file.extra_info
    frames = re.search(r"^ *Frames *: (\d+)", log, re.M)
    if re.search("should be|truncated", log) or (frames and int(frames[1]) > file.frames):
        return "cut off: shorter than its header states"
    return ""
