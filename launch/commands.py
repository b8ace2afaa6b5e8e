"""The commands of `seedasr`, as functions of parsed options; heavy imports are inside them."""

import dataclasses
import json
import os
import pathlib
import re
import signal
import sys

from seedasr_jax import filesystem
from seedasr_jax import workdir as disk
from seedasr_jax.errors import CHECK_FAILED, DONE, FAILED, ConfigError, DataError
from seedasr_jax.launch import signals

MESH = ("data", "fsdp", "tensor", "expert")  # axes; parallel/mesh.py imports JAX
MEMBER = ("process", "processes", "devices", "parent")  # flags that `launch local` gives `train`


def _given(options, *flags) -> dict:
    """The values of flags, as keyword arguments."""
    return {flag: getattr(options, flag) for flag in flags}


def do_train(options):
    """Trains; the exit code."""
    with signals.handling(signals.leave, (signal.SIGTERM, signal.SIGHUP)):  # imports take seconds
        graph = _graph(options)
        from seedasr_jax.launch import runtime

        with runtime.member(options.coordinator, **_given(options, *MEMBER)):
            from seedasr_jax.launch import run

            return run.train(graph, options.workdir, only=options.stage, again=options.again)


def _graph(options):
    """The recipe's graph; None: the workdir's own."""
    from seedasr_jax.launch import recipes

    if not options.config and options.overrides:
        raise ConfigError("--config.KEY=VALUE changes a recipe: name one with --config")
    return recipes.expand(options.config, options.overrides) if options.config else None


def do_launch_local(options):
    """Trains in several processes; the exit code."""
    graph = _graph(options)
    from seedasr_jax.launch.places import local, training

    flags = _given(options, "workdir", "config", "stage", "again", "overrides")
    scale = _given(options, "processes", "devices", "restart")
    return local.submit(training.Training(**flags), graph, **scale)


def do_quickstart(options):
    """Runs every stage on synthetic speech; the exit code."""
    from seedasr_jax.launch.quickstart import run

    return run.run_all(pathlib.Path(options.out), install_seconds=options.install_seconds)


def do_status(options):
    """Prints the stages of a workdir; with --verify exit code 3 if parameters differ."""
    from seedasr_jax.launch import status

    rows = status.rows(pathlib.Path(options.workdir))
    if options.verify:
        from seedasr_jax.launch import verify

        rows = verify.verified(rows)
    print(json.dumps(rows, indent=1) if options.json else status.table(rows))
    failed = options.verify and any("problems" in row for row in rows)
    return CHECK_FAILED if failed else DONE


def do_plan(options):
    """Compiles for a pod; the exit code."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # plans never use a local TPU
    from seedasr_jax.launch import recipes

    graph = recipes.expand(options.config, options.overrides)
    from seedasr_jax.launch import plan

    pinned = {path.rpartition(".")[2] for path, _ in options.overrides if ".mesh." in f".{path}"}
    asked = _given(options, "topology", "slices", "stage", "bucket", "scaling", "steps", "price")
    asked = plan.Asked(**asked, pinned=frozenset(pinned & set(MESH)))
    return plan.run(graph, asked, as_json=options.json)


def do_eval(options):
    """Scores a checkpoint and prints the table."""
    from seedasr_jax.launch import evaluate

    rows, table = evaluate.run(
        options.checkpoint,
        evaluate.split_tasks(options.tasks),
        buckets=evaluate.read_buckets(options.buckets) if options.buckets else (),
        mesh=_mesh(options),
        **_given(options, "decode", "beam", "alpha", "normalizer", "unit", "language", "out"),
    )
    print(json.dumps(rows, indent=1) if options.json else table)


def do_transcribe(options):
    """Prints the text of each file as soon as it is decoded; 1 if one cannot be read."""
    from seedasr_jax.evaluate import transcribe
    from seedasr_jax.launch import contexts

    given = {"context": contexts.read_context(options.context), "language": options.language}
    given["hotwords"] = contexts.read_hotwords(options.hotwords)
    transcriber = transcribe.load(options.checkpoint, _mesh(options))
    print(f"checkpoint {transcriber.label}", file=sys.stderr)
    failed = False
    for path, result in transcriber.stream_files(options.files, **given):
        if isinstance(result, DataError):
            print(f"seedasr: {result}", file=sys.stderr)
            failed = True
            continue
        if result.cut:
            print(f"{path}: transcript cut at {len(result.tokens)} tokens", file=sys.stderr)
        if options.format == "json":
            row = {"audio": path, **dataclasses.asdict(result)}
            print(json.dumps(row, ensure_ascii=False), flush=True)
        else:
            named = [path] * (len(options.files) > 1)
            print("\t".join(map(_in_a_line, (*named, result.text))), flush=True)
    return FAILED if failed else DONE


def _in_a_line(text) -> str:
    """A name or transcript, with characters that would end a line or column as Python escapes."""
    return re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]", lambda char: ascii(char[0])[1:-1], text)


def do_import(options):
    """Writes a bundle of another project's model and prints its path."""
    from seedasr_jax.launch import imports

    print(imports.bundle(options.source, pathlib.Path(options.out), options.part))


