"""The command: quick help, examples that parse, exit codes."""

import gc
import json
import os
import pathlib
import re
import shlex
import signal
import statistics
import subprocess
import sys
import time

import pytest
import recordings
import tones

from seedasr_jax import checkpoint
from seedasr_jax.launch import cli, signals

SEEDASR = [sys.executable, "-m", "seedasr_jax.launch.cli"]
COMMANDS = [
    "quickstart",
    "train",
    "launch",
    "status",
    "plan",
    "eval",
    "transcribe",
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


def test_the_home_folder_is_found_behind_a_flag(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cli.main(["configs", "digits", "--copy=~/mine.py"]) == 0
    assert (tmp_path / "mine.py").exists()


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


def test_a_reader_that_leaves_early_gets_no_traceback():
    done = subprocess.Popen(
        [*SEEDASR, "configs", "digits"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    done.stdout.close()
    assert done.stderr.read() == b""
    assert done.wait() == 1


@pytest.mark.parametrize("command", ["configs", "configs digits"])
def test_output_that_finds_no_room_is_one_line(command):
    """As much as a buffer holds is written at the end; more, before; without one, each line."""
    environment = {key: os.environ[key] for key in os.environ if key != "PYTHONUNBUFFERED"}
    if command == "configs":
        environment["PYTHONUNBUFFERED"] = "1"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*SEEDASR, *command.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("seedasr: stdout: no space left")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("stderr", ["2>/dev/full", "2>&-", ">&- 2>&- <&-"])
def test_a_log_without_room_and_closed_streams_end_no_command(stderr):
    code = (
        "import os, sys; from seedasr_jax.launch import streams; streams.ready()\n"
        "print('a line', file=sys.stderr); sys.stderr.isatty()\n"
        "print('\\u00fc'); sys.stdout.flush()\n"
        "assert os.open('/dev/null', os.O_RDONLY) > 2"
    )
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "CODE": code}
    line = f'exec "{sys.executable}" -c "$CODE" {stderr}'
    done = subprocess.run(line, shell=True, env=environment, stdout=subprocess.PIPE)
    assert done.returncode == 0
    assert done.stdout.decode() == ("" if ">&- 2" in stderr else "ü\n")


def test_an_interrupt_that_c_code_drops_comes_again():
    """As one that comes in a collection of garbage, where JAX has a callback, or in libsndfile."""
    calls = []

    def collected(*_):
        calls.append(_)
        if len(calls) == 1:
            signal.raise_signal(signal.SIGINT)

    def interrupted():
        with signals.insisting():
            gc.collect()
            time.sleep(30)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's "&" ignores it
    gc.callbacks.append(collected)
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
    finally:
        gc.callbacks.remove(collected)
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("command", ["configs", "configs none", "configs --help"])
@pytest.mark.parametrize("ignored", [False, True])
def test_an_interrupt_after_the_command_leaves_no_traceback(command, ignored):
    code = (
        "import atexit, signal, sys\n"
        "from seedasr_jax.launch import cli\n"
        f"signal.signal(signal.SIGINT, signal.{'SIG_IGN' if ignored else 'default_int_handler'})\n"
        "atexit.register(signal.raise_signal, signal.SIGINT)\n"
        "sys.exit(cli.main())"
    )
    command = [sys.executable, "-c", code, *command.split()]
    done = subprocess.run(command, capture_output=True, text=True)
    ended = 2 if command[-1] == "none" else 0
    assert done.returncode == (ended if ignored else -signal.SIGINT)
    assert "Traceback" not in done.stderr


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


def test_eval_prints_a_table_and_writes_where_it_is_told(trained, capsys, tmp_path):
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
