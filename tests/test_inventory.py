"""What a crash or a copy leaves of a checkpoint is reported, and the step before it taken."""

import json
import re
import shutil

import pytest
import workdirs

from seedasr_jax import checkpoint, inventory
from seedasr_jax import workdir as disk
from seedasr_jax.errors import UserError
from seedasr_jax.launch import cli, run, status
from seedasr_jax.workdir import read_rows


def test_a_folder_is_whole_or_what_is_wrong_is_named(tmp_path):
    folder = tmp_path / "s"
    (folder / "d").mkdir(parents=True)
    files = {"d/large": bytes(range(256)) * 4096, "small": b"abc", "empty": b""}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    assert "never finished" in inventory.damage(folder)
    inventory.write(folder)
    assert inventory.damage(folder) == ""
    (folder / ".DS_Store").write_bytes(b"of a copy")
    assert inventory.damage(folder) == ""
    large = files["d/large"]
    for name, content, said in (
        ("d/large", large[:-1], f"d/large has {len(large) - 1} bytes, expected {len(large)}"),
        ("d/large", b"", "d/large has 0 bytes"),
        ("d/large", bytes(len(large)), "d/large has another content"),
        ("d/large", large[: len(large) // 2] + bytes(len(large) // 2), "another content"),
        ("d/large", large[:-4] + bytes(4), "another content"),
        ("small", b"\0\0\0", "small has another content"),
        ("empty", b"x", "empty has 1 bytes, expected 0"),
        (disk.INVENTORY, b"", f"{disk.INVENTORY}: expected a JSON object"),
        (disk.INVENTORY, b'{"small": 3}', "no size and hash of small"),
        (disk.INVENTORY, b"{}", "names no file"),
    ):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(content)
        assert said in inventory.damage(folder), name
        (folder / name).write_bytes(whole)
    (folder / "small").unlink()
    assert "small is missing" in inventory.damage(folder)


def test_steps_are_folders_as_they_were_written(tmp_path):
    writer = checkpoint.Writer(tmp_path, keep=1)
    writer.save(3, workdirs.state(), {"record": {"step": 3}})
    writer.wait()
    steps = tmp_path / "checkpoints"
    for name in ("\u00b2", "\u0663\u0660", "03", "3 copy", "-3"):
        (steps / name).mkdir()
    assert inventory.steps(tmp_path) == [3]
    shutil.copytree(steps / "3", steps / "5")
    newest, lines = inventory.newest(tmp_path)
    assert newest == 3 and lines == [f"{steps / '5'} is damaged: it is a copy of step 3"]


@pytest.mark.usefixtures("one_device")
def test_the_step_before_a_damaged_one_is_taken_by_all(trained, tmp_path, capsys, monkeypatch):
    workdir = shutil.copytree(trained.workdir, tmp_path / "workdir")
    step = workdir / "ctc/checkpoints/40"
    for path in step.rglob("d/*"):
        path.write_bytes(bytes(path.stat().st_size))
    (workdir / "ctc/checkpoints/999").mkdir()
    opened = checkpoint.open_checkpoint(workdir / "ctc")
    assert opened.step == 20 and opened.load("ctc_head")
    said = capsys.readouterr().err
    assert f"{step} is damaged: its file state/" in said
    assert "999 is damaged: it has no inventory.json" in said
    with pytest.raises(UserError, match=r"ctc@40 is damaged: .*; name another step"):
        checkpoint.open_checkpoint(workdir / "ctc@40")
    row = status.rows(workdir)[1]
    assert row["checkpoint"].endswith("ctc@20") and len(row["problems"]) == 3
    assert cli.main(["status", str(workdir)]) == 0
    assert f"ctc: {step} is damaged" in capsys.readouterr().out

    looked, look = [], inventory._damage
    monkeypatch.setattr(inventory, "_damage", lambda path: looked.append(str(path)) or look(path))
    assert run.train(None, workdir) == 0
    assert len(looked) == len(set(looked)) > 3  # of all stages, each once
    said = capsys.readouterr().err
    assert f"ctc: {step} is damaged" in said and "ctc: resumed at step 20" in said
    for name in ("metrics.jsonl", "stage.json"):
        assert (workdir / "ctc" / name).exists()
    losses = [
        [(row["step"], row.get("loss")) for row in read_rows(folder / "ctc/metrics.jsonl")]
        for folder in (workdir, trained.workdir)
    ]
    assert losses[0] == losses[1]
    before, after = (checkpoint.read(folder / "ctc") for folder in (trained.workdir, workdir))
    assert (after.hashes, after.hours) == (before.hashes, before.hours)
    assert {path.name for path in (workdir / "ctc/checkpoints").iterdir()} >= {"20", "40"}
    assert status.rows(workdir)[1].get("problems") is None


def test_a_missing_last_step_is_reported(trained, tmp_path, capsys):
    workdir = shutil.copytree(trained.workdir, tmp_path / "workdir")
    shutil.rmtree(workdir / "lm/checkpoints")
    capsys.readouterr()
    assert cli.main(["train", f"--workdir={workdir}"]) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("seedasr:")]
    assert "lm: finished at step 60, which is missing from" in line and "--from=lm" in line
    (problem,) = status.rows(workdir)[0]["problems"]
    assert "is missing or damaged; newest complete step: none" in problem


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("step", "x", "step: expected int"),
        ("step", -1, "step: expected at least 0"),
        ("state", "begun", "state: expected one of running, finished"),
        ("hours", {"a": "b"}, "hours.a: expected float"),
        ("spent", "x", "spent: expected a group"),
        ("parents", {"decoder": {"hash": "x"}}, "decoder.checkpoint: expected str"),
        ("recipe", {}, "init: expected a group"),
        ("recipe", [], "recipe: expected a group"),
        ("limits", {}, "limits.seconds, .pause, "),
    ],
)
def test_a_record_of_another_form_is_one_line_with_its_cure(trained, tmp_path, key, value, said):
    tree = disk.read_stage(trained.workdir / "sft") | {key: value}
    (tmp_path / "sft").mkdir()
    disk.write_json(tmp_path / "sft" / disk.STAGE, tree)
    with pytest.raises(UserError, match=re.escape(said)) as raised:
        checkpoint.read(tmp_path / "sft")
    assert "; remove it, and `seedasr train`" in str(raised.value)
    now = {"format_version": disk.FORMAT_VERSION}
    disk.write_json(tmp_path / disk.CONFIG, now | {"stages": {"sft": {"steps": 60}}})
    (row,) = status.rows(tmp_path)
    assert row["state"] != "unreadable" or said in str(row["problems"])


