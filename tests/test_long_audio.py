"""Benchmark of long audio: the rows of a recording, and its wave."""

import benchmark
import numpy as np
import pytest

from seedasr_jax.audio import files
from seedasr_jax.data_pipelines.manifest import Row


@pytest.fixture
def long_audio(monkeypatch):
    monkeypatch.syspath_prepend(benchmark.BENCHMARKS)
    import long_audio

    return long_audio


def test_recordings_reach_their_seconds_and_hold_each_row_once(long_audio):
    rows = [Row(id=str(n), audio="a", text="x", seconds=1.0) for n in range(7)]
    names = [[row.id for row in group] for group in long_audio.recordings(rows, 2.5, 0.3)]
    assert names == [["0", "1", "2"], ["3", "4", "5"]]  # 2.3 s are too few; what is left is none
    pairs = list(long_audio.recordings(rows, long_audio.PAIRS, 0.3))
    assert [len(group) for group in pairs] == [2, 2, 2]


def test_a_recording_longer_than_all_rows_takes_them_again(long_audio):
    rows = [Row(id=str(n), audio="a", text="x", seconds=1.0) for n in range(2)]
    (group,) = long_audio.recordings(rows, 5.0, 0.5)
    assert [row.id for row in group] == ["0", "1", "0", "1"]  # 4 * 1.0 + 3 * 0.5


def test_pauses_stand_between_and_silence_around(long_audio):
    ones = np.ones(3, np.int16)
    wave = long_audio.joined([ones, ones], 2 / files.RATE, (1 / files.RATE, 4 / files.RATE))
    assert wave.tolist() == [0, 1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 0, 0]
