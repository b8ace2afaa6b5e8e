"""The benchmark's peer in PyTorch does the same work. Collected with `--parity` only."""

import benchmark
import pytest

pytestmark = pytest.mark.parity


def test_the_peer_is_as_large_and_learns():
    rows = benchmark.measure("--train=speech")
    for row in rows.values():
        assert row["peer"] in ("pytorch eager", "pytorch compiled")
        assert row["raw"].keys() >= {"ours", "eager", "compiled"}
    ours, *theirs = (rows["train_step"]["parameters"][k] for k in ("ours", "eager", "compiled"))
    assert all(abs(count / ours - 1) < 0.02 for count in theirs)
    step, speed = rows["train_step"], rows["audio_seconds_per_second"]
    assert step["ratio"] == pytest.approx(step["peer_value"] / step["value"])
    assert speed["ratio"] == pytest.approx(step["ratio"])
