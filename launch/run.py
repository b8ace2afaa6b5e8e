"""Composition root of training: joins core, data and config into stages that survive any kill."""

import collections.abc
import dataclasses
import importlib
import json
import os
import pathlib
import signal
import time

from flax import nnx
import jax

from seedasr_jax import checkpoint as checkpoints
from seedasr_jax import config
from seedasr_jax.data_pipelines import loader, sources
from seedasr_jax.decode import recogniser as recognisers
from seedasr_jax.errors import ConfigError
from seedasr_jax.evaluate import sweep
from seedasr_jax.launch import lock
from seedasr_jax.launch.progress import Progress, say
from seedasr_jax.text import prompts, vocab
from seedasr_jax.train import build, graph, loop, objectives
from seedasr_jax.train.metrics import Metrics

CONFIG = "config.json"


@dataclasses.dataclass(frozen=True)
class Job:
    """A workdir with everything that its stages share."""

    workdir: pathlib.Path
    graph: config.Graph
    vocab: vocab.Vocabulary
    recipes: collections.abc.Mapping[str, graph.Recipe]

    def folder(self, name) -> pathlib.Path:
        """A stage's directory."""
        return self.workdir / name

    def cache(self, stage: config.Stage) -> pathlib.Path:
        """Where made or converted audio is kept."""
        return pathlib.Path(stage.run.cache) if stage.run.cache else self.workdir / "cache"


class Stop:
    """Ctrl-C and SIGTERM ask the loop to save and stop; a second Ctrl-C ends at once."""

    exit_code = 0

    def __enter__(self):
        self.before = {s: signal.signal(s, self._ask) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_):
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _ask(self, number, _):
        if self.exit_code and number == signal.SIGINT:
            os._exit(130)
        self.exit_code = 130 if number == signal.SIGINT else 75
        say("saving, then stopping")

    def asked(self) -> bool:
        """Whether a signal came."""
        return bool(self.exit_code)


def train(expanded: config.Graph | None, workdir, *, only="", again="") -> int:
    """Runs a graph's unfinished stages.

    Args:
        expanded: the graph, or None for the one that the workdir holds.
        workdir: where everything goes.
        only: the one stage to run.
        again: a stage to run again, with all that start from it.

    Returns:
        The exit code: 0, 130 after Ctrl-C, 75 after SIGTERM.

    Raises:
        ConfigError: a stale stage, a missing parent, a config that does not fit.
        UserError: the workdir is being written by someone else; data that cannot be used.
    """
    workdir = pathlib.Path(workdir).resolve()
    workdir.mkdir(parents=True, exist_ok=True)
    with lock.hold(workdir), Stop() as stop:
        expanded = expanded or stored(workdir)
        job = prepare(expanded, workdir)
        if again:
            _set_aside(job, again)
        _check_stale(job)
        _write(workdir / CONFIG, config.to_dict(expanded))
        for name in _chosen(job, only):
            record = _record(job.folder(name))
            if record is not None and record.state == "finished":
                say(f"{name}: finished")
                continue
            try:
                _run_stage(job, name, stop)
            except loop.Stopped:
                return stop.exit_code
    return 0


def stored(workdir: pathlib.Path) -> config.Graph:
    """The graph that a workdir was started with.

    Raises:
        ConfigError: it holds none.
    """
    path = workdir / CONFIG
    if not path.exists():
        raise ConfigError(f"{workdir} holds no {CONFIG}: name a recipe with --config")
    return config.build(json.loads(path.read_text()), config.Graph)


def prepare(expanded: config.Graph, workdir: pathlib.Path) -> Job:
    """Checks a graph, makes its tokenizer, and hashes its recipes."""
    for module in expanded.imports:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise ConfigError(f"config.imports: {error}; is it on PYTHONPATH?") from error
    blank = recognisers.Tokens(0, 0, 0)
    graph.check(expanded, lambda stage: objectives.make(stage, blank, 0).parts)
    tokenizer = _tokenizer(expanded, workdir)
    job = Job(workdir, expanded, tokenizer, {})
    folder = {spec: job.cache(s) for s in expanded.stages.values() for spec, _ in s.data.mixture}
    recipes = graph.recipes(
        expanded,
        tokenizer.hash,
        content=lambda spec: loader.open_named(spec, folder[spec]).name,
        outside=lambda path: checkpoints.open_checkpoint(path).record.recipe_hash,
    )
    return dataclasses.replace(job, recipes=recipes)


