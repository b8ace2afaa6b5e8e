"""Ten more kills at seeded instants; `--faults` runs them."""

import faults
import pytest


@pytest.fixture(scope="module")
def run_never_killed(tmp_path_factory):
    return faults.run_never_killed(tmp_path_factory.mktemp("never_killed"))


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_five_times_and_bit_identical(run_never_killed, tmp_path, seed):
    rows = faults.check(run_never_killed, tmp_path, faults.plan(seed))
    inside = [row["kind"] for row in rows if row["under_way"]]
    assert inside.count("save") >= 1
    assert inside.count("restore") >= 1
