"""audio/files against scipy, NumPy and hostile files."""

import concurrent.futures

import numpy as np
import pytest
import scipy.signal
import soundfile

from seedasr_jax import errors
from seedasr_jax.audio import files


def noise(samples, seed=0):
    return (np.random.default_rng(seed).standard_normal(samples) * 3000).astype(np.int16)


def tone(hertz, rate, seconds=1.0):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype("f4")


def strongest(wave):
    return np.argmax(np.abs(np.fft.rfft(wave * np.hanning(len(wave))))) * files.RATE / len(wave)


@pytest.mark.parametrize("extension", ["wav", "flac"])
def test_round_trip_is_exact_and_deterministic(tmp_path, extension):
    wave = np.concatenate([noise(5_000), np.array([-32768, 32767, 0, -1], np.int16)])
    for name in ("a", "b"):
        files.write(tmp_path / f"{name}.{extension}", wave, files.RATE)
    found = files.read(tmp_path / f"a.{extension}")
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, wave)
    assert (tmp_path / f"a.{extension}").read_bytes() == (tmp_path / f"b.{extension}").read_bytes()


def test_int16_and_float_are_inverse_on_every_value():
    every = np.arange(-32768, 32768).astype(np.int16)
    wave = files.to_float(every)
    assert wave.dtype == np.float32 and wave.min() == -1 and wave.max() < 1
    np.testing.assert_array_equal(files.to_int16(wave), every)
    np.testing.assert_array_equal(files.to_int16(np.array([1.5, -1.5])), [32767, -32768])


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_resampling_keeps_a_tone_and_agrees_with_scipy(rate):
    found = files.resample(tone(1_000, rate), rate)
    assert found.dtype == np.float32 and len(found) == files.RATE
    assert abs(strongest(found) - 1_000) <= 1
    assert abs(np.sqrt(np.mean(np.square(found[1_000:-1_000]))) - 0.5 / np.sqrt(2)) < 1e-3
    common = np.gcd(rate, files.RATE)
    expected = scipy.signal.resample_poly(tone(1_000, rate), files.RATE // common, rate // common)
    np.testing.assert_allclose(found[500:-500], expected[500:-500], atol=3e-3)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 32_000, 44_100, 48_000])
def test_resampled_length_is_the_nearest(rate):
    for samples in (1, 2, 3, 160, 999, 12_345, 100_001):
        expected = (2 * samples * files.RATE + rate) // (2 * rate)
        assert len(files.resample(np.zeros(samples, np.float32), rate)) == expected


def test_what_lies_above_half_the_rate_does_not_fold_back():
    assert np.abs(files.resample(tone(11_000, 48_000), 48_000)[200:-200]).max() < 1e-3


def test_channels_are_averaged_then_resampled(tmp_path):
    left, right = tone(500, 44_100), tone(3_000, 44_100)
    both = np.stack([left, right], axis=1)
    expected = files.resample((left + right) / 2, 44_100)
    np.testing.assert_allclose(files.resample(both, 44_100), expected, atol=1e-6)
    for reversed_ in (-left, -0.9 * left):  # the average would be silence
        opposed = np.stack([left, reversed_], axis=1)
        alone = files.resample(left, 44_100)
        np.testing.assert_array_equal(files.resample(opposed, 44_100), alone)
    single = np.stack([np.zeros_like(left), left], axis=1)
    np.testing.assert_allclose(files.resample(single, 44_100), alone / 2, atol=1e-6)
    soundfile.write(tmp_path / "stereo.wav", both, 44_100, subtype="FLOAT")
    found = files.to_float(files.read(tmp_path / "stereo.wav"))
    np.testing.assert_allclose(found, expected, atol=1 / 32768)


def test_other_sample_formats_are_rounded_and_clipped(tmp_path):
    wave = np.array([0.0, 0.25, -0.25, 2.0, -1e29, 1 / 65536 * 3] + [0.5] * 400)
    for subtype in ("FLOAT", "DOUBLE"):
        soundfile.write(tmp_path / "x.wav", wave, files.RATE, subtype=subtype)
        expected = [0, 8192, -8192, 32767, -32768, 2]  # 1.5 goes to the even neighbour
        np.testing.assert_array_equal(files.read(tmp_path / "x.wav")[:6], expected)
    soundfile.write(tmp_path / "x.wav", wave[:3], files.RATE, subtype="PCM_24")
    np.testing.assert_array_equal(files.read(tmp_path / "x.wav"), [0, 8192, -8192])


