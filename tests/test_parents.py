"""A stage keeps what it needs: steps by number, copies of what will be removed, moved parents."""

import json
import pathlib
import shutil
import types

from flax import nnx
import pytest
import recordings
from refusals import refusal
import tones
import workdirs

from seedasr_jax import checkpoint, config
from seedasr_jax.errors import ConfigError, UserError
from seedasr_jax.launch import job as jobs
from seedasr_jax.launch import parents, run
from seedasr_jax.train import loop
from seedasr_jax.train.graph import Recipe


@pytest.mark.usefixtures("one_device")
def test_a_child_outlives_the_workdir_that_it_started_from(trained, tmp_path, capsys, monkeypatch):
    other = pathlib.Path(shutil.copytree(trained.workdir, tmp_path / "other"))
    changes = dict(run__save_every=3, run__tensorboard=False)
    changes |= dict(stages__ctc__steps=6, stages__ctc__optim__warmup=2)
    changes |= dict(stages__ctc__trains="('ctc_head',)", stages__ctc__eval__tasks="()")

    def graph(where):
        """A head on an encoder of another workdir, and another that starts from a step of it."""
        tree = config.to_dict(tones.graph(trained.manifest, **changes))
        first = tree["stages"]["ctc"]
        first["init"]["encoder"] = f"{where}/ctc@20"
        then = first | dict(init=first["init"] | dict(ctc_head="first@3"), steps=4)
        first["run"] = first["run"] | dict(keep=1)
        return config.build(tree | dict(stages=dict(first=first, then=then)), config.Graph)

    workdir = tmp_path / "workdir"
    assert run.train(graph(other), workdir) == 0
    assert f"{other}/ctc will remove step 20" in capsys.readouterr().err
    assert {p.name for p in (workdir / "first/checkpoints").iterdir()} == {"3", "6"}  # 3 is named
    record = checkpoint.read(workdir / "then")
    assert record.parents["ctc_head"]["checkpoint"] == "first@3"
    assert record.frozen["encoder"]["checkpoint"].startswith("frozen/encoder-")
    expected = checkpoint.open_checkpoint(f"{trained.workdir}/ctc@20").load("encoder")
    state = workdirs.everything(workdir / "then")

    shutil.rmtree(other)
    found = checkpoint.open_checkpoint(workdir).load("encoder")
    assert workdirs.bits(found) == workdirs.bits(expected)
    assert run.train(None, workdir) == 0
    assert "then: finished\n" in capsys.readouterr().err

    shutil.rmtree(workdir / "then/checkpoints/4")  # as if killed behind step 3
    begun = json.loads((workdir / "then/stage.json").read_text()) | {"state": "running", "step": 3}
    (workdir / "then/stage.json").write_text(json.dumps(begun))
    assert run.train(None, workdir) == 0
    assert "then: resumed at step 3" in capsys.readouterr().err
    assert workdirs.everything(workdir / "then") == state

    with monkeypatch.context() as patch:  # the other workdir is not needed to run it again
        patch.setattr(run.stage, "run", lambda *_: None)
        assert run.train(None, workdir, again="then") == 0
    found = checkpoint.open_checkpoint(workdir / "then.old-1").load("encoder")
    assert workdirs.bits(found) == workdirs.bits(expected)
    (workdir / "then.old-1").rename(workdir / "then")
    assert run.train(graph(trained.workdir), workdir) == 0  # it lies elsewhere now
    assert checkpoint.read(workdir / "then").frozen == record.frozen
    assert f"{trained.workdir}/ctc@20" in checkpoint.read(workdir / "then").recipe["init"].values()