def do_export(options):
    """Writes a bundle and prints its path."""
    from seedasr_jax.launch import export

    print(export.bundle(options.checkpoint, pathlib.Path(options.out), _mesh(options)))


def _mesh(options) -> dict[str, int] | None:
    """The given sizes by axis; None if there are none."""
    given = {axis: getattr(options, f"mesh.{axis}") for axis in MESH}
    return {axis: size for axis, size in given.items() if size is not None} or None


def do_configs(options):
    """Prints the recipes, or one of them."""
    from seedasr_jax import config
    from seedasr_jax.launch import recipes

    if options.copy and not options.config:
        raise ConfigError("--copy: name a recipe, as in `seedasr configs digits --copy=FILE`")
    if options.copy:
        recipes.copy(options.config, pathlib.Path(options.copy))
        print(f"recipe in {options.copy}")
    elif options.config:
        print(config.dump(recipes.expand(options.config, options.overrides)), end="")
    else:
        for name in recipes.names():
            print(f"{name:16}{recipes.describe(name).splitlines()[0]}")


def _cache(options) -> str:
    """The folder of --cache, created if named: without a folder no table is kept."""
    if options.cache:
        pathlib.Path(options.cache).mkdir(parents=True, exist_ok=True)
    return options.cache or disk.CACHE


def do_data_stats(options):
    """Prints statistics of each source."""
    from seedasr_jax.data_pipelines import inspect

    cache = _cache(options)
    rows = [inspect.stats(source, cache) for source in options.source]
    print(json.dumps(rows, indent=1) if options.json else inspect.table(rows))


def do_data_validate(options):
    """Prints problems and ignored content; exit code 3 if there are problems."""
    from seedasr_jax.data_pipelines import inspect

    cache, found = _cache(options), 0
    for source in options.source:
        for note in inspect.ignored(source, cache):
            print(note)
        for problem in inspect.problems(source, cache):
            print(problem)
            found += 1
    print(f"{found} problems", file=sys.stderr)
    return CHECK_FAILED if found else DONE


def do_data_vocab(options):
    """Trains a tokenizer and prints its size and hash."""
    filesystem.check_writable(options.out, "--out")
    from seedasr_jax import config
    from seedasr_jax.configs import common
    from seedasr_jax.data_pipelines import named
    from seedasr_jax.text import counted, vocab_training

    source = options.source, _cache(options), options.normalizer
    texts = named.texts(*source)
    prompt = config.build(common.prompt(), config.Prompt)
    how = dict(size=options.size, kind=options.kind, instructions=prompt.literals)
    made = vocab_training.train(texts, options.out, **how)
    print(f"{options.out}: {made.size} pieces, hash {made.hash}")
    if made.size < options.size:
        print(f"{options.out}: the texts yield no more pieces", file=sys.stderr)
    tokens = counted.Counted(made)
    for text in named.texts(*source):
        tokens(text)
    if tokens.warning:
        print(f"{options.out}: {tokens.warning}", file=sys.stderr)