def test_a_sound_of_which_nothing_is_left_is_refused(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.full(1, 0.5), 48_000)  # a third of a sample
    with pytest.raises(errors.DataError, match=r"x\.wav: contains 0\.000 s"):
        files.read(tmp_path / "x.wav")
    twice = tone(440, files.RATE) / 32_768
    soundfile.write(tmp_path / "x.wav", twice, files.RATE, subtype="FLOAT")
    with pytest.raises(errors.DataError, match=r"x\.wav: .*-1 to 1, found a peak of 2e-05; scale"):
        files.read(tmp_path / "x.wav")
    soundfile.write(tmp_path / "x.wav", 0 * twice, files.RATE, subtype="FLOAT")
    assert not files.read(tmp_path / "x.wav").any()  # silence is no mistake


@pytest.mark.parametrize("extension", ["wav", "flac"])
def test_a_stretch_is_a_slice_and_nothing_else_is_decoded(tmp_path, extension, monkeypatch):
    wave, path = noise(10 * files.RATE), tmp_path / f"x.{extension}"
    files.write(path, wave, files.RATE)
    decoded = []
    original = soundfile.SoundFile.read

    def counted(self, frames=-1, *args, **kwargs):
        decoded.append(frames)
        return original(self, frames, *args, **kwargs)

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    for start, samples in ((0, 1), (1, 1_600), (77_777, 12_345), (159_999, 1)):
        found = files.read(path, offset=start / files.RATE, duration=samples / files.RATE)
        np.testing.assert_array_equal(found, wave[start : start + samples])
    assert decoded == [1, 1_600, 12_345, 1, 1]  # at the end one more: nothing may follow
    np.testing.assert_array_equal(files.read(path, offset=9.5), wave[-8_000:])


def test_a_stretch_of_another_rate_starts_where_it_should(tmp_path):
    wave = files.to_int16(np.concatenate([tone(400, 8_000), tone(2_000, 8_000)]))
    files.write(tmp_path / "x.wav", wave, 8_000)
    found = files.read(tmp_path / "x.wav", offset=1.0, duration=0.5)
    assert len(found) == files.RATE // 2
    assert abs(strongest(found) - 2_000) <= 2


def test_a_duration_may_be_rounded_up_but_not_invented(tmp_path):
    path = tmp_path / "x.wav"
    files.write(path, noise(files.RATE), files.RATE)
    for duration in (1.01, 1.099):
        assert len(files.read(path, duration=duration)) == files.RATE
    with pytest.raises(errors.DataError, match=r"x\.wav.*1\.000 s.*expected 1\.150 s.*remove it"):
        files.read(path, duration=1.15)
    with pytest.raises(errors.DataError, match=r"1\.000 s.* from 1\.000 s on; correct .* start$"):
        files.read(path, offset=1.0)


@pytest.mark.parametrize(
    "offset, duration",
    [(-0.1, 1), (0, 0), (0, -1), (float("nan"), 1), (0, float("inf")), (5, None)],
)
def test_impossible_stretches(tmp_path, offset, duration):
    files.write(tmp_path / "x.wav", noise(files.RATE), files.RATE)
    with pytest.raises(errors.DataError, match=r"x\.wav"):
        files.read(tmp_path / "x.wav", offset=offset, duration=duration)


def _bad(tmp_path, kind):
    path = tmp_path / f"{kind}.wav"
    if kind == "text":
        path.write_text("this is no audio\n" * 100)
    elif kind == "nothing":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    elif kind == "no_samples":
        files.write(path, noise(0), files.RATE)
    elif kind == "not_a_number":
        soundfile.write(path, np.array([0.0, np.nan, 0.1]), files.RATE, subtype="FLOAT")
    elif kind == "truncated_flac":
        path = path.with_suffix(".flac")
        files.write(path, noise(3 * files.RATE), files.RATE)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "lying_flac":
        path = path.with_suffix(".flac")
        files.write(path, noise(files.RATE), files.RATE)
        data = bytearray(path.read_bytes())
        data[21] |= 0x0F  # the header's count of samples, 36 bits
        data[22:26] = b"\xff" * 4
        path.write_bytes(data)
    elif kind == "raw":
        path = path.with_suffix(".raw")
        path.write_bytes(noise(100).tobytes())
    elif kind == "long_name":
        path = tmp_path / ("x" * 5_000)
    return path


