"""Arrays as other libraries hand them over, against the same sound as float32 [S]."""

import ml_dtypes
import numpy as np
import pytest
import soundfile
import tones

from seedasr_jax.audio import arrays, files
from seedasr_jax.errors import DataError

SPEECH = tones.wave("low mid", 7)
FLOAT = files.to_float(SPEECH)


@pytest.mark.parametrize(
    ("array", "step"),  # how coarse its type is
    [
        (SPEECH, 0),
        (FLOAT, 0),
        (FLOAT.astype(np.float64), 0),
        (FLOAT.astype(np.float16), 1e-3),
        (SPEECH.tolist(), 0),
        (FLOAT.tolist(), 0),
        (SPEECH.astype(np.int32), 0),
        (SPEECH.astype(np.int32) << 8, 0),
        (SPEECH.astype(np.int32) << 16, 0),
        (FLOAT.astype(ml_dtypes.bfloat16), 3e-3),
        (np.ma.masked_array(FLOAT), 0),
        ((SPEECH.astype(np.int32) << 16).tolist(), 0),
        ((SPEECH >> 8).astype(np.int8), 1e-2),
        ((SPEECH >> 8).astype(np.int16).__add__(128).astype(np.uint8), 1e-2),
        ((SPEECH.astype(np.int32) + 32_768).astype(np.uint16), 0),
        (FLOAT[None], 0),
        (FLOAT[:, None], 0),
        (np.stack([FLOAT, FLOAT]), 0),
        (np.stack([FLOAT, FLOAT], 1), 0),
        (np.stack([FLOAT, -FLOAT]), 0),
        (np.stack([SPEECH] * 8), 0),
    ],
)
def test_one_sound_in_many_forms(array, step):
    found = arrays.to_wave(array, files.RATE)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, FLOAT, rtol=0, atol=step + 1e-7)


@pytest.mark.parametrize("rate", [files.RATE, 16_000.0, np.int64(16_000)])
def test_rates(rate):
    assert len(arrays.to_wave(FLOAT, rate)) == len(FLOAT)
    assert len(arrays.to_wave(FLOAT, 2 * rate)) == len(FLOAT) // 2


@pytest.mark.parametrize(
    ("array", "rate", "words"),
    [
        (FLOAT, 0, "rate of 1000"),
        (FLOAT, 16, "found 16"),
        (FLOAT, -16_000, "rate"),
        (FLOAT, None, "found None"),
        (FLOAT, "16000", "found '16000'"),
        (FLOAT, 16_000.5, "rate"),
        (FLOAT, float("nan"), "rate"),
        (FLOAT, True, "rate"),
        (FLOAT, 1 << 31, "rate"),
        ("one.wav", 16_000, "transcribe_files"),
        (bytearray(8), 16_000, "transcribe_files"),
        (None, 16_000, r"objects \(NoneType\)"),
        ({"array": FLOAT, "sampling_rate": 16_000}, 16_000, r"objects \(dict\)"),
        (["a"], 16_000, "found an array of <U1"),
        ([[1.0], [1.0, 2.0]], 16_000, "expected an array"),
        (FLOAT[None, None], 16_000, "one wave at a time"),
        (np.zeros((0,)), 16_000, "no samples"),
        (np.zeros((0, 2)), 16_000, "no samples"),
        (np.zeros((2, 2)), 16_000, r"found \[2, 2\]"),
        (np.zeros((12, 16_000)), 16_000, r"found \[12, 16000\]"),
        (np.float32(1), 16_000, r"found \[\]"),
        (np.ma.masked_greater(FLOAT, 0.1), 16_000, r"masked samples; fill them"),
        (bytes(99_999), 16_000, r"found .{,60}; transcribe_files"),
        (FLOAT > 0, 16_000, "array of bool"),
        (FLOAT.astype(complex), 16_000, "complex"),
        (np.append(FLOAT, np.nan), 16_000, "NaN or infinite"),
        (np.append(FLOAT, np.inf), 16_000, "NaN or infinite"),
        (SPEECH.astype(np.float32), 16_000, "divided by 32768"),
        (40 * FLOAT / np.abs(FLOAT).max(), 16_000, "from -1 to 1, found many beyond, up to 40"),
        (1e29 * FLOAT, 16_000, "from -1 to 1"),
    ],
)
def test_what_is_no_sound_is_refused_in_one_line(array, rate, words):
    with pytest.raises(DataError, match=words) as raised:
        arrays.to_wave(array, rate)
    assert "\n" not in str(raised.value)


def test_a_file_of_floats_is_what_the_array_is(tmp_path):
    path = tmp_path / "x.wav"
    glitch = FLOAT.copy()
    glitch[1_000] = 1e29
    for wave in (FLOAT, 1.5 * FLOAT / np.abs(FLOAT).max(), 6 * FLOAT, glitch):
        soundfile.write(path, wave, files.RATE, subtype="FLOAT")
        found, expected = files.read(path), arrays.to_wave(wave, files.RATE)
        np.testing.assert_array_equal(found, files.to_int16(expected))
        if wave is not glitch:
            np.testing.assert_allclose(expected / expected.max(), FLOAT / FLOAT.max(), atol=1e-6)
    for wave in (SPEECH.astype(np.float32), 40 * FLOAT / np.abs(FLOAT).max()):
        soundfile.write(path, wave, files.RATE, subtype="FLOAT")
        with pytest.raises(DataError, match="from -1 to 1"):
            files.read(path)
