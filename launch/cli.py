"""The command line of `seedasr`. `--help` has no heavy imports."""

import os
import sys

# Files of the current folder would hide modules: `python -m` looks there first, and an empty
# element of PYTHONPATH means it, here and in every process started from here.
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
        sys.stderr.close()  # the reader of the output has ended
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
            raise ConfigError(
                f"{argument}: a file whose name starts with - is written ./{argument}"
            )
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
    """The parser of all commands; it sets `run`, a function of the parsed options."""
    parser = flags.Parser(
        prog="seedasr",
        description="Audio-conditioned LLM speech recognition: train, score, transcribe, export.",
        epilog="Start with: seedasr quickstart",
    )
    parser.add_argument("--version", action="version", version=__version__)
    kinds = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    add = functools.partial(_add, kinds)
    text = "synthesise speech, train a small recogniser on it, score, export and use it"
    c = add("quickstart", commands.do_quickstart, text, "--out=runs/quickstart")
    c.add_argument("--out", default="runs/quickstart", metavar="DIR", help="default: %(default)s")
    text = "duration of the installation, for summary.json"
    c.add_argument("--install-seconds", type=flags.amount, default=0.0, metavar="N", help=text)

    text = "run the stage graph; finished stages are skipped, an interrupted one resumes exactly"
    example = "--config=digits:train.jsonl --workdir=runs/digits --config.stages.ctc.steps=2000"
    c = add("train", commands.do_train, text, example)
    _training(c)
    # How a process of a job that `launch` starts finds the others.
    c.add_argument("--coordinator", default="", help=argparse.SUPPRESS)
    for member in commands.MEMBER:
        c.add_argument(f"--{member}", type=int, default=0, help=argparse.SUPPRESS)

    example = "local --processes=2 --config=digits:train.jsonl --workdir=runs/digits"
    launch = add("launch", None, "run `train` in several processes", example)
    _places(launch.add_subparsers(dest="place", required=True, metavar="PLACE"))

    text = "the stages of a workdir: state, step, speed, checkpoint, hours of audio, parents"
    c = add("status", commands.do_status, text, "runs/digits")
    c.add_argument("workdir", metavar="WORKDIR")
    _json(c)
    text = "read all parameters and compare their hashes; exits 3 if any differs or is missing"
    c.add_argument("--verify", action="store_true", help=text)

    text = (
        "compile every stage for a TPU pod, without needing one: memory, step-time bound, traffic"
    )
    example = "--config=seed_asr_ml:8b --topology=v5p:4x4x8"
    c = add("plan", commands.do_plan, text, example)
    c.add_argument("--config", required=True, metavar="NAME_OR_FILE[:ARG]", help="a recipe")
    c.add_argument("--topology", required=True, metavar="T", help="v5p:4x4x8, v5p-256, v6e:16x16")
    c.add_argument("--slices", type=int, default=1, metavar="N", help="slices of that shape")
    c.add_argument("--stage", default="", metavar="NAME", help="plan this stage only")
    text = "plan the bucket of this duration, or all; default: the largest of each stage"
    c.add_argument("--bucket", default="", metavar="SECONDS", help=text)
    text = "64 to 4,096 chips, with the work per chip that T gives"
    c.add_argument("--scaling", action="store_true", help=text)
    c.add_argument("--steps", type=int, default=0, metavar="N", help="steps to price; default: all")
    c.add_argument("--price", type=flags.amount, default=0.0, metavar="USD", help="per chip-hour")
    _json(c)

    example = "--checkpoint=runs/digits --tasks='manifest:test.jsonl?join=3-6&seed=0'"
    c = add("eval", commands.do_eval, "score a checkpoint on tasks", example)
    _checkpoint(c)
    c.add_argument("--tasks", required=True, metavar="A,B", help="tasks, mixtures or SPECs")
    text = "ctc, greedy or beam4,alpha=0.5, also with ,long=direct; default: the stage's"
    c.add_argument("--decode", default="", help=text)
    c.add_argument("--beam", type=int, default=0, metavar="N", help="hypotheses of a beam search")
    text = "weight of each utterance's context in the beam search"
    c.add_argument("--alpha", type=float, metavar="X", help=text)
    text = "language of all utterances; default: as each row states"
    c.add_argument("--language", default="row", metavar="TAG", help=text)
    c.add_argument("--unit", default="", help="word, char or mixed; default: by language")
    c.add_argument("--normalizer", default="", help="such as basic@2; default: by language")
    c.add_argument(
        "--buckets",
        default="",
        metavar="'((SECONDS,TOKENS,UTTERANCES),...)'",
        help="shapes of batches, TOKENS: decoding limit; default: the recipe's, or up to 5 minutes",
    )
    _mesh(c)
    c.add_argument("--out", default="", metavar="DIR", help="default: CHECKPOINT/eval/HASH")
    _json(c)

    example = "--checkpoint=runs/digits one.wav two.flac"
    c = add("transcribe", commands.do_transcribe, "transcribe audio files", example)
    _checkpoint(c)
    c.add_argument("files", nargs="+", metavar="FILE")
    c.add_argument("--context", default="", metavar="TEXT", help="previous speech, topic")
    text = "words and names that may be spoken; one per line in FILE"
    c.add_argument("--hotwords", default="", metavar="A,B or @FILE", help=text)
    text = "BCP-47 tag of the speech, for a prompt that names the language; default: not stated"
    c.add_argument("--language", default="", metavar="TAG", help=text)
    c.add_argument("--format", default="text", choices=("text", "json"))
    _mesh(c)

    text = "import a model of transformers as a checkpoint that stages start from"
    example = "--from=Qwen3-1.7B --out=runs/llm"
    c = add("import", commands.do_import, text, example)
    text = "config.json, *.safetensors and the tokenizer, as save_pretrained writes them"
    c.add_argument("--from", required=True, dest="source", metavar="HF_DIR", help=text)
    c.add_argument("--out", required=True, metavar="DIR")
    text = "import this part of the model alone"
    c.add_argument("--part", default="", choices=("encoder", "decoder"), help=text)

    text = "write a checkpoint for use elsewhere, and verify it from disk"
    example = "--checkpoint=runs/digits --format=bundle --out=digits-bundle"
    c = add("export", commands.do_export, text, example)
    _checkpoint(c, "workdir, stage or DIR@STEP")
    c.add_argument("--format", default="bundle", choices=("bundle",))
    c.add_argument("--out", required=True, metavar="DIR")
    _mesh(c)

    text = "list recipes, print one expanded, or copy one"
    c = add("configs", commands.do_configs, text, "digits")
    c.add_argument("config", nargs="?", default="", metavar="NAME[:ARG]")
    c.add_argument("--copy", default="", metavar="FILE", help="write the recipe's file to edit")

    data = add("data", None, "inspect data, train a tokenizer", "stats --source=SPEC")
    _data_actions(data.add_subparsers(dest="action", required=True, metavar="ACTION"))
    return parser


