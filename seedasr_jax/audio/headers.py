"""Headers of audio containers: the length that their bytes state, compared with the file's.

This finds the faults that libsndfile, which reduces, estimates or trusts a length, does not report.
"""

import math
import os
import re
import struct
from typing import BinaryIO, NamedTuple

_HEAD = 4096  # bytes read from the start of a file


class Header(NamedTuple):
    """What a container's own bytes state, beyond what libsndfile reports."""

    stated: bool = True  # whether the container states its number of frames reliably
    frames: int | None = None  # that number, if `changes` hides it from libsndfile
    fault: str = ""  # see containers.Sound
    changes: tuple[tuple[int, bytes], ...] = ()  # (offset, bytes) to replace for libsndfile
    endless: bool = False  # whether the file must claim to be longer than it is
    inside: tuple[int, ...] = ()  # (start, end) in bytes of a nested container of all of the audio
    odd: bool = False  # whether the last byte is missing
    about: int = 0  # samples that an MP3 states, up to what encoder and decoder add; 0: none


def size_of(raw: BinaryIO) -> int:
    """Size of a file in bytes; leaves its position at the end."""
    return raw.seek(0, os.SEEK_END)


def _at(raw, place, count) -> bytes:
    """Up to `count` bytes from offset `place` on."""
    raw.seek(place)
    return raw.read(count)


def header(raw) -> Header | None:
    """Parses the header of a seekable file; None: a container that this file cannot parse."""
    head = _at(raw, 0, _HEAD)
    magic = head[:4]
    if magic[:3] == b"ID3" and len(head) > 10:  # may precede any container; libsndfile may hang
        size = sum(byte << 7 * (3 - place) for place, byte in enumerate(head[6:10]))
        return Header(inside=(10 + size + 10 * (head[5] >> 4 & 1), size_of(raw)))
    if magic in _CHUNKED:
        return _chunked(raw, _CHUNKED[magic])
    if magic in (b".snd", b"dns."):
        order = "big" if magic == b".snd" else "little"
        place, size = (int.from_bytes(head[at : at + 4], order) for at in (4, 8))
        return _data(raw, place, size, (8, 4, order), None)
    if magic == b"NIST":
        return _sphere(raw, head)
    if magic == b"OggS":
        return _ogg(raw)
    if magic == b"fLaC":
        return _flac(head)
    padding = len(head) - len(head.lstrip(b"\0"))  # of a tag
    if not _is_frame(head[padding:]):
        return None
    return Header(inside=(padding, size_of(raw))) if padding else _mpeg(raw, head)


class _Chunks(NamedTuple):
    """Chunk layout of RIFF or a related container; a chunk is name, size, body."""

    order: str  # byte order
    first: int  # offset of the first chunk
    name: int  # bytes of a name, of which four are read
    size: int  # bytes of a size field
    align: int  # alignment of chunks, in bytes
    counted: int  # bytes of name and size field that are included in a size


_CHUNKED = {
    b"RIFF": _Chunks("little", 12, 4, 4, 2, 0),
    b"RIFX": _Chunks("big", 12, 4, 4, 2, 0),
    b"RF64": _Chunks("little", 12, 4, 4, 2, 0),
    b"FORM": _Chunks("big", 12, 4, 4, 2, 0),  # AIFF
    b"caff": _Chunks("big", 8, 4, 8, 1, 0),
    b"riff": _Chunks("little", 40, 16, 8, 8, 24),  # W64
}
# Format tags of WAVE: PCM, float, A-law and mu-law; MPEG audio of layers I and II, of layer III.
_PLAIN_TAGS, _MPEG_TAGS = (1, 3, 6, 7), (0x50, 0x55)
_BLOCK_TAGS = {0x02: "MS ADPCM", 0x11: "IMA ADPCM", 0x31: "GSM 6.10", 0x38: "NMS ADPCM"}


