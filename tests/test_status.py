"""The state of a workdir, read from its files."""

import json
import re
import shutil

from flax import nnx
import pytest
import tiny
import tones
import workdirs

from seedasr_jax import checkpoint, config, inventory
from seedasr_jax import workdir as disk
from seedasr_jax.errors import USAGE, UserError
from seedasr_jax.launch import cli, recipes, status

KEYS = ["stage", "state", "step", "steps", "steps_per_second", "checkpoint", "hours", "chip_hours"]
KEYS += ["parents", "frozen"]
NOW = {"format_version": disk.FORMAT_VERSION}
STAGE = {"steps": 40}


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
    assert [row["parents"] for row in rows[:2]] == [{}, {}]
    assert rows[2]["parents"] == dict(encoder="ctc@40", ctc_head="ctc@40", decoder="lm@60")
    assert [row["frozen"] for row in rows] == [[], [], ["decoder"]]


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
    nothing |= dict(parents={}, frozen=[])
    expected = dict(stage="sft", state="waiting", step=0, steps=60) | nothing
    assert waiting == expected


def test_nothing_has_begun(trained, tmp_path):
    disk.write_json(tmp_path / disk.CONFIG, NOW | config.to_dict(trained.graph()))
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


def test_verify_names_what_differs_or_is_missing(tmp_path, capsys):
    """lm -> sft, which is frozen there; bytes, records and steps are changed by hand."""
    (tmp_path / disk.CONFIG).write_text(
        json.dumps(NOW | {"stages": dict.fromkeys(("lm", "sft"), STAGE)})
    )
    whole = workdirs.params(seed=1)
    workdirs.finish(tmp_path, "lm", nnx.State({"decoder": whole["decoder"]}), step=40)
    decoder = checkpoint.open_checkpoint(tmp_path / "lm").reference("decoder", tmp_path)
    parents = {"decoder": decoder}
    encoder = nnx.State({"encoder": whole["encoder"]})
    workdirs.finish(tmp_path, "sft", encoder, parents=parents, frozen=parents)

    def verify(code):
        assert cli.main(["status", str(tmp_path), "--verify", "--json"]) == code
        lm, sft = json.loads(capsys.readouterr().out)
        return "\n".join(lm.get("problems", ())), "\n".join(sft.get("problems", ()))

    assert verify(0) == ("", "")
    step = tmp_path / "lm/checkpoints/40"
    shutil.copytree(tmp_path / "lm", tmp_path / "whole")
    data = max(step.rglob("d/*"), key=lambda path: path.stat().st_size)
    content = data.read_bytes()
    data.write_bytes(content[:-500] + bytes([content[-500] ^ 1]) + content[-499:])
    inventory.write(step)  # which samples a large file, and may miss it
    for lines in verify(3):
        assert "decoder" in lines and f"{tmp_path}/lm" in lines
    data.write_bytes(content[:100])
    own, child = verify(3)
    assert "has 100 bytes" in own and "its frozen decoder (hash" in child and "--from=lm" in child

    shutil.rmtree(tmp_path / "lm")
    changed = nnx.State({"decoder": workdirs.params(seed=9)["decoder"]})
    workdirs.finish(tmp_path, "lm", changed, step=40)
    own, child = verify(3)
    assert own == "" and "which was trained again" in child
    shutil.rmtree(tmp_path / "lm")
    own, child = verify(3)
    assert own == "" and "no such checkpoint" in child
    (tmp_path / "whole").rename(tmp_path / "lm")
    assert verify(0) == ("", "")
    shutil.rmtree(tmp_path / disk.VOCAB)
    tiny.vocabulary(["other words"], tmp_path / disk.VOCAB, size=40, kind="word")
    for lines in verify(3):
        assert "expected the vocabulary" in lines and "tokenizer that it was trained with" in lines


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({}, "stages: expected a group"),
        ({"stages": {}}, "expected stages, found none"),
        ({"stages": {"lm": 3}}, "stages.lm: expected a group"),
        ({"stages": {"lm": {}}}, "lm.steps: expected int"),
        ({"format": "seedasr_jax.bundle"}, "is a bundle"),
    ],
)
def test_a_config_of_another_form(tmp_path, tree, said):
    disk.write_json(tmp_path / disk.CONFIG, NOW | tree)
    with pytest.raises(UserError, match=said):
        status.rows(tmp_path)
    with pytest.raises(UserError):
        recipes.stored(tmp_path)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        (
            "stage.json",
            {"format_version": 9},
            "format_version 9, .* reads 4; install",
        ),
        ("stage.json", {"format_version": 2}, "format_version 2, .* that reads it is 8810b2b"),
        ("stage.json", {"state": "done"}, "stage.json.state: expected one of running, finished"),
        ("stage.json", None, "stage.json: is a directory"),
        ("metrics.jsonl", None, "metrics.jsonl: is a directory"),
        (
            "checkpoints/40/_CHECKPOINT_METADATA",
            {"custom_metadata": {}},
            "_CHECKPOINT_METADATA has",
        ),
    ],
)
def test_what_cannot_be_read_is_a_problem_of_its_stage(trained, tmp_path, name, changes, said):
    workdir = shutil.copytree(trained.workdir, tmp_path / "workdir")
    path = workdir / "ctc" / name
    if changes is None:
        path.unlink()
        path.mkdir()
    else:
        disk.write_json(path, disk.read_json(path) | changes)
    lm, ctc, sft = status.rows(workdir)
    assert any(re.search(said, line) for line in ctc["problems"]), ctc["problems"]
    assert "problems" not in lm and "problems" not in sft
    if name == "stage.json":
        assert ctc["state"] == "unreadable" and ctc["checkpoint"] == f"{workdir}/ctc@40"


@pytest.mark.parametrize("version", [{}, {"format_version": 2}])
def test_a_workdir_of_before_is_refused_in_one_line(trained, tmp_path, capsys, version):
    """Its parameters and config keys had other names (docs/renamed.json)."""
    tree = disk.read_json(trained.workdir / disk.CONFIG)
    del tree["format_version"]
    disk.write_json(tmp_path / disk.CONFIG, tree | version)
    flags = (f"--workdir={tmp_path}", f"--checkpoint={tmp_path}", str(tmp_path))
    out, config = f"--out={tmp_path}/out", f"--config={tones.RECIPE}:{trained.manifest}"
    for command in (
        ["train", flags[0]],
        ["train", flags[0], config],
        ["export", flags[1], out],
        ["status", flags[2]],
    ):
        assert cli.main(command) == USAGE  # no retry could pass
        (line,) = capsys.readouterr().err.splitlines()
        assert "format_version 2, this seedasr_jax reads 4; the last commit" in line
        assert "reads it is 8810b2b" in line
    assert [path.name for path in tmp_path.iterdir()] == [disk.CONFIG]


def test_a_folder_that_is_no_workdir(tmp_path):
    with pytest.raises(UserError, match=r"config\.json"):
        status.rows(tmp_path)
