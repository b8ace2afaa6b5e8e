"""SIGKILL at an instant of training, then the same command: bit for bit the run never killed."""

import faults
from faults import Kill
import numpy as np
import pytest
import workdirs


@pytest.fixture(scope="module")
def run_never_killed(tmp_path_factory):
    """Of the stage that is killed here; test_more_faults.py has the others."""
    return faults.run_never_killed(tmp_path_factory.mktemp("never_killed"), only="ctc")


def test_training_moves_what_is_compared(run_never_killed):
    folder = run_never_killed.workdir / "ctc"
    before, after = (workdirs.everything(folder, faults.STEPS - n) for n in (faults.SAVE_EVERY, 0))
    encoder = [name for name in before if name.startswith("params.encoder")]
    assert len(encoder) > 10
    assert all(before[name] != after[name] for name in encoder)


def test_killed_three_times_and_bit_identical(run_never_killed, tmp_path):
    rng = np.random.default_rng(7)
    kills = [
        Kill("save", "ctc", 9, float(rng.uniform(0, 15))),
        Kill("evaluate", "ctc", 12, float(rng.uniform(150, 200))),  # the step is on disk by then
        Kill("restore", "ctc", 0, float(rng.uniform(0, 15))),
    ]
    _, scoring, _ = faults.check(run_never_killed, tmp_path, kills)
    assert scoring["under_way"]
