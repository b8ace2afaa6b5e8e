"""`seedasr`: what people type, parsed. `--help` imports nothing heavy."""

import os
import sys

# Files of the current folder would hide modules. `python -m` looks there first, and an empty
# element of PYTHONPATH means it, here and in every process that is started.
if __name__ == "__main__" and not sys.flags.safe_path:
    del sys.path[0]
if "" in (named := os.environ.get("PYTHONPATH", "-").split(os.pathsep)):
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, named))
    sys.path[:] = [path for path in sys.path if path != os.getcwd() or path in named]

import argparse
import functools
import itertools
import re

from seedasr_jax import __version__, filesystem
from seedasr_jax.errors import FAILED, ConfigError, UserError
from seedasr_jax.launch import commands, exits, flags, memory, signals, streams

_OVERRIDE = re.compile(r"--config\.([\w.-]+)=(.*)", re.DOTALL)


def main(arguments=None) -> int:
    """Runs a command and returns its exit code: 0 done, 2 usage or config; others: exits.py."""
    streams.ready()
    try:
        try:
            with signals.insisting():
                return _run(sys.argv[1:] if arguments is None else list(arguments))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        streams.give_up_output()
        sys.stderr.close()  # the reader of our output is gone
        return FAILED
    except (UserError, OSError, MemoryError, RuntimeError, KeyboardInterrupt) as error:
        code = exits.code(error)
        if code is None:
            raise
        streams.give_up_output()
        return code
    finally:
        if arguments is None:  # a program of its own, and not a function
            signals.done()


def _run(arguments) -> int:
    overrides = [found.groups() for a in arguments if (found := _OVERRIDE.fullmatch(a))]
    for argument in itertools.takewhile("--".__ne__, arguments):
        if argument[:1] == "-" and os.path.isfile(argument):
            raise ConfigError(f"{argument}: a file whose name begins so is written ./{argument}")
    options = parser().parse_args([a for a in arguments if not _OVERRIDE.fullmatch(a)])
    if overrides and "config" not in options:
        raise ConfigError(f"--config.{overrides[0][0]}: `seedasr {options.command}` has no config")
    for place in ("workdir", "out", "cache", "copy", "checkpoint"):
        if found := getattr(options, place, ""):
            filesystem.check_local(found, f"--{place}")
            setattr(options, place, os.path.expanduser(found))  # no shell does, behind a "="
    options.overrides = overrides
    memory.keep()
    return options.run(options) or 0


