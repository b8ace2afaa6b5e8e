"""Metrics: each step once, in order, whatever was killed; and events that TensorBoard reads."""

import json
import time

import jax.numpy as jnp
from tensorboardX.proto import event_pb2
from tensorboardX.record_writer import masked_crc32c

from seedasr_jax import workdir as disk
from seedasr_jax.train import metrics


def write(folder, first, last, resumed=None):
    """Writes the rows of some steps, from a stage that resumes."""
    with metrics.Metrics(folder, first - 1 if resumed is None else resumed, tensorboard=False) as m:
        for step in range(first, last + 1):
            m.write(step, {"loss": 1.0 / step})


def steps(folder):
    return [
        json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]


def test_rows_after_the_step_that_resumes_are_written_again(tmp_path):
    write(tmp_path, 1, 7)
    write(tmp_path, 5, 8)
    assert steps(tmp_path) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert disk.read_rows(tmp_path / "metrics.jsonl")[2]["loss"] == 1 / 3  # not a digit is lost


def test_terms_are_flat_and_the_machine_stands_apart(tmp_path):
    with metrics.Metrics(tmp_path, 0, tensorboard=False) as m:
        m.write(1, {"b": {"y": jnp.float32(0.5), "x": 1}, "a": 2.0, "host": {"speed": 3.0}})
    (row,) = disk.read_rows(tmp_path / "metrics.jsonl")
    assert row == {"step": 1, "a": 2.0, "b/x": 1.0, "b/y": 0.5, "host/speed": 3.0}


def test_a_row_is_on_disk_before_the_next_step(tmp_path):
    with metrics.Metrics(tmp_path, 0, tensorboard=False) as m:
        m.write(1, {"loss": 1.0})
        assert len(disk.read_rows(tmp_path / "metrics.jsonl")) == 1


def test_speed_counts_from_where_it_resumed(tmp_path):
    begun = time.monotonic()
    with metrics.Metrics(tmp_path, 100, tensorboard=False) as m:
        time.sleep(0.02)
        speed = m.speed(110)
        assert 10 / (time.monotonic() - begun) <= speed <= 10 / 0.02
        time.sleep(0.01)
        assert m.speed(111) <= 1 / 0.01


def events(path):
    """The scalars of an event file, read by the format's own description: length, CRC, protobuf."""
    data, found = path.read_bytes(), []
    while data:
        size = int.from_bytes(data[:8], "little")
        assert int.from_bytes(data[8:12], "little") == masked_crc32c(data[:8])
        event = event_pb2.Event.FromString(data[12 : 12 + size])
        found += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
        data = data[16 + size :]
    return found


def test_tensorboard_events(tmp_path):
    for first in (1, 3):
        with metrics.Metrics(tmp_path, first - 1, tensorboard=True) as m:
            for step in range(first, first + 2):
                m.write(step, {"loss": 0.5 * step, "host": {"speed": 2.0}})
    files = list(tmp_path.glob("events.out.tfevents.*"))
    found = sorted({event for path in files for event in events(path)})
    assert [(s, v) for s, tag, v in found if tag == "loss"] == [(n, 0.5 * n) for n in (1, 2, 3, 4)]
    assert {tag for _, tag, _ in found} == {"step", "loss", "host/speed"}


def test_a_process_that_does_not_write_keeps_the_time(tmp_path):
    with metrics.Metrics(tmp_path, 0, tensorboard=True, writes=False) as m:
        m.write(1, {"loss": 1.0})
        assert m.speed(1) > 0
    assert not list(tmp_path.iterdir())