def _chunked(raw, layout) -> Header | None:
    """Header of RIFF and related containers: walks the chunks up to the audio data."""
    place, total, in_64_bits, coded = layout.first, size_of(raw), None, _Coded()
    while place + layout.name + layout.size <= total:
        name, size = _chunk(raw, place, layout)
        field = place + layout.name, layout.size, layout.order
        body = place + layout.name + layout.size
        if name == b"ds64":
            size_64 = int.from_bytes(_at(raw, body + 8, 8), "little")
            in_64_bits = size_64, (body + 8, 8, "little")
        if name == b"fmt ":
            coded = _format(_at(raw, body, 16), layout.order)
        if name in (b"data", b"SSND", b"BODY"):
            if in_64_bits and size == 0xFFFFFFFF:
                size, field = in_64_bits
            found = _data(raw, body, size, field, layout)
            size = size if not found.changes else total - body
            if coded.fault:
                return Header(fault=coded.fault)
            if coded.mpeg and not found.fault:
                return Header(inside=(body, min(body + size, total)))
            if coded.block and not found.fault and (left := size % coded.block):
                found = f"{left} of {coded.block} bytes; convert it again from its source"
                return Header(fault=f"cut off: its last block of {coded.name} has {found}")
            return found
        if size < 0 or not _NAME.match(name):
            break
        place = body + size + -(body + size) % layout.align
    return None


class _Coded(NamedTuple):
    """The sample format that RIFF states."""

    mpeg: bool = False
    block: int = 0  # bytes of a codec's block; 0: no block codec
    name: str = ""  # of that codec
    fault: str = ""  # contradiction in the format


def _format(chunk, order) -> _Coded:
    """Parses a `fmt ` chunk."""
    if len(chunk) < 16:
        return _Coded(fault="cut off in its header")
    tag, channels, _, _, align, bits = struct.unpack(f"{'<>'[order == 'big']}HHIIHH", chunk)
    if tag in _PLAIN_TAGS and bits in (8, 16, 32, 64) and 8 * align != channels * bits:
        stated = f"{channels} channels of {bits} bits in {align} bytes"
        return _Coded(fault=f"damaged: its header states {stated}")
    name = _BLOCK_TAGS.get(tag, "")
    return _Coded(tag in _MPEG_TAGS, align if name else 0, name)


def _chunk(raw, place, layout) -> tuple[bytes, int]:
    """Name and body size of the chunk at offset `place`."""
    head = _at(raw, place, layout.name + layout.size)
    return head[:4], int.from_bytes(head[layout.name :], layout.order) - layout.counted


