"""The command line: quick help, examples that parse, wrong usage."""

import os
import pathlib
import re
import shlex
import statistics
import subprocess
import sys
import time

import pytest

from seedasr_jax.launch import cli

SEEDASR = [sys.executable, "-m", "seedasr_jax.launch.cli"]
COMMANDS = [
    "quickstart",
    "train",
    "launch",
    "status",
    "plan",
    "eval",
    "transcribe",
    "import",
    "export",
    "configs",
    "data",
]
ACTIONS = [["launch", "local"], ["data", "stats"], ["data", "validate"], ["data", "vocab"]]


def help_of(capsys, *command):
    with pytest.raises(SystemExit) as left:
        cli.main([*command, "--help"])
    assert left.value.code == 0
    return capsys.readouterr().out


def test_help_answers_in_a_second(tmp_path):
    seconds = []
    for _ in range(3):
        begun = time.monotonic()
        subprocess.run([*SEEDASR, "--help"], check=True, capture_output=True, cwd=tmp_path)
        seconds.append(time.monotonic() - begun)
    assert statistics.median(seconds) < 1.0


def test_files_of_the_current_folder_hide_no_module(tmp_path):
    script = [sys.executable, "-P", "-c", "from seedasr_jax.launch import cli; cli.main()"]
    paths = os.environ.get("PYTHONPATH", "/none")
    ours, pythons = ("ml_collections", "configs", "jax"), ("argparse", "json", "re", "queue")
    for names, tries in (
        (ours, ((SEEDASR, f":{paths}"), (script, f"{paths}:"))),  # Python itself would find others
        (pythons, ((SEEDASR, paths),)),
    ):
        for name in names:
            (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name}.py of this folder')")
        for command, path in tries:
            environment = {**os.environ, "PYTHONPATH": path}
            options = dict(capture_output=True, text=True, cwd=tmp_path, env=environment)
            done = subprocess.run([*command, "configs"], **options)
            assert done.returncode == 0 and "digits" in done.stdout, (command, path, done.stderr)


@pytest.mark.parametrize("command", ["--help", "train --help", "configs digits", "status W"])
def test_what_reads_no_data_imports_nothing_heavy(trained, command):
    code = (
        "import sys\n"
        "from seedasr_jax.launch import cli\n"
        "try: cli.main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(sorted({'jax', 'tensorflow', 'seqio'} & set(sys.modules)), file=sys.stderr)"
    )
    arguments = command.replace("W", str(trained.workdir)).split()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True
    )
    # `status` reads metrics with train/metrics.py; none of these starts TensorFlow.
    assert done.stderr.splitlines()[-1] == "[]"


def test_help_lists_the_commands(capsys):
    listed = re.findall(r"^    (\w+)(?: .*)?$", help_of(capsys), re.MULTILINE)
    assert listed == COMMANDS


@pytest.mark.parametrize("command", [[name] for name in COMMANDS] + ACTIONS, ids=" ".join)
def test_every_help_has_an_example_that_parses(capsys, command):
    text = help_of(capsys, *command)
    _, _, example = text.partition("example: ")
    words = shlex.split(example)
    assert words[: len(command) + 1] == ["seedasr", *command]
    plain = [word for word in words[1:] if not word.startswith("--config.")]
    options = cli.parser().parse_args(plain)
    assert callable(options.run)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["trian"],
        ["train"],
        ["status"],
        ["transcribe", "--checkpoint=x"],
        ["export", "--checkpoint=x", "--out=y", "--format=onnx"],
        ["eval", "--checkpoint=x", "--tasks=y", "--beams=4"],
        ["eval", "--checkpoint=x", "--tasks=y", "--beam=four"],
        ["eval", "--checkpoint=x", "--tasks=y", "--beam=4", "--alpha=much"],
        ["data", "vocab", "--source=x", "--out=y", "--size=many"],
        ["train", "--confi=digits", "--workdir=x"],
        ["train", "--config=digits", "--workdir="],
        ["train", "--config=digits", "--workdir=x", "--from="],
        ["train", "--config=", "--workdir=x"],
        ["train", "--config=digits", "--config=lm", "--workdir=x"],
        ["train", "--config=digits", "--workdir=x", "--config.seed", "3"],
        ["quickstart", "--install-seconds=nan"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_2(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    assert left.value.code == 2
    assert "usage: seedasr" in capsys.readouterr().err


def test_wrong_usage_names_what_is_near(capsys):
    for arguments, words in {
        "trian": "Did you mean train",
        "eval --checkpoint=x --tasks=y --mesh.tenso=2": "Did you mean --mesh.tensor",
        "train --workdir=x --config.seed 3": "expected --config.KEY=VALUE in one word",
    }.items():
        with pytest.raises(SystemExit):
            cli.main(arguments.split())
        assert words in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["train", "--workdir=x", "--processs=2"])
    assert "--processes" not in capsys.readouterr().err  # which is for launchers alone


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["train", "--config=digist", "--workdir=W"], 2, ["digits"]),
        (["train", "--config=digits", "--workdir=W", "--config.sede=1"], 2, ["seed"]),
        (["train", "--workdir=W"], 2, ["config.json", "--config"]),
        (["train", "--workdir=W", "--config.seed=1"], 2, ["--config"]),
        (["status", "W"], 1, ["W", "config.json"]),
        (["status", "W", "--config.seed=1"], 2, ["status", "no config"]),
        (["eval", "--checkpoint=W", "--tasks=a"], 1, ["W", "no such checkpoint"]),
        (["transcribe", "--checkpoint=W", "a.wav"], 1, ["W", "no such checkpoint"]),
        (["export", "--checkpoint=W", "--out=X"], 1, ["W", "no such checkpoint"]),
        (["data", "stats", "--source=manifst:a.jsonl"], 2, ["manifest"]),
        (["data", "stats", "--source=manifest:a.jsonl"], 1, ["a.jsonl"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_line_with_a_code(arguments, code, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("seedasr: ")
    for word in words:
        assert word in err
    assert not list(tmp_path.iterdir())


def test_errors_name_commands_that_exist():
    root = pathlib.Path(cli.__file__).resolve().parent.parent
    (known,) = (a.choices for a in cli.parser()._actions if a.dest == "command")
    found = {
        (path.name, named)
        for folder in ("seedasr_jax", "launch", "data_pipelines", "configs")
        for path in (root / folder).rglob("*.py")
        for named in re.findall(r"`seedasr ([a-z]+)", path.read_text())
    }
    assert len(found) > 10
    assert not [each for each in found if each[1] not in known]
