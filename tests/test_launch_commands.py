"""What commands print, write and answer with their exit code."""

import json
import os
import shlex

import pytest
import recordings
import tones

from seedasr_jax import checkpoint
from seedasr_jax.launch import cli


def test_the_home_folder_is_found_behind_a_flag(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cli.main(["configs", "digits", "--copy=~/mine.py"]) == 0
    assert (tmp_path / "mine.py").exists()


def test_places_are_tried_before_the_work(trained, capsys, tmp_path, monkeypatch):
    def worked(*_, **__):
        raise AssertionError("before the place was tried")

    for module, name in (("evaluate", "opening.open_recogniser"), ("run", "prepare")):
        monkeypatch.setattr(f"seedasr_jax.launch.{module}.{name}", worked)
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    ctc, recipe = f"--checkpoint={trained.workdir}/ctc", f"--config={tones.RECIPE}:x.jsonl"
    source = f"--source=manifest:{trained.manifest}"
    long = "x" * 300
    found = ("not a directory", "file name too long", "file exists", "levels of symbolic links")
    for place in ("file", "file/below", long, "loop"):
        for command in (
            f"train {recipe} --workdir={place}",
            f"launch local --processes=1 {recipe} --workdir={place}",
            f"eval {ctc} --tasks=manifest:x.jsonl --out={place}",
            f"export {ctc} --out={place}/below",
            f"quickstart --out={place}",
            f"data vocab {source} --size=30 --out={place}",
            f"configs digits --copy={place}/below.py",
        ):
            with monkeypatch.context() as patch:
                patch.chdir(tmp_path)
                assert cli.main(shlex.split(command)) == 2, command
            (line,) = capsys.readouterr().err.splitlines()
            assert any(why in line for why in found), command
            assert place[:20] in line, command
    assert sorted(os.listdir(tmp_path)) == ["file", "loop"]


def test_a_stale_recipe_exits_2(trained, capsys):
    changed = [f"--config.{k.replace('__', '.')}={v}" for k, v in trained.changes.items()]
    config = f"--config={tones.RECIPE}:{trained.manifest}"
    command = ["train", config, f"--workdir={trained.workdir}", *changed]
    assert cli.main(command) == 0
    assert cli.main([*command, "--config.stages.sft.optim.lr=1.5"]) == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert "optim.lr: 0.006 -> 1.5" in err
    assert "--from=sft" in err


def test_a_check_that_says_no_exits_3(trained, capsys, tmp_path):
    assert cli.main(["data", "validate", f"--source=manifest:{trained.manifest}"]) == 0
    rows = [json.loads(line) for line in trained.manifest.read_text().splitlines()[:2]]
    gone = recordings.manifest(tmp_path / "gone.jsonl", rows)
    assert cli.main(["data", "validate", f"--source=manifest:{gone}"]) == 3
    assert "t000" in capsys.readouterr().out


def test_a_table_and_its_json(trained, capsys):
    source = f"--source=manifest:{trained.manifest}"
    assert cli.main(["data", "stats", source, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["utterances"] == 48
    assert cli.main(["data", "stats", source]) == 0
    assert "48" in capsys.readouterr().out


def test_a_tokenizer_from_the_command_line(trained, capsys, tmp_path):
    command = ["data", "vocab", f"--source=manifest:{trained.manifest}", "--kind=word", "--size=40"]
    assert cli.main([*command, f"--out={tmp_path}/vocab"]) == 0
    made = capsys.readouterr().out
    assert checkpoint.open_checkpoint(trained.workdir).record.vocabulary in made


def test_a_file_that_begins_with_a_dash(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-x.wav").touch()
    assert cli.main(["transcribe", "--checkpoint=none", "-x.wav"]) == 2
    assert "is written ./-x.wav" in capsys.readouterr().err
    assert cli.main(["transcribe", "--checkpoint=none", "--", "-x.wav"]) == 1
    assert "no such checkpoint" in capsys.readouterr().err


def test_eval_takes_a_beam(trained, capsys, tmp_path):
    command = ["eval", f"--checkpoint={trained.workdir}"]
    command += [f"--tasks=manifest:{trained.test}?limit=2", f"--out={tmp_path}/a"]
    assert cli.main([*command, "--alpha=0.5"]) == 2
    assert "--beam=4" in capsys.readouterr().err
    assert cli.main([*command, "--beam=2", "--alpha=0.5", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["decode"] == "beam2,alpha=0.5"


def test_eval_prints_a_table_and_writes_where_out_says(trained, capsys, tmp_path):
    command = ["eval", f"--checkpoint={trained.workdir}/ctc", f"--tasks=manifest:{trained.test}"]
    assert cli.main([*command, f"--out={tmp_path}/a", "--json"]) == 0
    out, err = capsys.readouterr()
    (row,) = json.loads(out)
    assert f"checkpoint {row['checkpoint']}" in err
    (line,) = (tmp_path / "a/results.jsonl").read_text().splitlines()
    assert json.loads(line) == row


@pytest.mark.parametrize(
    "command",
    [
        "train --config=digits --workdir=gs://bucket/run",
        "train --workdir=s3://bucket/run",
        "launch local --processes=1 --config=digits --workdir=gs://bucket/run",
        "quickstart --out=gs://bucket/run",
        "eval --checkpoint=x --tasks=y --out=gs://bucket/run",
        "export --checkpoint=x --out=gs://bucket/run",
        "configs digits --copy=gs://bucket/mine.py",
        "data stats --source=manifest:a.jsonl --cache=gs://bucket/cache",
        "data vocab --source=manifest:a.jsonl --size=9 --out=gs://bucket/run",
        "train --config=digits:gs://bucket/a.jsonl --workdir=here",
        "train --config=digits --workdir=here --config.run.cache=gs://bucket/cache",
        "eval --checkpoint=gs://bucket/run --tasks=y",
        "transcribe --checkpoint=gs://bucket/run one.wav",
        "export --checkpoint=gs://bucket/run@3 --out=here",
        "status gs://bucket/run",
    ],
)
def test_buckets_are_refused_until_they_work(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(command.split()) == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1 and "expected a local" in text
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(":")]
