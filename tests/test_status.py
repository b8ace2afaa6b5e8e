"""The state of a workdir, read from its files."""

import json
import shutil

import pytest

from seedasr_jax import config
from seedasr_jax import workdir as disk
from seedasr_jax.errors import UserError
from seedasr_jax.launch import cli, status

KEYS = ["stage", "state", "step", "steps", "steps_per_second", "checkpoint", "hours", "chip_hours"]


def test_a_finished_workdir(trained, capsys):
    assert cli.main(["status", str(trained.workdir), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [list(row) for row in rows] == [KEYS] * 3
    assert [row["stage"] for row in rows] == ["lm", "ctc", "sft"]
    assert [(row["state"], row["step"], row["steps"]) for row in rows] == [
        ("finished", 60, 60),
        ("finished", 40, 40),
        ("finished", 60, 60),
    ]
    assert [row["checkpoint"] for row in rows] == [
        f"{trained.workdir}/{name}" for name in ("lm@60", "ctc@40", "sft@60")
    ]
    assert all(row["steps_per_second"] > 0 for row in rows)
    assert [row["hours"] > 0 for row in rows] == [False, True, True]
    assert all(row["chip_hours"] > 0 for row in rows)


def test_a_workdir_on_its_way(trained, tmp_path):
    workdir = shutil.copytree(trained.workdir, tmp_path / "workdir")
    shutil.rmtree(workdir / "sft")
    record = json.loads((workdir / "ctc/stage.json").read_text())
    (workdir / "ctc/stage.json").write_text(json.dumps(record | {"state": "running", "step": 20}))
    done, under_way, waiting = status.rows(workdir)
    assert done["state"] == "finished"
    assert (under_way["state"], under_way["step"]) == ("running", 20)
    assert under_way["checkpoint"] == f"{workdir}/ctc@20"
    nothing = dict(steps_per_second=None, checkpoint=None, hours=0, chip_hours=0)
    expected = dict(stage="sft", state="waiting", step=0, steps=60) | nothing
    assert waiting == expected


def test_nothing_has_begun(trained, tmp_path):
    disk.write_json(tmp_path / "config.json", config.to_dict(trained.graph()))
    assert {row["state"] for row in status.rows(tmp_path)} == {"waiting"}


def test_the_table_is_for_people(trained, capsys):
    assert cli.main(["status", str(trained.workdir)]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["stage", "state", "step"]
    assert [line.split()[:3] for line in lines] == [
        ["lm", "finished", "60/60"],
        ["ctc", "finished", "40/40"],
        ["sft", "finished", "60/60"],
    ]


def test_a_folder_that_is_no_workdir(tmp_path):
    with pytest.raises(UserError, match=r"config\.json"):
        status.rows(tmp_path)