def test_what_a_later_stage_needs_is_copied_before_the_first_trains(trained, tmp_path, monkeypatch):
    other = pathlib.Path(shutil.copytree(trained.workdir, tmp_path / "other"))
    tree = config.to_dict(tones.graph(trained.manifest, **trained.changes))
    tree["stages"]["sft"]["init"] |= dict(encoder=f"{other}/ctc@20", decoder=f"{other}/lm@40")
    child, workdir = config.build(tree, config.Graph), tmp_path / "workdir"
    expected = {
        part: checkpoint.open_checkpoint(other / name).load(part)
        for part, name in (("encoder", "ctc@20"), ("decoder", "lm@40"))
    }
    goes = []

    def ended(job, name, _):
        """As if killed in the first stage, while the neighbour removed all."""
        goes.append(name)
        shutil.rmtree(other, ignore_errors=True)
        raise loop.Stopped

    def begins(job, name, _):
        goes.append(name)
        for part, content in expected.items() if name == "sft" else ():
            found, there = parents.opened(job, name, part)
            assert workdirs.bits(found.load(there)) == workdirs.bits(content)

    for step in (ended, begins):
        monkeypatch.setattr(run.stage, "run", step)
        assert run.train(child, workdir) == 0
    assert goes == ["lm", "lm", "ctc", "sft"]
    (damaged,) = (workdir / "frozen").glob("decoder-*/model-*")
    damaged.write_bytes(b"")
    with pytest.raises(UserError, match=r"is damaged: its file model-.* has 0 bytes"):
        run.train(child, workdir)
    shutil.copytree(trained.workdir, other)  # put back, it is copied again
    assert run.train(child, workdir) == 0


def test_a_missing_copy_is_made_again_from_its_source(job):
    other = job.workdir.parent / "other/lm"
    part = nnx.State({"decoder": workdirs.params(seed=1)["decoder"]})
    workdirs.finish(job.workdir.parent / "other", "lm", part, step=40, state="running")
    place = _job(job.workdir, job.record("sft"), f"{other}@40")
    parents.settle(place, "sft")
    frozen = job.record("sft").frozen["decoder"]
    assert frozen["checkpoint"].startswith("frozen/decoder-")
    shutil.rmtree(job.workdir / frozen["checkpoint"])
    with pytest.raises(UserError, match=r"no longer in .*frozen/decoder-.*init\.decoder=PATH"):
        checkpoint.open_checkpoint(job.workdir / "sft").load("decoder")
    parents.settle(place, "sft")
    assert checkpoint.open_checkpoint(job.workdir / "sft").load("decoder")
    assert job.record("sft").frozen["decoder"] == frozen


@pytest.fixture
def job(tmp_path):
    """A finished sft whose frozen decoder is what another workdir ended with."""
    lm = nnx.State({"decoder": workdirs.params(seed=1)["decoder"]})
    workdirs.finish(tmp_path / "other", "lm", lm, step=40)
    workdir, where = tmp_path / "workdir", f"{tmp_path}/other/lm"
    opened = checkpoint.open_checkpoint(where)
    reference = {"decoder": opened.reference("decoder", workdir)}
    assert reference["decoder"]["checkpoint"] == f"{where}@40"
    encoder = nnx.State({"encoder": workdirs.params(seed=2)["encoder"]})
    made = workdirs.finish(workdir, "sft", encoder, parents=reference, frozen=reference)
    record = json.loads((workdir / "sft/stage.json").read_text())
    record["recipe"]["init"] = {"decoder": where}
    (workdir / "sft/stage.json").write_text(json.dumps(record))
    return _job(workdir, made, where)


def _job(workdir, record, where):
    changed = config.merge(config.to_dict(record.stage), {"init": {"decoder": where}})
    stages = types.MappingProxyType({"sft": config.build(changed, config.Stage)})
    recipe = Recipe({}, {"decoder": where}, record.recipe_hash, {})
    return jobs.Job(workdir, config.Graph("x", (), stages), None, {"sft": recipe})