def _data(raw, place, size, field, layout) -> Header:
    """Header of a container with `size` bytes of audio data, as stated, at offset `place`.

    A header that was written before its data, as to a pipe, may state a placeholder (0, all ones,
    half of that): then all of the rest of the file is data. `field`: offset, width and byte order
    of the field that states the size.
    """
    where, width, order = field
    rest, top = max(size_of(raw) - place, 0), 1 << 8 * width
    end = place + size
    if layout:
        end += -end % layout.align
    empty = layout and _chunk(raw, place, layout)  # a chunk that follows directly: size 0 is true
    nothing = size <= 0 < rest and not (
        empty and _NAME.match(empty[0]) and 0 <= empty[1] <= rest - layout.name - layout.size
    )
    about = any(abs(size - mark) <= 1 << 14 for mark in (top // 2, top))
    if nothing or (about and size > rest):
        counted = layout.counted if layout else 0
        return Header(changes=((where, min(rest + counted, top - 1).to_bytes(width, order)),))
    if size > rest + 1:  # a single missing byte is tolerated
        return Header(fault=f"cut off: {size:,} bytes of audio are stated, {rest:,} found")
    more = _at(raw, end, _HEAD)
    if more.strip(b"\0") and not _NAME.match(more) and not _NAME.match(_at(raw, place + size, 4)):
        found = f"{size:,} bytes of audio stated, the {rest - size:,} after them are not a chunk"
        return Header(fault=f"damaged: {found}")
    if more and layout in (None, _CHUNKED[b"riff"]):
        return Header(inside=(0, place + size))  # libsndfile would decode the rest as audio
    return Header(odd=size > rest)


_NAME = re.compile(rb"(?!RIFF|FORM|riff|caff)[ -~]{4}")


def _sphere(raw, head) -> Header:
    """Header of NIST SPHERE."""
    found = dict(re.findall(rb"^(sample_count|channel_count|sample_n_bytes) -i (\d+)", head, re.M))
    size = int(head[8:16]) if head[8:16].strip().isdigit() else 1024
    wanted = math.prod(map(int, found.values()))
    return _data(raw, size, wanted, (0, 8, "big"), None) if wanted and found else Header()


def _ogg(raw) -> Header:
    """Header of Ogg: ends in a page marked as last; no page ends before the previous one."""
    place, total, ended, last = 0, size_of(raw), False, 0
    while place < total and not ended:
        page = _at(raw, place, 27 + 255)
        if page[:4] != b"OggS" or len(page) < 27:
            return Header(fault=f"damaged: expected an Ogg page at byte {place:,}")
        ended, sample = bool(page[5] & 4), int.from_bytes(page[6:14], "little", signed=True)
        if 0 <= sample < last:
            return Header(fault=f"damaged: the page at byte {place:,} ends before the previous one")
        last = max(sample, last)
        place += 27 + page[26] + sum(page[27 : 27 + page[26]])
    if place > total or not ended:
        return Header(fault="cut off: the last Ogg page is incomplete or not marked as last")
    if place == total:
        return Header()
    if b"OggS" in _at(raw, place, 1 << 16):
        return Header(fault=f"another stream begins at byte {place:,}; split the file there")
    return Header(inside=(0, place))  # followed by a tag or padding


def _flac(head) -> Header:
    """Header of FLAC: hides the stated length from libFLAC, which then decodes to the end."""
    length = (1 << 36) - 1
    field = int.from_bytes(head[18:26], "big")
    hidden = (field & ~length).to_bytes(8, "big")
    frames = field & length
    return Header(stated=frames > 0, frames=frames, changes=((18, hidden),))


def _is_frame(data) -> bool:
    """Whether `data` may begin with a frame of MPEG audio."""
    return len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0


# MPEG audio, layer III: kbit/s by index, for version 1 and for 2 and 2.5; Hz by version and index.
_KBITS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_HERTZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


def _frame_size(head) -> int:
    """Size of the frame with these first four bytes; 0: not layer III, or of unspecified size."""
    if not _is_frame(head) or len(head) < 4 or head[1] >> 1 & 3 != 1:
        return 0
    version, bits, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version not in _HERTZ or bits == 15 or rate == 3:
        return 0
    kbits = (_KBITS if version == 3 else _KBITS_2)[bits]
    size = (144_000 if version == 3 else 72_000) * kbits // _HERTZ[version][rate]
    return size and size + (head[2] >> 1 & 1)  # a padding byte


def _frames_after(raw, head) -> int:
    """Number of complete frames that follow the first one."""
    place, total, count = 0, size_of(raw), 0
    while (size := _frame_size(head)) and place + size <= total:
        place, count = place + size, count + 1
        head = _at(raw, place, 4)
    return max(count - 1, 0)


def _mpeg(raw, head) -> Header:
    """Header of MPEG audio; a Xing, Info or VBRI frame is believed unless more frames follow it."""
    tag = re.search(rb"Xing|Info|VBRI", head[:40])
    if not tag:
        return Header(stated=False, endless=True)
    frames, size = tag.end() + 4, tag.end() + 8
    if tag[0] == b"VBRI":
        frames, size = tag.start() + 14, tag.start() + 10
    elif int.from_bytes(head[tag.end() : frames], "big") & 3 != 3:
        return Header(stated=False, endless=True)
    end = int.from_bytes(head[size : size + 4], "big")
    if _at(raw, end, 3) == b"TAG":
        end += 128
    more = _at(raw, end, 4)
    count = int.from_bytes(head[frames : frames + 4], "big")
    ends = not _is_frame(more) and more[:3] != b"ID3"
    if count and ends and _frames_after(raw, head) <= count + 1:  # some count this frame too
        return Header(about=count * (1_152 if head[1] & 8 else 576))  # MPEG-1, or 2 and 2.5
    return Header(stated=False, endless=True, changes=((frames, bytes(4)),))
