"""Faults and lengths of containers, compared with libsndfile decoding the complete file."""

import io

import numpy as np
import pytest
import soundfile

from seedasr_jax.audio import files
from seedasr_jax.errors import DataError

RATE = 16_000
NOISE = 0.3 * np.random.default_rng(0).uniform(-1, 1, 12_000)
SOUND = np.concatenate([NOISE[:9_000], np.zeros(16_000), NOISE[9_000:]])
# No length is stated in PVF and IRCAM, none is looked for in PAF and MAT5.
UNSTATED = ("IRCAM", "MAT5", "PAF", "PVF", "RAW", "SD2", "SDS", "WVE", "XI", "HTK")


def encoded(container, subtype, sound=SOUND, rate=RATE) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, sound, rate, format=container, subtype=subtype)
    return out.getvalue()


def put(folder, data) -> str:
    path = folder / "x.audio"
    path.write_bytes(data)
    return str(path)


def agreed(folder, data) -> int:
    """Samples at 16 kHz, of which `seconds` and `read` of a path and of an open file agree."""
    path = put(folder, data)
    wave = files.read(path)
    np.testing.assert_array_equal(files.read(io.BytesIO(data)), wave)
    assert len(wave) == pytest.approx(files.seconds(path) * RATE, abs=1)
    np.testing.assert_array_equal(files.read(path, duration=files.seconds(path)), wave)
    return len(wave)


def replaced(data, place, new) -> bytes:
    return data[:place] + new + data[place + len(new) :]


@pytest.mark.parametrize("container", sorted(set(soundfile.available_formats()) - {*UNSTATED}))
def test_every_container_is_read_whole_and_refused_when_cut(tmp_path, container):
    subtypes = set(soundfile.available_subtypes(container))
    for subtype in sorted(subtypes - {"DWVW_12", "MPEG_LAYER_I", "MPEG_LAYER_II"}):
        if (container, subtype) == ("WAV", "MPEG_LAYER_III"):
            continue
        data = encoded(container, subtype)
        # Blocks of a codec are filled up.
        assert len(SOUND) - 300 <= agreed(tmp_path, data) <= len(SOUND) + 1_200, subtype
        for share in (0.4, 0.9):
            with pytest.raises(DataError, match=r"x\.audio"):
                files.read(put(tmp_path, data[: round(share * len(data))]))
            with pytest.raises(DataError):
                files.read(io.BytesIO(data[: round(share * len(data))]))


@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST"])
def test_a_last_odd_byte_may_be_missing(tmp_path, container):
    data = encoded(container, "PCM_16")
    assert agreed(tmp_path, data[:-1]) >= len(SOUND) - 1


def test_a_chunk_behind_the_sound_is_none_of_it(tmp_path):
    data = encoded("WAV", "PCM_16")
    assert agreed(tmp_path, data + b"LIST\x04\x00\x00\x00INFO") == len(SOUND)
    with pytest.raises(DataError, match="after them are not a chunk"):
        files.read(put(tmp_path, replaced(data, 40, (4_000).to_bytes(4, "little"))))
    with pytest.raises(DataError, match=r"x\.audio"):
        files.read(put(tmp_path, data + data))


@pytest.mark.parametrize(
    ("container", "changes"),
    [
        ("WAV", {4: b"\xff" * 4, 40: b"\xff" * 4}),  # ffmpeg
        ("WAV", {4: bytes(4), 40: bytes(4)}),
        ("WAV", {4: b"\x24\0\0\0", 40: bytes(4)}),  # a recorder that died
        ("WAV", {4: b"\x24\xf0\xff\x7f", 40: b"\x00\xf0\xff\x7f"}),  # SoX
        ("RF64", {20: bytes(24)}),
        ("W64", {16: b"\xff" * 8}),
        ("AU", {8: b"\xff" * 4}),
        ("AU", {8: bytes(4)}),
    ],
)
def test_a_header_written_before_its_sound(tmp_path, container, changes):
    data = encoded(container, "PCM_16")
    for place, new in changes.items():
        data = replaced(data, place, new)
    if container == "W64":
        place = data.index(b"data\xf3\xac") + 16
        data = replaced(data, place, b"\xff" * 7 + b"\x7f")
    assert agreed(tmp_path, data) == len(SOUND)


