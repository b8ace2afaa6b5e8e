"""Reading: several files at a time, before their turn, in order, each once."""

import dataclasses
import re
import threading

import pytest
import recordings

from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import index, manifest, reading, waves

FIT = index.Fit(((9.0, 99, 4),))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return manifest.read(recordings.write(tmp_path_factory.mktemp("corpus"), recordings.rows(9)))


@pytest.fixture
def begun(monkeypatch):
    """Ids of the rows whose audio was read; no file is read before another one is begun."""
    pair, found, read = threading.Barrier(2, timeout=20), [], waves.read_recording

    def recording(row, cache):
        found.append(row.id)
        pair.wait()
        return read(row, cache)

    monkeypatch.setattr(waves, "read_recording", recording)
    return found


def turns(reader, rows):
    return [reading.Turn(reader, row, (0, n)) for n, row in enumerate(rows)]


def test_rows_are_read_ahead_of_their_turn_in_order_and_once(rows, begun):
    before = threading.active_count()
    with reading.Reader(FIT, files.WaveCache(0)) as reader:
        given = iter(turns(reader, rows[:8]))
        for number, turn in enumerate(reading.ahead(given, 3)):
            wave, fault = turn.read()
            assert turn.row == rows[number] and turn.draw == (0, number) and fault is None
            assert (wave == recordings.wave(recordings.rows(9)[number])).all()
            turn.begin()  # it had its turn: nothing is read again
            assert sorted(begun)[: number + 1] == [row.id for row in rows[: number + 1]]
            assert len(begun) <= number + 4
    assert sorted(begun) == [row.id for row in rows[:8]]
    assert threading.active_count() == before


def test_a_row_is_read_on_access_if_not_before(rows):
    with reading.Reader(FIT, files.WaveCache(0)) as reader:
        last = turns(reader, rows[:3])[-1]
        wave, fault = last.read()
    assert fault is None and len(wave) == round(rows[2].seconds * files.RATE)


def test_unreadable_audio_is_a_fault_of_its_row(rows, tmp_path):
    gone = manifest.Row("gone", audio="/nowhere/gone.wav", text="one", seconds=1.0)
    silent = manifest.Row("silent", audio=rows[0].audio, line=7)
    (tmp_path / "loop").symlink_to("loop")  # unknown, as in a folder of another user
    unknown = dataclasses.replace(gone, audio=str(tmp_path / "loop/a.wav"))
    with reading.Reader(FIT, files.WaveCache(0)) as reader:
        faults = [turn.read()[1] for turn in turns(reader, [gone, silent, rows[0], unknown])]
    reasons = ["missing audio", "no text", None, "unreadable audio"]
    assert [fault and fault.reason for fault in faults] == reasons
    assert faults[1].detail == "line 7 of its manifest"
    assert re.search(r"/loop/a\.wav: too many levels of symbolic links; ", faults[3].detail)
    with reading.Reader(index.Fit(((0.0, 9, 4),)), files.WaveCache(0)) as reader:  # text alone
        (one,) = turns(reader, [gone])
        wave, fault = one.read()
    assert fault is None and wave.size == 0