@pytest.mark.parametrize(
    "kind",
    [
        *("missing", "text", "nothing", "folder", "no_samples", "not_a_number", "truncated_flac"),
        *("lying_flac", "raw", "long_name"),
    ],
)
def test_bad_files_are_named(tmp_path, kind):
    path = _bad(tmp_path, kind)
    with pytest.raises(errors.DataError) as caught:
        files.read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_name_in_another_normal_form_is_the_same_file(tmp_path):
    composed, parted = "caf\u00e9 \u00fc.wav", "cafe\u0301 u\u0308.wav"
    files.write(tmp_path / parted, noise(100), files.RATE)
    for name in (composed, parted, "caf\u00e9 u\u0308.wav"):
        assert len(files.read(tmp_path / name)) == 100
    (tmp_path / "a").mkdir()
    files.write(tmp_path / "a/b.wav", noise(200), files.RATE)
    with pytest.raises(errors.DataError, match=r"Did you mean .*a/b\.wav"):
        files.read(f"{tmp_path}/a\\b.wav")
    with pytest.raises(errors.DataError, match="~ is not expanded"):
        files.read(tmp_path / "~/b.wav")
    files.write(tmp_path / " d.wav", noise(300), files.RATE)
    assert len(files.read(tmp_path / " d.wav")) == 300
    assert len(files.read(tmp_path / "a/b.wav ")) == 200  # as tables have them
    with pytest.raises(errors.DataError, match=r"Did you mean .*/b\.wav"):
        files.read(tmp_path / "a/b.WAV")
    (tmp_path / "c.wav").symlink_to("gone.wav")
    with pytest.raises(errors.DataError, match=r"a broken link to gone\.wav"):
        files.read(tmp_path / "c.wav")


def test_a_truncated_wav_is_shorter_than_its_row(tmp_path):
    path = tmp_path / "x.wav"
    files.write(path, noise(2 * files.RATE), files.RATE)
    path.write_bytes(path.read_bytes()[:40_000])
    with pytest.raises(errors.DataError, match=r"x\.wav: contains 1\.249 s.*cut off: 64,000 bytes"):
        files.read(path, duration=2.0)
    assert len(files.read(path, duration=1.0)) == files.RATE  # which is all there


def test_write_refuses_what_it_would_change(tmp_path):
    with pytest.raises(errors.DataError, match=r"\.wav or \.flac"):
        files.write(tmp_path / "x.mp3", noise(10), files.RATE)
    with pytest.raises(errors.DataError, match="float32"):
        files.write(tmp_path / "x.wav", tone(100, files.RATE), files.RATE)
    with pytest.raises(errors.DataError, match=r"\(5, 2\)"):
        files.write(tmp_path / "x.wav", noise(10).reshape(5, 2), files.RATE)


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """A 10 s file, and the list of stretches that were decoded."""
    files.write(tmp_path / "x.flac", noise(10 * files.RATE), files.RATE)
    decoded, original = [], files.read

    def counted(path, *, offset=0.0, duration=None):
        decoded.append(offset)
        return original(path, offset=offset, duration=duration)

    monkeypatch.setattr(files, "read", counted)
    return tmp_path / "x.flac", decoded


def test_cache_gives_what_read_gives_and_decodes_once(corpus):
    path, decoded = corpus
    cache = files.WaveCache(1 << 20)
    first = cache.read(path, 2.0, 0.5)
    np.testing.assert_array_equal(first, files.read(path, offset=2.0, duration=0.5))
    del decoded[:]
    assert cache.read(str(path), 2.0, 0.5) is first and not decoded
    assert len(cache.read(path, 2.0, 0.25)) == files.RATE // 4  # another stretch is another entry
    with pytest.raises(ValueError):
        first[0] = 1  # shared: nobody may change it


def test_cache_forgets_the_least_recently_used(corpus):
    path, decoded = corpus
    second = 2 * files.RATE  # bytes
    cache = files.WaveCache(3 * second)
    for offset in (0, 1, 2, 0, 3):  # 3 pushes out 1: 0 was used since
        cache.read(path, float(offset), 1.0)
        assert cache.used_bytes <= cache.budget_bytes
    assert decoded == [0, 1, 2, 3]
    for offset in (0, 2, 3):
        cache.read(path, float(offset), 1.0)
    assert decoded == [0, 1, 2, 3]
    cache.read(path, 1.0, 1.0)
    assert decoded == [0, 1, 2, 3, 1]
    cache.read(path, 0.0, 4.0)  # larger than the budget: passed through, and nothing is pushed out
    cache.read(path, 1.0, 1.0)
    assert decoded == [0, 1, 2, 3, 1, 0] and cache.used_bytes == 3 * second


def test_cache_remembers_no_error(corpus, tmp_path):
    cache = files.WaveCache(1 << 20)
    with pytest.raises(errors.DataError):
        cache.read(tmp_path / "late.wav")
    files.write(tmp_path / "late.wav", noise(100), files.RATE)
    np.testing.assert_array_equal(cache.read(tmp_path / "late.wav"), noise(100))


def test_cache_is_safe_to_share(corpus):
    path, _ = corpus
    whole, cache = files.read(path), files.WaveCache(40_000)
    starts = np.random.default_rng(1).integers(0, 20, 2_000) * 3_200

    def same(start):
        wave = cache.read(path, start / files.RATE, 0.2)
        return np.array_equal(wave, whole[start : start + 3_200])

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(same, starts.tolist()))
    held = sum(wave.nbytes for wave in cache._waves.values())
    assert held == cache.used_bytes <= cache.budget_bytes