@pytest.mark.parametrize("total", [0, 8_000, 60_000])
def test_flac_of_another_length_than_stated(tmp_path, total):
    data = encoded("FLAC", "PCM_16")
    field = int.from_bytes(data[18:26], "big") >> 36 << 36
    data = replaced(data, 18, (field | total).to_bytes(8, "big"))
    if not total:
        assert agreed(tmp_path, data) == len(SOUND)
        part = files.read(put(tmp_path, data), offset=0.25, duration=0.5)
        np.testing.assert_array_equal(part, files.read(put(tmp_path, data))[4_000:12_000])
        return
    for duration in (None, total / RATE):
        with pytest.raises(DataError, match="header states"):
            files.read(put(tmp_path, data), duration=duration)


ID3 = b"ID3\x04\0\0\0\0\x02\0" + bytes(256)  # 256 bytes, written in sevens of bits
TAG = b"TAG" + bytes(125)


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("WAV", "GSM610"), ("WAV", "G721_32"), ("AIFF", "PCM_16"), ("OGG", "OPUS"), ("MP3", None)],
)
def test_a_tag_in_front_hides_nothing(tmp_path, container, subtype):
    data = encoded(container, subtype, rate=8_000)
    assert agreed(tmp_path, ID3 + data) == agreed(tmp_path, data)
    with pytest.raises(DataError):
        files.read(io.BytesIO(ID3 + data[: len(data) // 2]))


@pytest.mark.parametrize("container", ["FLAC", "OGG", "MP3", "W64", "NIST"])
@pytest.mark.parametrize("more", [bytes(9_000), TAG], ids=["padding", "tag"])
def test_what_stands_behind_the_sound_is_none_of_it(tmp_path, container, more):
    data = encoded(container, None)
    if container == "W64":
        more = b"abcd" + bytes(12) + (8 + len(more) + 16).to_bytes(8, "little") + more
    if container == "NIST":
        more = bytes(9_000)
    assert agreed(tmp_path, data + more) == agreed(tmp_path, data)


def test_what_a_file_is_called_says_nothing(tmp_path):
    for name in ("x.au", "x.mp3", "x.gsm", "x.vox", "x.ul"):
        (tmp_path / name).write_bytes(bytes(range(256)) * 40)
        with pytest.raises(DataError, match="not a readable audio file"):
            files.seconds(tmp_path / name)


def test_mp3_that_ends_before_its_sound_is_refused():  # libsndfile would end the process
    data = encoded("MP3", None)
    for end in (0, 12, 24, 287, 300):
        with pytest.raises(DataError, match="damaged or cut off" if end else "it is empty"):
            files.read(io.BytesIO(data[:end]))


def chunk(name, body) -> bytes:
    return name + len(body).to_bytes(4, "little") + body + bytes(len(body) % 2)


def test_mpeg_audio_in_wav(tmp_path):
    data = encoded("MP3", None)
    form = b"\x55\0\1\0" + RATE.to_bytes(4, "little") + (8_000).to_bytes(4, "little") + b"\1\0\0\0"
    body = b"WAVE" + chunk(b"fmt ", form + bytes(14)) + chunk(b"data", data)
    wav = chunk(b"RIFF", body + chunk(b"LIST", b"INFO"))
    assert agreed(tmp_path, wav) == agreed(tmp_path, data)
    with pytest.raises(DataError, match="cut off"):
        files.read(io.BytesIO(wav[: len(wav) // 2]))


def test_contradictions_of_a_header(tmp_path):
    with pytest.raises(DataError, match="5 channels of 16 bits"):
        files.read(io.BytesIO(replaced(encoded("WAV", "PCM_16"), 22, b"\5")))
    with pytest.raises(DataError, match="first frame states"):
        files.read(io.BytesIO(replaced(encoded("MP3", None, rate=44_100), 6, b"\xa6")))
    with pytest.raises(DataError, match="last byte of its ALAC"):
        files.read(io.BytesIO(encoded("CAF", "ALAC_16")[:-1]))


@pytest.mark.parametrize("subtype", ["IMA_ADPCM", "MS_ADPCM", "GSM610", "NMS_ADPCM_32"])
def test_a_last_block_that_is_incomplete_is_no_silent_loss(tmp_path, subtype):
    data = encoded("WAV", subtype, rate=8_000)
    place = data.index(b"data")
    size = int.from_bytes(data[place + 4 : place + 8], "little") - 30
    cut = replaced(data, place + 4, size.to_bytes(4, "little"))[: place + 8 + size]
    with pytest.raises(DataError, match=r"cut off: its last block of .* bytes; convert it again"):
        files.read(put(tmp_path, cut))
    assert len(files.read(put(tmp_path, cut), duration=0.5)) == 8_000  # which is all there
    with pytest.raises(DataError, match="last block"):  # whatever a row says
        files.read(put(tmp_path, cut), duration=len(SOUND) / 8_000 + 0.05)


def _frames(data):
    """Starts of the MPEG frames (MPEG-2 layer III at 16 kHz) of a file."""
    rates = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
    place = 0
    while place + 4 <= len(data):
        yield place
        place += 72_000 * rates[data[place + 2] >> 4] // RATE + (data[place + 2] >> 1 & 1)


def test_mp3_without_its_length_or_with_another_behind_it(tmp_path):
    quiet_first = np.concatenate([np.zeros(RATE), SOUND, SOUND])
    for sound in (SOUND, quiet_first):  # the first frame misleads both ways
        out = io.BytesIO()
        soundfile.write(
            out, sound, RATE, format="MP3", bitrate_mode="VARIABLE", compression_level=0.5
        )
        data = out.getvalue()
        assert agreed(tmp_path, data) == len(sound)
        first, second, *rest = _frames(data)
        assert b"Xing" in data[first:second]
        frames = 576 * (len(rest) + 1)
        assert agreed(tmp_path, data[second:]) == frames >= len(sound)
        tag = b"TAG" + bytes(125)
        assert agreed(tmp_path, data + tag) == len(sound)
        for together in (data + data, data + tag + data):
            assert agreed(tmp_path, together) >= 2 * len(sound)
        for count in (1, len(rest) // 2, len(rest) - 2):  # of the frames that are there
            stated = replaced(data, data.index(b"Xing") + 8, count.to_bytes(4, "big"))
            assert agreed(tmp_path, stated) == frames
        stated = replaced(data, data.index(b"Xing") + 8, b"\x40\0\0\0")
        with pytest.raises(DataError, match=r"states \d+ s in"):
            files.seconds(put(tmp_path, stated))
        with pytest.raises(DataError, match="cut off"):
            files.read(put(tmp_path, data[: len(data) // 2]))


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_that_ends_early_or_goes_on(tmp_path, subtype):
    data = encoded("OGG", subtype)
    assert agreed(tmp_path, data) == len(SOUND)
    last = data.rindex(b"OggS")
    for cut in (data[:last], data[:-5]):
        with pytest.raises(DataError, match="cut off"):
            files.read(put(tmp_path, cut))
    with pytest.raises(DataError, match="another stream"):
        files.read(put(tmp_path, data + data))
    long = encoded("OGG", subtype, np.tile(SOUND, 4))
    last = long.rindex(b"OggS")
    with pytest.raises(DataError, match="ends before the previous one"):
        files.read(put(tmp_path, replaced(long, last + 6, (5_000).to_bytes(8, "little"))))


def test_a_stretch_of_what_cannot_seek(tmp_path):
    path = put(tmp_path, encoded("WAV", "GSM610", rate=8_000))
    whole = files.read(path)
    part = files.read(path, offset=0.5, duration=0.5)
    assert np.corrcoef(part[100:-100], whole[8_000:16_000][100:-100])[0, 1] > 0.999


def test_rates_that_are_none(tmp_path):
    data = replaced(encoded("WAV", "PCM_16"), 24, (16).to_bytes(4, "little"))
    with pytest.raises(DataError, match=r"x\.audio: expected a rate of 1000 .* found 16"):
        files.read(put(tmp_path, data))