def parser() -> argparse.ArgumentParser:
    """All commands; `run` of what it parses takes the options."""
    parser = flags.Parser(
        prog="seedasr",
        description="Audio-conditioned LLM speech recognition: train, score, transcribe, export.",
        epilog="Start with: seedasr quickstart",
    )
    parser.add_argument("--version", action="version", version=__version__)
    kinds = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    add = functools.partial(_add, kinds)
    c = add(
        "quickstart",
        commands.do_quickstart,
        "train a small recogniser on speech made on the spot, score it, export it, use it",
        "seedasr quickstart --out=runs/quickstart",
    )
    c.add_argument("--out", default="runs/quickstart", metavar="DIR", help="default: %(default)s")
    c.add_argument(
        "--install-seconds",
        type=flags.amount,
        default=0.0,
        metavar="N",
        help="for summary.json's totals",
    )

    c = add(
        "train",
        commands.do_train,
        "run the stage graph; finished stages are skipped, an interrupted one resumes exactly",
        "seedasr train --config=digits:train.jsonl --workdir=runs/digits"
        " --config.stages.ctc.steps=2000",
    )
    _training(c)
    # How a process of a job that `launch` starts finds the others.
    c.add_argument("--coordinator", default="", help=argparse.SUPPRESS)
    for member in commands.MEMBER:
        c.add_argument(f"--{member}", type=int, default=0, help=argparse.SUPPRESS)

    launch = add(
        "launch",
        None,
        "run `train` in several processes",
        "seedasr launch local --processes=2 --config=digits:train.jsonl --workdir=runs/digits",
    )
    _places(launch.add_subparsers(dest="place", required=True, metavar="PLACE"))

    c = add(
        "status",
        commands.do_status,
        "the stages of a workdir: state, step, speed, checkpoint, hours heard, where they start",
        "seedasr status runs/digits",
    )
    c.add_argument("workdir", metavar="WORKDIR")
    c.add_argument("--json", action="store_true", help="a list of objects on stdout")
    c.add_argument(
        "--verify",
        action="store_true",
        help="read all parameters and compare their hashes; exits 3 if any differs or is missing",
    )

    c = add(
        "plan",
        commands.do_plan,
        "compile every stage for a TPU pod that is not there: memory, speed at most, collectives",
        "seedasr plan --config=seed_asr_ml:8b --topology=v5p:4x4x8",
    )
    c.add_argument("--config", required=True, metavar="NAME_OR_FILE[:ARG]", help="a recipe")
    c.add_argument("--topology", required=True, metavar="T", help="v5p:4x4x8, v5p-256, v6e:16x16")
    c.add_argument("--slices", type=int, default=1, metavar="N", help="slices of that shape")
    c.add_argument("--stage", default="", metavar="NAME", help="plan this stage only")
    c.add_argument(
        "--bucket", default="", metavar="SECONDS", help="or all; default: each stage's largest"
    )
    c.add_argument(
        "--scaling", action="store_true", help="64 to 4,096 chips, each with the work that T gives"
    )
    c.add_argument("--steps", type=int, default=0, metavar="N", help="to price; default: all")
    c.add_argument("--price", type=flags.amount, default=0.0, metavar="USD", help="per chip-hour")
    c.add_argument("--json", action="store_true", help="a list of objects on stdout")

    c = add(
        "eval",
        commands.do_eval,
        "score a checkpoint on tasks",
        "seedasr eval --checkpoint=runs/digits --tasks='manifest:test.jsonl?join=3-6&seed=0'",
    )
    c.add_argument(
        "--checkpoint", required=True, metavar="C", help="workdir, stage, DIR@STEP, bundle"
    )
    c.add_argument("--tasks", required=True, metavar="A,B", help="tasks, mixtures or SPECs")
    c.add_argument(
        "--decode",
        default="",
        help="ctc, greedy or beam4,alpha=0.5, also with ,long=direct; default: the stage's",
    )
    c.add_argument("--beam", type=int, default=0, metavar="N", help="beam search: hypotheses kept")
    c.add_argument(
        "--alpha", type=float, metavar="X", help="what an utterance's context weighs in the beam"
    )
    c.add_argument(
        "--language", default="row", metavar="TAG", help="of all utterances; default: as rows say"
    )
    c.add_argument("--unit", default="", help="word, char or mixed; default: by language")
    c.add_argument("--normalizer", default="", help="such as basic@2; default: by language")
    c.add_argument(
        "--buckets",
        default="",
        metavar="'((SECONDS,TOKENS,UTTERANCES),...)'",
        help="of batches, tokens as many as are decoded; default: the recipe's, or up to 5 minutes",
    )
    _mesh(c)
    c.add_argument("--out", default="", metavar="DIR", help="default: CHECKPOINT/eval/HASH")
    c.add_argument("--json", action="store_true", help="a list of objects on stdout")

    c = add(
        "transcribe",
        commands.do_transcribe,
        "audio files to text",
        "seedasr transcribe --checkpoint=runs/digits one.wav two.flac",
    )
    c.add_argument(
        "--checkpoint", required=True, metavar="C", help="workdir, stage, DIR@STEP, bundle"
    )
    c.add_argument("files", nargs="+", metavar="FILE")
    c.add_argument("--context", default="", metavar="TEXT", help="what it is about, said before")
    c.add_argument(
        "--hotwords", default="", metavar="A,B or @FILE", help="names; in a FILE one per line"
    )
    c.add_argument(
        "--language",
        default="",
        metavar="TAG",
        help="BCP-47 tag of the speech, for a prompt that names the language; default: not stated",
    )
    c.add_argument("--format", default="text", choices=("text", "json"))
    _mesh(c)

    c = add(
        "export",
        commands.do_export,
        "write a checkpoint for others to use, and run it again from disk",
        "seedasr export --checkpoint=runs/digits --format=bundle --out=digits-bundle",
    )
    c.add_argument("--checkpoint", required=True, metavar="C", help="workdir, stage or DIR@STEP")
    c.add_argument("--format", default="bundle", choices=("bundle",))
    c.add_argument("--out", required=True, metavar="DIR")
    _mesh(c)

    c = add(
        "configs",
        commands.do_configs,
        "list recipes, print one expanded, or copy one",
        "seedasr configs digits",
    )
    c.add_argument("config", nargs="?", default="", metavar="NAME[:ARG]")
    c.add_argument("--copy", default="", metavar="FILE", help="write the recipe's file to edit")

    data = add("data", None, "look at data, train a tokenizer", "seedasr data stats --source=SPEC")
    actions = data.add_subparsers(dest="action", required=True, metavar="ACTION")
    _data_actions(actions)
    return parser