@pytest.mark.usefixtures("one_device")
def test_records_that_a_crash_emptied(trained, tmp_path, capsys):
    workdir = shutil.copytree(trained.workdir, tmp_path / "workdir")
    record = workdir / "ctc" / disk.STAGE
    whole = record.read_bytes()
    record.write_bytes(b"")
    for command in (["train", f"--workdir={workdir}"], ["export", f"--checkpoint={workdir}/ctc"]):
        command += [f"--out={tmp_path}/out"] if command[0] == "export" else []
        assert cli.main(command) != 0
        error = capsys.readouterr().err
        assert "ctc/stage.json: expected a JSON object" in error and "; remove it, and" in error
        assert "Traceback" not in error
    assert status.rows(workdir)[1]["state"] == "unreadable"
    record.unlink()  # the checkpoint has a copy: a changed recipe is found, the same goes on
    with pytest.raises(UserError, match=r"optim\.lr: 0\.005 -> 0\.25"):
        run.train(trained.graph(stages__ctc__optim__lr=0.25), workdir)
    (workdir / disk.CONFIG).write_bytes(b"")
    for command in ("train", "status"):
        arguments = [str(workdir)] if command == "status" else [f"--workdir={workdir}"]
        assert cli.main([command, *arguments]) != 0
        assert "--config=NAME --workdir=DIR` writes it anew" in capsys.readouterr().err
    assert run.train(trained.graph(), workdir) == 0
    again, before = disk.read_json(record), json.loads(whole)
    assert {k: again[k] for k in ("state", "step", "hashes", "recipe_hash", "hours")} == {
        k: before[k] for k in ("state", "step", "hashes", "recipe_hash", "hours")
    }


def test_damage_that_samples_miss_is_one_line_too(tmp_path):
    writer = checkpoint.Writer(tmp_path, keep=1)
    writer.save(3, workdirs.state())
    writer.wait()
    step = tmp_path / "checkpoints/3"
    data = max(step.rglob("d/*"), key=lambda path: path.stat().st_size)
    data.write_bytes(bytes(data.stat().st_size))
    with pytest.raises(UserError, match=r"checkpoints/3 is damaged: .*; move it away"):
        checkpoint.steps.read(step, checkpoint.steps.shapes(step))
