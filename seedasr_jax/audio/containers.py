"""Audio containers: an open file with what it states about its sound.

libsndfile believes a header, or silently cuts it down to the file. A sound is therefore opened with
what its container states beside it, and decoded to its end where nothing reliable is stated: FLAC
without a length, MP3 without a Xing frame, WAV from a pipe.
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

_ENDLESS = 1 << 40  # bytes, of a view that claims to be far longer than its file
_BLOCK = 1 << 16  # frames
_LAYERS = 4  # at most, of files inside of files
_BY_SAMPLE = ("PCM", "FLOAT", "DOUBLE", "ULAW", "ALAW")  # without a codec
_MPEG_DELAY = 10_000  # samples at most that encoder and decoder put around the sound of an MP3


class _Forward(soundfile.SoundFile):
    """Decodes from front to back, without the seek by which soundfile follows each read.

    That seek fails in GSM 6.10 and its like, and at the end of a FLAC file without a length.
    """

    def seekable(self):
        return False


@dataclasses.dataclass
class Sound:
    """An open sound.

    Attributes:
        file: decodes it, from front to back.
        frames: how many the container states; None where it does not, or cannot be believed.
        fault: why the file is not all of the sound, or "".
    """

    file: soundfile.SoundFile
    frames: int | None
    fault: str

    def blocks(self, size: int, dtype: str, frames: int | None = None):
        """Yields the next `frames` frames, or all that is left, in arrays of at most `size`."""
        left = float("inf") if frames is None else frames
        while left > 0:
            wanted = min(size, left)
            block = self.file.read(wanted, dtype=dtype)
            yield block
            left = left - wanted if len(block) == wanted else 0

    def more(self) -> bool:
        """Whether anything is left that can be decoded."""
        try:
            return len(self.file.read(1)) > 0
        except soundfile.LibsndfileError:  # a tag, or padding
            return False

    def skip(self, frames: int):
        """Goes forward by so many frames, or to the end."""
        if self.frames is not None and soundfile.SoundFile.seekable(self.file):
            self.file.seek(frames)
        else:
            collections.deque(self.blocks(_BLOCK, "int16", frames), maxlen=0)


@contextlib.contextmanager
def opened(source: str | os.PathLike | BinaryIO, name: str):
    """Opens a path, or a binary file that can seek; `name` is for messages.

    Yields:
        A Sound.

    Raises:
        DataError: it is no audio that libsndfile knows.
    """
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
        # Never a path: by its ending alone libsndfile takes bytes for headerless audio.
        view = _View(raw, 0, headers.size_of(raw), header.changes)
        try:
            file = stack.enter_context(_Forward(view))
            if header.endless:  # tried as it is first: without any sound libsndfile would crash
                view.extend()
                file = stack.enter_context(_Forward(view))
        except soundfile.LibsndfileError as error:
            fault = header.fault or _unreadable(raw, error)
            raise errors.DataError(f"{name}: {fault}") from error
        frames = file.frames if header.frames is None else header.frames
        fault = _fault(file, header) if known else _logged(file)
        if header.stated and frames > file.samplerate * (size := headers.size_of(raw)):
            found = f"{frames / file.samplerate:.0f} s in {size:,} bytes"  # no codec is so dense
            fault = f"damaged or cut off: its header promises {found}"
        yield Sound(file, frames if header.stated else None, fault)


class _View(io.RawIOBase):
    """A stretch of the bytes of a file, some of them changed.

    libsndfile estimates the length of an MP3 by the size of its file and decodes no further: an
    endless view has it decode what there is.
    """

    def __init__(self, raw: BinaryIO, start: int, end: int, changes=()):
        self._raw, self._changes, self._start = raw, changes, start
        self._size = self._end = max(end - start, 0)
        self._at = 0

    def extend(self):
        """Makes it endless, and goes to its start."""
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
            out[:count] = bytes(count)  # tags are looked for before the end
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
    # Of MPEG audio without a whole frame libsndfile says that there is no file.
    known = "" if "does not exist" in error.error_string else f" {error.error_string}"
    return (
        f"not a readable audio file:{known or ' damaged or cut off.'} Expected WAV, FLAC, Ogg, MP3"
        " or another format of libsndfile"
    )


def _fault(file, header) -> str:
    """What is wrong with a container by its header, and by what libsndfile makes of it."""
    if header.fault:
        return header.fault
    if header.odd and not file.subtype.startswith(_BY_SAMPLE):
        return f"cut off: the last byte of its {file.subtype} is missing"
    if header.about and abs(file.frames - header.about) > _MPEG_DELAY:
        return (
            f"damaged: its first frame states {header.about:,} samples, the decoder finds"
            f" {file.frames:,}"
        )
    if file.subtype.startswith("MPEG") and file.format != "MP3":
        return f"MPEG audio inside of {file.format} states no length; convert it"
    return ""


def _logged(file) -> str:
    """What libsndfile noticed in a container that is not looked into here."""
    log = file.extra_info
    frames = re.search(r"^ *Frames *: (\d+)", log, re.M)
    if re.search("should be|truncated", log) or (frames and int(frames[1]) > file.frames):
        return "cut off: less is there than its header states"
    return ""
