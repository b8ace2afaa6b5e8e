"""What a folder cost, over all runs and all processes."""

import json
import subprocess
import sys
import time

import pytest

from seedasr_jax.launch.quickstart import meter


def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_runs_add_up_also_those_that_were_stopped(tmp_path):
    path = tmp_path / "spent.json"

    def stopped():
        with meter.Meter(path, install_seconds=40.0):
            burn(0.2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    first = json.loads(path.read_text())
    assert first["install_seconds"] == 40 and 0.2 <= first["cpu_seconds"] <= first["seconds"] + 0.1
    with meter.Meter(path) as spent:
        burn(0.2)
        totals = spent.totals()
    assert totals["install_seconds"] == 40
    assert totals["seconds"] >= first["seconds"] + 0.2
    assert totals["cpu_seconds"] >= first["cpu_seconds"] + 0.2
    assert totals["peak_rss_gib"] >= first["peak_rss_gib"] > 0.05


def test_memory_is_that_of_children_too(tmp_path, monkeypatch):
    monkeypatch.setattr(meter, "EVERY", 0.02)
    hold = "x = b'x' * 2**29; print(flush=True); input()"
    with meter.Meter(tmp_path / "spent.json") as spent:
        before = spent.totals()["peak_rss_gib"]
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with subprocess.Popen([sys.executable, "-c", hold], **pipes) as child:
            child.stdout.readline()
            time.sleep(0.3)
            own = meter.tree_memory_gib(child.pid)
            child.stdin.close()
        assert 0.5 <= own < 0.6
        assert meter.tree_memory_gib(child.pid) == 0  # it has ended
        peak = spent.totals()["peak_rss_gib"]
    # Peaks of the process alone may lie above what it holds now.
    assert peak >= before and peak >= 0.5
