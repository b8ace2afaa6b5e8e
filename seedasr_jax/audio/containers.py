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
        found = headers.header(raw)
        header = found or headers.Header()
        if raw is source or header.changes or header.endless:
            source = _View(raw, header.changes, header.endless)
        try:
            file = stack.enter_context(_Forward(source))
        except soundfile.LibsndfileError as error:
            fault = header.fault or (
                f"not a readable audio file: {error.error_string} Expected WAV, FLAC, Ogg, MP3 or"
                " another format of libsndfile"
            )
            raise errors.DataError(f"{name}: {fault}") from error
        frames = file.frames if header.frames is None else header.frames
        fault = header.fault if found else _logged(file)
        if file.subtype.startswith("MPEG") and file.format != "MP3":
            fault = f"MPEG audio inside of {file.format} states no length; convert it"
        yield Sound(file, frames if header.stated else None, fault)


class _View(io.RawIOBase):
    """The bytes of a file, some of them changed.

    libsndfile estimates the length of an MP3 by the size of its file and decodes no further: an
    endless view has it decode what there is.
    """

    def __init__(self, raw: BinaryIO, changes, endless: bool):
        self._raw, self._changes = raw, changes
        self._size, self._at = headers.size_of(raw), 0
        self._end = _ENDLESS if endless else self._size

    def seek(self, offset, whence=os.SEEK_SET):
        self._at = offset + (0, self._at, self._end)[whence]
        return self._at

    def tell(self):
        return self._at

    def readinto(self, out):
        out, start = memoryview(out), self._at
        if start > self._size:
            count = len(out)
            out[:] = bytes(count)  # tags are looked for before the end
        else:
            self._raw.seek(start)
            count = self._raw.readinto(out)
        for place, new in self._changes:
            low, high = max(place, start), min(place + len(new), start + count)
            if low < high:
                out[low - start : high - start] = new[low - place : high - place]
        self._at += count
        return count


def _logged(file) -> str:
    """What libsndfile noticed in a container that is not looked into here."""
    log = file.extra_info
    frames = re.search(r"^ *Frames *: (\d+)", log, re.M)
    if re.search("should be|truncated", log) or (frames and int(frames[1]) > file.frames):
        return "cut off: less is there than its header states"
    return ""