def _tokenizer(expanded, workdir):
    settings = {stage.vocab for stage in expanded.stages.values()}
    if len(settings) > 1:
        raise ConfigError("config.vocab: the stages of a graph share one; found several")
    (setting,) = settings
    folder = workdir / "vocab"
    if folder.exists():
        return vocab.open_vocabulary(folder)
    if setting.path:
        tokenizer = vocab.open_vocabulary(setting.path)
        tokenizer.save(folder)
        return tokenizer
    stages = expanded.stages.values()
    mixtures = {(spec, s.data.normalizer, s.run.cache) for s in stages for spec, _ in s.data.mixture}
    texts = [
        text
        for spec, normalizer, cache in sorted(mixtures)
        for text in sources.texts([spec], cache or workdir / "cache", normalizer)
    ]
    return vocab.train_sentencepiece(texts, folder, size=setting.size, kind=setting.kind)


def _record(folder) -> checkpoints.StageRecord | None:
    return checkpoints.read(folder) if (folder / "stage.json").exists() else None


def _check_stale(job):
    for name, recipe in job.recipes.items():
        record = _record(job.folder(name))
        if record is not None and record.recipe_hash != recipe.hash:
            old = config.to_dict(record.recipe) | {"reads": dict(record.reads)}
            raise ConfigError(graph.stale(name, old, recipe))


def _set_aside(job, again):
    if again not in job.graph.stages:
        raise ConfigError(f"--from: no stage {again!r}; stages: {', '.join(job.graph.stages)}")
    for name in graph.descendants(job.graph, again):
        folder = job.folder(name)
        if folder.exists():
            number = 1
            while (old := job.workdir / f"{name}.old-{number}").exists():
                number += 1
            folder.rename(old)
            say(f"{name}: moved to {old.name}")


def _chosen(job, only):
    names = graph.order(job.graph)
    if not only:
        return names
    if only not in names:
        raise ConfigError(f"--stage: no stage {only!r}; stages: {', '.join(names)}")
    for parent in graph.parents(job.graph, only):
        record = _record(job.folder(parent))
        if record is None or record.state != "finished":
            raise ConfigError(f"stage {only!r} starts from {parent!r}, which is not finished: run it")
    return [only]


def _write(path, tree):
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(tree, indent=1) + "\n")
    os.replace(temporary, path)


def _source(job, path):
    """The checkpoint behind an `init`: a stage of this graph or a path."""
    return checkpoints.open_checkpoint(job.folder(path) if path in job.graph.stages else path)


def _begin(job: Job, name: str, built: build.Built, resuming: bool):
    """The state that a stage starts from, and references to where its parts came from.

    A stage that resumes has what it trains in its own checkpoint: only the rest is loaded.
    """
    state, stage = built.fresh(), job.graph.stages[name]
    parents = {}
    for part, path in job.recipes[name].parents.items():
        source = _source(job, path)
        parents[part] = source.reference(part, job.workdir)
        if part in stage.trains and resuming:
            continue
        for holder in ("params", "frozen"):
            tree, places = getattr(state, holder), getattr(built.sharding, holder)
            if not checkpoints.select(tree, part):
                continue
            leaves = checkpoints.hand_over(
                source, part, tree, places, model=stage.model, vocabulary=job.vocab.hash
            )
            state = state.replace(**{holder: checkpoints.fill(tree, leaves)})
        say(f"{name}: {part} from {source.label}")
    for part in {checkpoints.part_of(leaf) for leaf in checkpoints.flat(state.frozen)}:
        if part not in parents:
            raise ConfigError(
                f"stage {name!r}: {part} is neither trained nor taken from anywhere: add it to"
                f" trains, or set init.{part} to a stage or checkpoint"
            )
    return state, parents


class Keeper:
    """Saves a stage and keeps its stage.json true: what it says is on disk, and what is not, it
    does not say."""

    def __init__(self, folder, record, keep, stream):
        self.folder, self.record, self.stream = folder, record, stream
        self.writer = checkpoints.Writer(folder, keep)
        self.before = {"hours": dict(record.hours), "spent": dict(record.spent)}
        self.notes = {}
        self.clock, self.cpu = time.monotonic(), time.process_time()

    def save(self, step, state):
        """Starts a save; stage.json follows when it is durable."""
        hours = {
            task: self.before["hours"].get(task, 0.0) + more
            for task, more in self.stream.hours.items()
        }
        seconds = time.monotonic() - self.clock
        spent = {
            "seconds": seconds,
            "cpu_seconds": time.process_time() - self.cpu,
            "chip_seconds": seconds * jax.device_count(),
        }
        spent = {k: self.before["spent"].get(k, 0.0) + v for k, v in spent.items()}
        self.notes[step] = {"hours": hours, "spent": spent}
        self.writer.save(step, state, self.notes[step])
        self.settle()

    def settle(self, **changes):
        """Writes stage.json as of the newest durable step."""
        step = self.writer.finished()
        if step in self.notes:
            changes |= self.notes[step] | {"step": step, "position": step}
        self.record = dataclasses.replace(self.record, **changes)
        if jax.process_index() == 0:
            checkpoints.write(self.folder, self.record)

    def finish(self, params):
        """Waits for the last save and declares the stage finished."""
        self.writer.close()
        parts = {checkpoints.part_of(leaf) for leaf in checkpoints.flat(params)}
        hashes = {p: checkpoints.parameters_hash(checkpoints.select(params, p)) for p in parts}
        self.settle(hashes=hashes, state="finished")