def _add(holder, name, run, text, example):
    """A command with its help; `example`: its arguments."""
    form = argparse.RawDescriptionHelpFormatter
    command = holder.add_parser(name, help=text, description=text, formatter_class=form)
    command.epilog = f"example: {command.prog} {example}"
    command.set_defaults(run=run)
    return command


def _json(command):
    command.add_argument("--json", action="store_true", help="a list of objects on stdout")


def _checkpoint(command, text="workdir, stage, DIR@STEP or bundle"):
    command.add_argument("--checkpoint", required=True, metavar="C", help=text)


def _training(command):
    """The flags of a training: its recipe, its workdir, its stages."""
    add = command.add_argument
    add("--config", default="", metavar="NAME_OR_FILE[:ARG]", help="a recipe")
    add("--workdir", required=True, metavar="DIR", help="without --config: resume its own recipe")
    add("--stage", default="", metavar="NAME", help="run this stage only")
    text = "run it and its descendants again"
    add("--from", default="", dest="again", metavar="STAGE", help=text)


def _mesh(command):
    """Over which devices parameters and examples are sharded."""
    for axis in commands.MESH:
        text = "devices along this axis; default: all local accelerators, or one CPU device"
        command.add_argument(f"--mesh.{axis}", type=int, metavar="N", help=text)


def _places(places):
    text = "on this machine's CPU, in connected processes as on a pod"
    example = "--processes=2 --config=digits:train.jsonl --workdir=runs/digits"
    c = _add(places, "local", commands.do_launch_local, text, example)
    c.add_argument("--processes", type=int, required=True, metavar="N", help="at least 1")
    text = "CPU devices of each process; default: %(default)s"
    c.add_argument("--devices", type=int, default=1, metavar="D", help=text)
    text = "restarts after a failure; default: %(default)s"
    c.add_argument("--restart", type=int, default=0, metavar="K", help=text)
    _training(c)


def _data_actions(actions):
    def add(name, run, text, example):
        action = _add(actions, name, run, text, example)
        action.add_argument("--source", required=True, action="append", metavar="SPEC")
        text = "folder of generated audio, and of tables if given or existing; default: cache"
        action.add_argument("--cache", metavar="DIR", help=text)
        return action

    text = "hours, utterances, speakers, texts"
    _json(add("stats", commands.do_data_stats, text, "--source=SPEC"))
    text = "report problems row by row; exits 3 if there are any"
    add("validate", commands.do_data_validate, text, "--source=manifest:train.jsonl")
    text = "train a SentencePiece tokenizer on its texts"
    example = "--source=manifest:train.jsonl --size=1000 --out=vocab"
    a = add("vocab", commands.do_data_vocab, text, example)
    a.add_argument("--size", type=int, required=True, help="number of pieces")
    a.add_argument("--kind", default="bpe", choices=("bpe", "unigram", "char", "word"))
    a.add_argument("--normalizer", default="basic@2")
    a.add_argument("--out", required=True, metavar="DIR")


if __name__ == "__main__":
    sys.exit(main())
