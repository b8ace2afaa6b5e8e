"""A graph of stages from sound to parameters: hand-over, staleness, --stage, --from, bad data."""

import dataclasses
import json
import os
import pathlib
import shutil
import signal

import jax
import numpy as np
import pytest
import recordings
import tones
import workdirs

from seedasr_jax import checkpoint, config, filesystem
from seedasr_jax import workdir as disk
from seedasr_jax.audio import files
from seedasr_jax.errors import ConfigError, DataError, UserError
from seedasr_jax.launch import export, prepare, recipes, run
from seedasr_jax.plan import fitting, programs
from seedasr_jax.train import build
from seedasr_jax.workdir import read_rows as read


def record(workdir, name):
    return json.loads((workdir / name / "stage.json").read_text())


@pytest.fixture
def workdir(trained, tmp_path):
    """A copy of the trained workdir, to change."""
    return pathlib.Path(shutil.copytree(trained.workdir, tmp_path / "workdir"))


def fails(kind, *arguments, **options):
    """The one line of what `run.train` raises."""
    with pytest.raises(kind) as raised:
        run.train(*arguments, **options)
    text = str(raised.value)
    assert "\n" not in text
    return text


# What a finished graph holds.


@pytest.mark.parametrize("name", ["lm", "ctc", "sft"])
def test_the_loss_falls(trained, name):
    losses = [row["loss"] for row in read(trained.workdir / name / "metrics.jsonl")]
    assert losses[-1] < losses[0] / 1.5
    assert all(np.isfinite(losses))


def test_the_words_are_learned(trained):
    last = read(trained.workdir / "ctc/metrics.jsonl")[-1]
    ((key, rate),) = [(k, v) for k, v in last.items() if k.startswith("eval/")]
    assert key.startswith("eval/manifest:tones.jsonl?limit=8#")
    assert rate < 20.0


def test_a_stage_says_what_it_came_from(trained):
    found = record(trained.workdir, "sft")
    assert found["state"] == "finished"
    assert found["step"] == found["position"] == 60
    assert {p: r["checkpoint"] for p, r in found["parents"].items()} == {
        "encoder": "ctc@40",
        "ctc_head": "ctc@40",
        "decoder": "lm@60",
    }
    assert found["frozen"] == {"decoder": found["parents"]["decoder"]}
    assert found["parents"]["decoder"]["hash"] == record(trained.workdir, "lm")["hashes"]["decoder"]
    (hours,) = found["hours"].values()
    seconds = [
        row["duration"] for row in map(json.loads, trained.manifest.read_text().splitlines())
    ]
    assert hours == pytest.approx(60 * 8 * np.mean(seconds) / 3600, rel=0.1)
    assert record(trained.workdir, "lm")["hours"] == {next(iter(found["hours"])): 0.0}
    assert set(found["spent"]) == {"seconds", "cpu_seconds", "chip_seconds"}


def test_a_frozen_part_is_referred_to_and_not_copied(trained):
    sft = checkpoint.open_checkpoint(trained.workdir / "sft")
    saved = workdirs.everything(trained.workdir / "sft")
    assert not [name for name in saved if name.startswith("params.decoder")]
    lm = checkpoint.open_checkpoint(trained.workdir / "lm")
    assert workdirs.bits(sft.load("decoder")) == workdirs.bits(lm.load("decoder"))


def test_tensorboard_events_stand_beside_the_metrics(trained):
    for name in ("lm", "ctc", "sft"):
        (path,) = (trained.workdir / name).glob("events.out.tfevents.*")
        assert path.stat().st_size > 1_000


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
    text = fails(ConfigError, graph, workdir)
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
    text = fails(ConfigError, tones.graph(moved, **trained.changes), workdir)
    assert "'lm'" in text
    assert "reads.manifest:" in text