def _run_stage(job: Job, name: str, stop: Stop):
    stage, folder = job.graph.stages[name], job.folder(name)
    built = build.build(stage, recognisers.special_tokens(job.vocab), job.vocab.size)
    latest = checkpoints.latest(folder)
    state, parents = _begin(job, name, built, latest is not None)
    frozen = {part: parents[part] for part in parents if part not in stage.trains}
    record = checkpoints.begin(
        stage,
        job.recipes[name].hash,
        parents=parents,
        frozen=frozen,
        vocabulary=job.vocab.hash,
        reads=job.recipes[name].tree["reads"],
    )
    if latest is not None:
        state = checkpoints.restore(folder, latest, state, built.sharding)
        record = dataclasses.replace(
            record, step=latest, position=latest, **checkpoints.note(folder, latest)
        )
        say(f"{name}: resumed at step {latest}")
    folder.mkdir(parents=True, exist_ok=True)
    stream = loader.training(
        stage.data,
        job.vocab,
        seed=stage.seed,
        start=int(state.step),
        data_folder=job.cache(stage),
        prompt=prompts.INSTRUCTION if built.objective.hears else None,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    metrics = Metrics(folder, int(state.step), tensorboard=stage.run.tensorboard)
    keeper = Keeper(folder, record, stage.run.keep, stream)
    keeper.settle()
    evaluator = Evaluator(job, name, built)
    hooks = loop.Hooks(keeper.save, evaluator, stop.asked, Progress(name, stage.steps))
    batches = (batch for batch, _ in stream)
    with stream:
        try:
            state = loop.run(
                built.train_step(), state, batches, metrics, stage, built.mesh, hooks
            )
        finally:
            keeper.writer.close()
            keeper.settle()
            metrics.close()
            _write_skipped(folder, stream)
    keeper.finish(state.params)
    say(f"{name}: finished in {keeper.record.spent['seconds']:.0f} s")


def _write_skipped(folder, stream):
    if stream.skipped:
        with open(folder / "skipped.jsonl", "a", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in stream.skipped)


class Evaluator:
    """Scores a stage's state on its development tasks; compiled once."""

    def __init__(self, job: Job, name: str, built: build.Built):
        self.job, self.name, self.stage = job, name, built.stage
        self.recogniser, self.tasks = None, None
        self.built = built

    def __call__(self, step: int, state) -> dict:
        """{"eval": {task: error rate}} of the state."""
        evaluation = self.stage.eval
        if not evaluation.tasks:
            return {}
        params = nnx.merge_state(state.params, state.frozen)
        if self.recogniser is None:
            self.recogniser = recognisers.Recogniser(
                self.built.graphdef,
                params,
                self.job.vocab,
                self.stage.model,
                self.built.objective.parts,
            )
            self.tasks = [self._open(task) for task in evaluation.tasks]
        recogniser = self.recogniser.with_state(params)
        setting = sweep.Setting(
            evaluation.decode, evaluation.normalizer, evaluation.unit, evaluation.tokens
        )
        rates = {}
        for task in self.tasks:
            row, _ = sweep.evaluate(recogniser, f"{self.name}@{step}", task.name, task, setting)
            rates[task.name] = {"error_rate": row["error_rate"]}
            say(f"{self.name} {step}: {task.name}  {setting.decode}  {row['error_rate']:.2f} %")
        return {"eval": rates}

    def _open(self, task):
        stage = self.stage
        return loader.evaluation(
            task,
            self.job.vocab,
            buckets=stage.data.buckets,
            data_folder=self.job.cache(stage),
            prompt=prompts.INSTRUCTION,
            normalizer=stage.data.normalizer,
        )
