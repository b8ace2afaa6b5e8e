"""Training from a workdir: what is finished, stale, set aside, in the way or interrupted."""

import os
import shutil
import signal

import pytest
from refusals import refusal
import tones

from seedasr_jax import config, filesystem
from seedasr_jax import workdir as disk
from seedasr_jax.errors import ConfigError, UserError
from seedasr_jax.launch import recipes, run


def test_the_same_command_again_does_nothing(trained, capsys):
    def content():
        paths = sorted(p for p in trained.workdir.rglob("*") if p.is_file() and p.name != ".lock")
        return [(str(p), p.read_bytes()) for p in paths]

    before = content()
    assert run.train(trained.graph(), trained.workdir) == 0
    assert run.train(None, trained.workdir) == 0
    assert content() == before
    assert capsys.readouterr().err.count("finished") == 6


# Staleness.


def test_a_changed_recipe_is_refused_key_by_key(trained, workdir):
    graph = trained.graph(stages__ctc__optim__lr=0.25, stages__ctc__augment__eq_db=1.5)
    before = (workdir / "config.json").read_bytes()
    text = refusal(ConfigError, graph, workdir)
    assert "'ctc'" in text
    assert "optim.lr: 0.005 -> 0.25" in text
    assert "augment.eq_db: 0.0 -> 1.5" in text
    assert "--from=ctc" in text
    assert "--workdir" in text
    assert ConfigError.exit_code == 2
    assert (workdir / "config.json").read_bytes() == before  # what runs there stays written down


def test_run_settings_change_freely(trained, workdir):
    changes = dict(run__log_every=1, run__keep=5, run__accum=2, stages__sft__eval__every=3)
    assert run.train(trained.graph(**changes), workdir) == 0
    assert recipes.stored(workdir).stages["lm"].run.log_every == 1


def test_a_moved_manifest_is_the_same_and_a_changed_one_is_not(trained, workdir, tmp_path):
    moved = tmp_path / "elsewhere/other_name.jsonl"
    shutil.copytree(trained.manifest.parent, moved.parent)
    (moved.parent / trained.manifest.name).rename(moved)
    assert run.train(tones.graph(moved, **trained.changes), workdir) == 0
    lines = moved.read_text().splitlines(keepends=True)
    moved.write_text("".join(lines[:-1]))
    text = refusal(ConfigError, tones.graph(moved, **trained.changes), workdir)
    assert "'lm'" in text
    assert "reads.manifest:" in text


# --stage and --from.


def test_from_sets_aside_a_stage_and_its_descendants(trained, workdir):
    graph = trained.graph()
    assert run.train(graph, workdir, again="sft", only="lm") == 0
    assert {p.name for p in workdir.iterdir() if "sft" in p.name} == {"sft.old-1"}
    (workdir / "sft").mkdir()
    text = refusal(ConfigError, graph, workdir, again="lm", only="sft")
    assert "'lm', which --from runs again" in text and (workdir / "lm").exists()
    assert run.train(graph, workdir, again="lm", only="ctc") == 0
    names = {p.name for p in workdir.iterdir() if p.is_dir()}
    assert names == {"cache", "vocab", "ctc", "lm.old-1", "sft.old-1", "sft.old-2"}
    assert (workdir / "sft.old-1/stage.json").exists()
    text = refusal(ConfigError, graph, workdir, only="sft")
    assert "'lm'" in text
    assert "--stage=lm" in text


def test_stages_that_do_not_exist(trained, workdir):
    assert "Did you mean sft" in refusal(ConfigError, trained.graph(), workdir, only="sfd")
    assert "Did you mean ctc" in refusal(ConfigError, trained.graph(), workdir, again="ctcc")


def test_a_workdir_without_config_is_not_made(tmp_path):
    assert "--config" in refusal(ConfigError, None, tmp_path / "typo")
    assert not (tmp_path / "typo").exists()