def test_a_finished_stage_follows_a_neighbour_that_moved(job, capsys):
    other = job.workdir.parent / "other"
    known = parents.outside(job)
    recipe = known(f"{other}/lm")
    moved = other.rename(job.workdir.parent / "moved")
    with pytest.raises(UserError, match=r"name its new path .*init\.decoder=PATH"):
        checkpoint.open_checkpoint(job.workdir / "sft").load("decoder")
    parents.settle(job, "sft")  # nothing is left to train: said, and no error
    assert "sft@5" in (said := capsys.readouterr().err) and "no such checkpoint" in said
    assert known(f"{other}/lm") == recipe  # so that the stage is not stale either
    with pytest.raises(UserError, match="no such checkpoint"):
        known(f"{other}/ml")

    elsewhere = _job(job.workdir, job.record("sft"), f"{moved}/lm")
    assert parents.outside(elsewhere)(f"{moved}/lm") == recipe
    parents.settle(elsewhere, "sft")
    assert job.record("sft").frozen["decoder"]["checkpoint"] == f"{moved}/lm@40"
    assert checkpoint.open_checkpoint(job.workdir / "sft").load("decoder")
    before = (job.workdir / "sft/stage.json").read_bytes()
    parents.settle(elsewhere, "sft")
    assert (job.workdir / "sft/stage.json").read_bytes() == before


def test_another_content_in_its_place_is_refused(job):
    lm = nnx.State({"decoder": workdirs.params(seed=9)["decoder"]})
    workdirs.finish(job.workdir.parent / "third", "lm", lm, step=40)
    elsewhere = _job(job.workdir, job.record("sft"), f"{job.workdir.parent}/third/lm")
    with pytest.raises(UserError, match=r"decoder of hash \w{8}, found \w{8} in \S*/third/lm@40"):
        parents.settle(elsewhere, "sft")


def test_what_a_stage_removes_lasts_no_longer_than_it_trains(tmp_path):
    workdirs.finish(tmp_path, "lm", workdirs.params(), step=40)
    assert checkpoint.open_checkpoint(tmp_path / "lm").permanent
    workdirs.finish(tmp_path, "ctc", workdirs.params(), step=40, state="running")
    assert not checkpoint.open_checkpoint(f"{tmp_path}/ctc@40").permanent


# Checkpoints that do not fit.


def outside(trained, part, manifest=None, **changes):
    """A graph of ctc alone whose `part` comes from the trained workdir."""
    graph = tones.graph(manifest or trained.manifest, **changes)
    init = {"encoder": "fresh", "ctc_head": "fresh", part: f"{trained.workdir}/ctc@40"}
    tree = config.to_dict(graph) | {"stages": {"ctc": config.to_dict(graph.stages["ctc"])}}
    tree["stages"]["ctc"]["init"] = init
    tree["stages"]["ctc"]["eval"]["tasks"] = []
    return config.build(tree, config.Graph)


def test_a_checkpoint_of_another_shape(trained, tmp_path):
    graph = outside(trained, "encoder", model__encoder__ffn_dim=64)
    text = refusal(ConfigError, graph, tmp_path)
    assert "init.encoder" in text
    assert "encoder.ffn_dim: 128 -> 64" in text
    assert not (tmp_path / "ctc/checkpoints").exists()


def test_a_checkpoint_of_another_vocabulary(trained, tmp_path):
    rows = recordings.rows(8)
    manifest = recordings.write(tmp_path / "data", rows)
    text = refusal(ConfigError, outside(trained, "ctc_head", manifest), tmp_path / "workdir")
    assert "init.ctc_head" in text
    assert "vocabulary" in text
    assert "vocab.path=" in text


def test_a_checkpoint_that_is_not_there(trained, tmp_path):
    graph = outside(trained, "encoder")
    tree = config.to_dict(graph)
    tree["stages"]["ctc"]["init"]["encoder"] = f"{trained.workdir}/cct"
    text = refusal(UserError, config.build(tree, config.Graph), tmp_path)
    assert "Did you mean ctc" in text