def _add(holder, name, run, text, example):
    """A command with its help and an example."""
    command = holder.add_parser(
        name,
        help=text,
        description=text,
        epilog=f"example: {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    return command


def _training(command):
    """What is trained, and where it goes."""
    command.add_argument("--config", default="", metavar="NAME_OR_FILE[:ARG]", help="a recipe")
    command.add_argument(
        "--workdir", required=True, metavar="DIR", help="alone: resume what is there"
    )
    command.add_argument("--stage", default="", metavar="NAME", help="run this stage only")
    command.add_argument(
        "--from", default="", dest="again", metavar="STAGE", help="run it and its descendants again"
    )


def _mesh(command):
    """Over which devices the parameters and the examples are sharded."""
    for axis in commands.MESH:
        text = "devices along this axis; default: all accelerators here, one device of a CPU"
        command.add_argument(f"--mesh.{axis}", type=int, metavar="N", help=text)


def _places(places):
    c = _add(
        places,
        "local",
        commands.do_launch_local,
        "on this machine's CPU, in processes that find each other as those of a pod do",
        "seedasr launch local --processes=2 --config=digits:train.jsonl --workdir=runs/digits",
    )
    c.add_argument("--processes", type=int, required=True, metavar="N", help="at least 1")
    c.add_argument(
        "--devices", type=int, default=1, metavar="D", help="of each; default: %(default)s"
    )
    c.add_argument(
        "--restart", type=int, default=0, metavar="K", help="times, after a failure; default: 0"
    )
    _training(c)


def _data_actions(actions):
    def add(name, run, text, example):
        action = _add(actions, name, run, text, example)
        action.add_argument("--source", required=True, action="append", metavar="SPEC")
        action.add_argument(
            "--cache",
            metavar="DIR",
            help="of made audio; of tables where it is given or there already (default: cache)",
        )
        return action

    a = add(
        "stats",
        commands.do_data_stats,
        "hours, utterances, speakers, texts",
        "seedasr data stats --source=SPEC",
    )
    a.add_argument("--json", action="store_true", help="a list of objects on stdout")
    a = add(
        "validate",
        commands.do_data_validate,
        "what is wrong with it, row by row; exits 3 if anything is",
        "seedasr data validate --source=manifest:train.jsonl",
    )
    a = add(
        "vocab",
        commands.do_data_vocab,
        "train a SentencePiece tokenizer on its texts",
        "seedasr data vocab --source=manifest:train.jsonl --size=1000 --out=vocab",
    )
    a.add_argument("--size", type=int, required=True, help="pieces")
    a.add_argument("--kind", default="bpe", choices=("bpe", "unigram", "char", "word"))
    a.add_argument("--normalizer", default="basic@2")
    a.add_argument("--out", required=True, metavar="DIR")


if __name__ == "__main__":
    sys.exit(main())