def test_another_config_is_not_replaced(trained, tmp_path):
    bundle = {"format": "seedasr_jax.bundle"}
    disk.write_json(tmp_path / disk.CONFIG, bundle)
    assert "choose another --workdir" in refusal(ConfigError, trained.graph(), tmp_path)
    for name in ("run[1]", "run?", "run*"):
        assert "without *, ? and [" in refusal(ConfigError, trained.graph(), tmp_path / name)
    assert disk.read_json(tmp_path / disk.CONFIG) == bundle


def test_obstacles_of_later_stages_are_found_before_training(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(run.stage, "run", lambda *_: pytest.fail("trains"))
    (tmp_path / "sft").mkdir()
    for name in ("metrics.jsonl", "skipped.jsonl"):
        (tmp_path / "sft" / name).mkdir()
        assert name in refusal(UserError, trained.graph(), tmp_path)
        (tmp_path / "sft" / name).rmdir()
    (tmp_path / "sft/checkpoints").touch()
    assert "sft/checkpoints: not a directory" in refusal(ConfigError, trained.graph(), tmp_path)
    (tmp_path / "sft/checkpoints").unlink()
    (tmp_path / "sft").rmdir()
    (tmp_path / "sft").touch()
    assert "sft/checkpoints: not a directory" in refusal(ConfigError, trained.graph(), tmp_path)


def test_the_directory_of_a_stage_is_no_workdir(trained, workdir):
    assert f"use {workdir}" in refusal(ConfigError, trained.graph(), workdir / "ctc")


def test_a_stage_under_another_name_is_another_one(trained, workdir, capsys, monkeypatch):
    monkeypatch.setattr(run.stage, "run", lambda job, name, stopping: print(f"trains {name}"))
    tree = config.to_dict(trained.graph())
    tree["stages"]["tuned"] = tree["stages"].pop("sft")
    assert run.train(config.build(tree, config.Graph), workdir) == 0
    said = capsys.readouterr()
    assert said.out == "trains tuned\n"
    assert f"sft is no longer a stage of this recipe; {workdir}/sft is left unchanged" in said.err


def test_a_module_that_is_no_longer_imported_is_named(trained, workdir, capsys):
    before = disk.read_json(workdir / disk.CONFIG)
    disk.write_json(workdir / disk.CONFIG, before | {"imports": [*before["imports"], "gone"]})
    assert run.train(trained.graph(), workdir) == 0
    said = "config.imports no longer has gone: the checkpoints of lm, ctc, sft will be"
    assert said in capsys.readouterr().err
    assert run.train(trained.graph(), workdir) == 0
    assert "no longer" not in capsys.readouterr().err


def test_one_writer_at_a_time(tmp_path, trained):
    with filesystem.hold(tmp_path):
        text = refusal(UserError, trained.graph(), tmp_path)
        assert "being written by process" in text
    with filesystem.hold(tmp_path):  # what an earlier process left behind holds nothing
        pass


def test_a_stop_at_the_end_of_a_stage_starts_no_other(trained, tmp_path, monkeypatch):
    ran = []

    def finish(job, name, stopping):
        ran.append(name)
        assert not stopping()  # from here on a signal is an answer to this question
        os.kill(os.getpid(), signal.SIGINT)
        assert stopping()

    monkeypatch.setattr(run.stage, "run", finish)
    before = signal.getsignal(signal.SIGINT)
    assert run.train(trained.graph(), tmp_path) == 130
    assert ran == ["lm"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_while_data_are_made_ends_it(trained, tmp_path, monkeypatch):
    reached = []

    def asked(number):
        monkeypatch.setattr(run.stage, "run", lambda *_: os.kill(os.getpid(), number))
        with pytest.raises(SystemExit) as ended:
            run.train(trained.graph(), tmp_path)
        reached.append(ended.value.code)

    asked(signal.SIGTERM)
    asked(signal.SIGINT)
    assert reached == [75, 130]
