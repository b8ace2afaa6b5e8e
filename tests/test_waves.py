"""Audio of rows: lengths that a manifest does not state, and waves of joined rows."""

import dataclasses

import numpy as np
import pytest
import recordings

from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import manifest, waves

ROWS = recordings.rows(6)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return manifest.read(recordings.write(tmp_path_factory.mktemp("corpus"), ROWS))


def test_measured_fills_in_seconds(rows):
    row = rows[5]
    bare = dataclasses.replace(row, seconds=0.0)
    assert waves.measured(bare) == row
    assert waves.measured(dataclasses.replace(bare, offset=0.05)).seconds == pytest.approx(
        row.seconds - 0.05
    )
    gone = dataclasses.replace(bare, audio=bare.audio + ".gone")
    assert waves.measured(gone) == gone


def test_read_wave_joins_with_silence(rows):
    joined = manifest.Row("j", segments=tuple(rows[:3]), pauses=(400, 900))
    wave = waves.read_wave(joined, files.WaveCache(1 << 20))
    silence = [np.zeros(400, np.int16), np.zeros(900, np.int16)]
    one, two, three = (recordings.wave(row) for row in ROWS[:3])
    expected = np.concatenate([one, silence[0], two, silence[1], three])
    np.testing.assert_array_equal(wave, expected)