def test_a_job_goes_on_from_any_folder(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(trained.manifest.parent)
    relative = tones.graph(trained.manifest.name, **trained.changes)
    changed = prepare.anchored(relative)
    spec = f"manifest:{trained.manifest}"
    assert [s for s, _ in changed.stages["ctc"].data.mixture] == [spec]
    assert changed.stages["ctc"].eval.tasks == (f"{spec}?limit=8",)
    assert changed.stages["sft"].init == relative.stages["sft"].init  # stages, no paths
    assert changed.stages["sft"].vocab.path == "" and changed.stages["sft"].run.cache == ""
    own = tones.graph("m.jsonl", stages__lm__init__decoder="./runs/lm")
    init = prepare.anchored(own).stages["lm"].init
    assert init["decoder"] == str(pathlib.Path("runs/lm").resolve())
    monkeypatch.setenv("HOME", str(tmp_path))  # no shell expands it behind manifest:
    home = tones.graph("~/m.jsonl", stages__lm__init__decoder="~/lm")
    home = prepare.anchored(home).stages
    assert home["ctc"].data.mixture[0][0] == f"manifest:{tmp_path}/m.jsonl"
    assert home["lm"].init["decoder"] == f"{tmp_path}/lm"
    monkeypatch.chdir(tmp_path)
    assert prepare.anchored(changed) == changed


def test_another_tokenizer_needs_another_workdir(trained, workdir, tmp_path):
    text = fails(ConfigError, trained.graph(vocab__kind="char"), workdir)
    assert "config.vocab" in text
    assert "--workdir" in text
    assert not (workdir / "vocab.partial").exists()
    assert run.train(trained.graph(vocab__size=50), workdir) == 0  # there are not more words
    copied = shutil.copytree(workdir / "vocab", tmp_path / "tokenizer")
    assert run.train(trained.graph(vocab__path=copied), workdir) == 0


def test_a_checkpoint_is_a_tokenizer_too(trained, tmp_path):
    expected = (trained.workdir / "vocab/spm.model").read_bytes()
    names = (trained.workdir, trained.workdir / "lm", f"{trained.workdir}/lm@60")
    for number, place in enumerate(names):
        prepare.job(trained.graph(vocab__path=place), tmp_path / str(number))
        assert (tmp_path / str(number) / "vocab/spm.model").read_bytes() == expected
    fails(UserError, trained.graph(vocab__path=f"{trained.workdir}/lm@7"), tmp_path / "other")
    text = fails(ConfigError, trained.graph(vocab__path=tmp_path / "none"), tmp_path / "other")
    assert "no vocabulary at" in text


def test_a_tokenizer_that_a_kill_left_half_made_is_made_again(trained, tmp_path):
    (tmp_path / "vocab.partial").mkdir()
    (tmp_path / "vocab.partial/spm.model.partial").write_bytes(b"half")
    job = prepare.job(trained.graph(), tmp_path)
    expected = prepare.job(trained.graph(), trained.workdir)
    assert job.vocab.hash == expected.vocab.hash
    assert job.recipes["sft"].hash == expected.recipes["sft"].hash


# --stage and --from.


def test_from_sets_aside_a_stage_and_its_descendants(trained, workdir):
    graph = trained.graph()
    assert run.train(graph, workdir, again="sft", only="lm") == 0
    assert {p.name for p in workdir.iterdir() if "sft" in p.name} == {"sft.old-1"}
    (workdir / "sft").mkdir()
    text = fails(ConfigError, graph, workdir, again="lm", only="sft")
    assert "'lm', which --from runs again" in text and (workdir / "lm").exists()
    assert run.train(graph, workdir, again="lm", only="ctc") == 0
    names = {p.name for p in workdir.iterdir() if p.is_dir()}
    assert names == {"cache", "vocab", "ctc", "lm.old-1", "sft.old-1", "sft.old-2"}
    assert (workdir / "sft.old-1/stage.json").exists()
    text = fails(ConfigError, graph, workdir, only="sft")
    assert "'lm'" in text
    assert "--stage=lm" in text


def test_stages_that_do_not_exist(trained, workdir):
    assert "Did you mean sft" in fails(ConfigError, trained.graph(), workdir, only="sfd")
    assert "Did you mean ctc" in fails(ConfigError, trained.graph(), workdir, again="ctcc")


def test_a_workdir_without_config_is_not_made(tmp_path):
    assert "--config" in fails(ConfigError, None, tmp_path / "typo")
    assert not (tmp_path / "typo").exists()


def test_another_config_is_not_replaced(trained, tmp_path):
    bundle = {"format": "seedasr_jax.bundle"}
    disk.write_json(tmp_path / disk.CONFIG, bundle)
    assert "choose another --workdir" in fails(ConfigError, trained.graph(), tmp_path)
    for name in ("run[1]", "run?", "run*"):
        assert "without *, ? and [" in fails(ConfigError, trained.graph(), tmp_path / name)
    assert disk.read_json(tmp_path / disk.CONFIG) == bundle


def test_what_stands_in_the_way_of_a_later_stage_is_found_first(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(run.stage, "run", lambda *_: pytest.fail("trains"))
    (tmp_path / "sft").mkdir()
    for name in ("metrics.jsonl", "skipped.jsonl"):
        (tmp_path / "sft" / name).mkdir()
        assert name in fails(UserError, trained.graph(), tmp_path)
        (tmp_path / "sft" / name).rmdir()
    (tmp_path / "sft/checkpoints").touch()
    assert "sft/checkpoints: not a directory" in fails(ConfigError, trained.graph(), tmp_path)
    (tmp_path / "sft/checkpoints").unlink()
    (tmp_path / "sft").rmdir()
    (tmp_path / "sft").touch()
    assert "sft/checkpoints: not a directory" in fails(ConfigError, trained.graph(), tmp_path)


def test_the_directory_of_a_stage_is_no_workdir(trained, workdir):
    assert f"take {workdir}" in fails(ConfigError, trained.graph(), workdir / "ctc")


def test_a_stage_under_another_name_is_another_one(trained, workdir, capsys, monkeypatch):
    monkeypatch.setattr(run.stage, "run", lambda job, name, stopping: print(f"trains {name}"))
    tree = config.to_dict(trained.graph())
    tree["stages"]["tuned"] = tree["stages"].pop("sft")
    assert run.train(config.build(tree, config.Graph), workdir) == 0
    said = capsys.readouterr()
    assert said.out == "trains tuned\n"
    assert f"sft: no stage of this recipe any more; {workdir}/sft stays as it is" in said.err


def test_one_writer_at_a_time(tmp_path, trained):
    with filesystem.hold(tmp_path):
        text = fails(UserError, trained.graph(), tmp_path)
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
    text = fails(ConfigError, graph, tmp_path)
    assert "init.encoder" in text
    assert "encoder.ffn_dim: 128 -> 64" in text
    assert not (tmp_path / "ctc/checkpoints").exists()


def test_a_checkpoint_of_another_vocabulary(trained, tmp_path):
    rows = recordings.rows(8)
    manifest = recordings.write(tmp_path / "data", rows)
    text = fails(ConfigError, outside(trained, "ctc_head", manifest), tmp_path / "workdir")
    assert "init.ctc_head" in text
    assert "vocabulary" in text
    assert "vocab.path=" in text


def test_a_checkpoint_that_is_not_there(trained, tmp_path):
    graph = outside(trained, "encoder")
    tree = config.to_dict(graph)
    tree["stages"]["ctc"]["init"]["encoder"] = f"{trained.workdir}/cct"
    text = fails(UserError, config.build(tree, config.Graph), tmp_path)
    assert "Did you mean ctc" in text


# Own encoders and objectives.

OWN = """
from seedasr_jax.train import objectives
from seedasr_jax.train.objectives.ctc import Ctc


@objectives.register("double_ctc")
class DoubleCtc(Ctc):
    def loss(self, model, batch, weights, rng):
        loss, terms = super().loss(model, batch, weights, rng)
        return 2 * loss, terms | {"double": 2 * loss}
"""
RECIPE = """
import tones_recipe


def get_config(manifest):
    c = tones_recipe.get_config(manifest).unlock()
    c.imports = ("own_objective", "own_encoder_options")
    for name in ("lm", "sft"):
        del c.stages[name]
    c.stages.ctc.kind = "double_ctc"
    c.stages.ctc.steps, c.stages.ctc.optim.warmup = 4, 2
    frontend = dict(kind="energies", hop=80, width=8)
    c.model.encoder = dict(kind="thirteen", frontend=frontend, layers=1, width=32, patch=16)
    return c.lock()
"""


def test_own_encoder_and_objective_without_a_fork(trained, tmp_path, monkeypatch, one_device):
    """Another front end, hop and rounding: two modules, and it trains, decodes, exports, plans."""
    (tmp_path / "own_objective.py").write_text(OWN)
    (tmp_path / "recipe.py").write_text(RECIPE)
    spec = f"{tmp_path}/recipe.py:{trained.manifest}"
    with pytest.raises(ConfigError, match="own_objective"):
        tones.recipes.expand(spec, [])
    monkeypatch.syspath_prepend(tmp_path)
    graph, workdir = tones.recipes.expand(spec, []), tmp_path / "workdir"
    assert run.train(graph, workdir) == 0
    row = read(workdir / "ctc/metrics.jsonl")[-1]
    assert row["double"] == pytest.approx(2 * row["loss"])
    found = checkpoint.open_checkpoint(workdir)
    assert found.imports == ("own_objective", "own_encoder_options")
    assert set(found.shapes("encoder")) == {"encoder.project.kernel"}
    assert any(key.startswith("eval/") for key in row)  # decoded
    export.bundle(workdir, tmp_path / "bundle")  # decodes as the original, or raises
    planned = dataclasses.replace(graph.stages["ctc"], mesh=config.Mesh(1, 1, 1, 1))
    built = build.build(planned, fitting.TOKENS, planned.vocab.size, jax.devices()[:1])
    bucket = fitting.buckets(planned)[-1]
    sizes = fitting.sizes(planned, bucket)
    program = programs.train(built, sizes, bucket[0])
    assert program.function.lower(*program.arguments).cost_analysis()["flops"] > program.flops > 0


# Bad data.


def rows_with_faults(folder):
    """32 good rows, and one of each fault."""
    manifest = tones.write(folder, 32)
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    for number, fault in enumerate(("missing", "unreadable", "short", "silent", "long", "wordy")):
        rows.append(rows[number] | {"id": fault, "audio": f"audio-0/{fault}.wav"})
        files.write(folder / rows[-1]["audio"], tones.wave("low mid"), files.RATE)
    missing, unreadable, short, silent, long, wordy = rows[-6:]
    (folder / missing["audio"]).unlink()
    (folder / unreadable["audio"]).write_bytes(b"RIFF, but no sound")
    short["duration"], short["text"] = 0.7, "low mid"
    silent["text"] = ""
    long["duration"] = 5.0
    wordy["text"] = "low mid " * 4
    return recordings.manifest(manifest, rows)


def ctc(manifest, fraction, **changes):
    changes = dict(stages__ctc__steps=6, stages__ctc__eval__tasks="()") | changes
    return tones.graph(manifest, stages__ctc__data__max_bad_fraction=fraction, **changes)


@pytest.mark.usefixtures("one_device")
def test_bad_rows_weigh_nothing_and_are_listed(tmp_path, capsys):
    manifest = rows_with_faults(tmp_path / "data")
    dev = [row | {"text": "low zeppelin"} for row in read(manifest)[:2]]
    dev = recordings.manifest(tmp_path / "data/dev.jsonl", dev)
    workdir = tmp_path / "workdir"
    graph = ctc(manifest, 0.5, stages__ctc__eval__tasks=f"('manifest:{dev}',)")
    assert run.train(graph, workdir, only="ctc") == 0
    skipped = read(workdir / "ctc/skipped.jsonl")
    reasons = {row["id"]: row["reason"] for row in skipped}
    assert reasons == {
        "missing": "missing audio",
        "unreadable": "unreadable audio",
        "short": "unreadable audio",
        "silent": "no text",
    }
    assert all(row["detail"] for row in skipped)
    said = capsys.readouterr().err
    assert "1 utterances are left out: longer than 0.8 s" in said
    assert "1 utterances are left out: more than 4 tokens" in said
    assert "2 references have words that the tokenizer does not know" in said


@pytest.mark.usefixtures("one_device")
def test_too_many_bad_rows_end_the_job(tmp_path):
    manifest = rows_with_faults(tmp_path / "data")
    rows = [r for r in map(json.loads, manifest.read_text().splitlines()) if r["text"]]
    recordings.manifest(manifest, rows)
    text = fails(DataError, ctc(manifest, 0.0), tmp_path / "workdir", only="ctc")
    assert "data.max_bad_fraction" in text
    assert "audio" in text
    assert read(tmp_path / "workdir/ctc/skipped.jsonl")
    assert record(tmp_path / "workdir", "ctc")["state"] == "running"


def test_a_row_without_text_is_named_before_training(tmp_path):
    manifest = rows_with_faults(tmp_path / "data")
    text = fails(DataError, ctc(manifest, 0.0), tmp_path / "workdir", only="ctc")
    assert "line 36 (silent): no text" in text


def test_an_empty_manifest(tmp_path):
    empty = recordings.manifest(tmp_path / "empty.jsonl", [])
    assert "empty.jsonl: contains no rows" in fails(
        DataError, ctc(empty, 0.0), tmp_path / "workdir"
    )


def test_texts_that_fit_no_bucket(tmp_path, trained):
    graph = ctc(trained.manifest, 0.0, stages__ctc__data__buckets="((0.1, 4, 8),)")
    text = fails(DataError, graph, tmp_path, only="ctc")
    assert "longer than 0.1 s" in text
    assert "data.buckets" in text
