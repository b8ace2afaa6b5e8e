"""One stage of a job: where it starts, what it keeps on disk, how it is scored in training."""

import collections.abc
import contextlib
import dataclasses
import pathlib

from flax import nnx

from seedasr_jax import checkpoint as checkpoints
from seedasr_jax import config, inventory
from seedasr_jax import workdir as disk
from seedasr_jax.data_pipelines import loader
from seedasr_jax.decode import recogniser as recognisers
from seedasr_jax.decode import scoring
from seedasr_jax.errors import ConfigError
from seedasr_jax.evaluate import score
from seedasr_jax.launch import parents, probe, runtime
from seedasr_jax.launch.keeper import RECORD, ROW, Keeper
from seedasr_jax.launch.progress import Progress, say
from seedasr_jax.parallel import processes, sharding
from seedasr_jax.text import vocab
from seedasr_jax.text.template import Template
from seedasr_jax.train import build, graph, loop, objectives
from seedasr_jax.train.metrics import Metrics


@dataclasses.dataclass(frozen=True)
class Job:
    """A workdir with everything that its stages share."""

    workdir: pathlib.Path
    graph: config.Graph
    vocab: vocab.Vocabulary | None  # None while nothing needs it yet
    recipes: collections.abc.Mapping[str, graph.Recipe]
    redone: collections.abc.Collection[str] = ()  # stages that begin anew, whatever is there

    def folder(self, name) -> pathlib.Path:
        """A stage's directory."""
        return self.workdir / name

    def record(self, name) -> checkpoints.StageRecord | None:
        """A stage's stage.json, or None where it has not begun.

        Where the file is gone, its newest checkpoint has a copy.
        """
        folder = self.folder(name)
        if name in self.redone:
            return None
        if (folder / disk.STAGE).exists():
            return checkpoints.read(folder)
        latest = checkpoints.latest(folder)
        if latest is None:
            return None
        copied = _note(folder, latest)[RECORD]
        return checkpoints.parse(copied, f"{folder}@{latest}")

    def done(self, name) -> bool:
        """Whether a stage is finished and its last step is still there."""
        record = self.record(name)
        if record is None or record.state != "finished":
            return False
        return inventory.newest(self.folder(name))[0] == record.step

    def cache(self, stage: config.Stage) -> pathlib.Path:
        """Where made or converted audio is kept."""
        return pathlib.Path(stage.run.cache) if stage.run.cache else self.workdir / disk.CACHE


def run(job: Job, name: str, stopping: collections.abc.Callable[[], bool]):
    """Trains a stage from where it stands to its end.

    Raises:
        loop.Stopped: `stopping()` said so; the state was saved.
        UserError: data that cannot be used, or gradients that are not finite.
    """
    folder, at = job.folder(name), processes.first(lambda: _standing(job, name))
    stage, latest, saved = _resolved(job, name, at["layer"]), at["latest"], at["note"]
    before = at["record"] and checkpoints.parse(at["record"], folder)
    runtime.keep_programs(job.cache(stage))
    built = build_stage(job, stage)
    state, origins = parents.begin(job, name, built, before, latest is not None)
    known = (*built.needs.parts, "lora")
    record = checkpoints.begin(
        job.graph.stages[name],
        job.recipes[name].hash,
        parents=origins,
        frozen={p: origins[p] for p in origins if p in known and p not in stage.trains},
        vocabulary=job.vocab.hash,
        reads=job.recipes[name].tree["reads"],
    )
    if before is None and processes.is_first():  # from here on what it began with is known
        checkpoints.write(folder, record)
    unwritten = None
    if latest is not None:
        state = checkpoints.restore(folder, latest, state, built.sharding)
        unwritten = saved[ROW]
        stands = {key: saved[RECORD][key] for key in ("step", "position", "hours", "spent")}
        record = dataclasses.replace(record, **stands)
        say(f"{name}: resumed at step {latest}")
    state = built.drawn(state)
    stream = processes.together(lambda: _stream(job, built, int(state.step)))
    found = stream.known
    limits = processes.first(lambda: config.to_dict(_limits(job, name, before, found)))
    limits = config.build(limits, checkpoints.Limits, "limits")
    record = dataclasses.replace(record, limits=limits)
    evaluator = processes.together(lambda: Evaluator(job, name, built, stopping, limits))
    own = {task.name: task.fingerprint for task in evaluator.tasks}
    processes.alike(lambda: {**found.fingerprints(), **{name: of() for name, of in own.items()}})
    evaluator.warn()
    for task, reasons in found.left_out.items():
        for reason, count in reasons.items():
            say(f"{name}: {task}: {count} utterances are left out: {reason}")
    if found.unknown:
        say(f"{name}: {found.unknown}")
    for task, tags in found.languages.items() if built.objective.conventions else ():
        if warning := built.objective.conventions.warning(tags):
            say(f"{name}: {task}: {warning}")
    pinned = graph.named_steps(job.graph, name)
    keeper = Keeper(folder, record, stage.run.keep, stream, pinned)
    how = dict(tensorboard=stage.run.tensorboard, writes=processes.is_first())
    metrics = processes.together(lambda: Metrics(folder, int(state.step), **how))
    objective, progress = built.objective, Progress(name, stage.steps)
    prepare = objective.prepare(built.graphdef, built.mesh, job.vocab)

    def scores(step, state):
        if evaluator.tasks:
            keeper.wait()  # what ends the scoring early takes nothing that was trained
        return evaluator(step, state)

    def logged(*figures):
        progress(*figures)
        keeper.judge()  # a disk that is gone ends a job before the next save

    def watch(seen, terms):
        seen, line = objective.watch(seen, terms)
        if line:
            say(f"{name}: {line}")
        return seen

    hooks = loop.Hooks(keeper.save, scores, stopping, logged, objective.summary, prepare, watch)
    batches = ((batch, info.rows) for batch, info in stream)
    if any(processes.gathered([metrics.written])):
        unwritten = None
    where = built.mesh, hooks, unwritten
    with stream, metrics, keeper:
        state = loop.run(built.train_step(), state, batches, metrics, stage, *where)
    keeper.finish(state.params)
    if keeper.cut:
        room = f"data.contexts.tokens = {stage.data.contexts.tokens}"
        say(f"{name}: {keeper.cut} contexts were longer than {room}: cut from the left")
    processes.barrier()  # the next stage reads what process 0 wrote
    say(f"{name}: finished in {keeper.record.spent['seconds']:.0f} s")


def secure(job: Job, name: str):
    """Copies what a stage will start from, where the training that wrote it will remove it."""
    for part in job.graph.stages[name].init:
        if part not in _consults(job.graph.stages[name]):
            parents.secure(job, name, part)


def _standing(job, name) -> dict:
    """Where a stage stands: its record, newest step and the note of that, and a probe's layer."""
    latest, record = _newest(job, name), job.record(name)
    note = None if latest is None else _note(job.folder(name), latest)
    record = None if record is None else config.to_dict(record)
    return {"record": record, "latest": latest, "note": note, "layer": _best_layer(job, name)}


def _note(folder, step) -> dict:
    """What a stage wrote beside a step: its row of metrics.jsonl, and its record."""
    found = checkpoints.note(folder, step)
    if not all(isinstance(found.get(key), dict) for key in (ROW, RECORD)):
        raise ConfigError(
            f"{folder}@{step}: expected its {ROW} and {RECORD} noted beside it, found"
            f" {', '.join(found) or 'nothing'}: no stage of this seedasr_jax wrote it; run"
            f" --from={folder.name}, or take a new --workdir"
        )
    return found


def build_stage(job: Job, stage: config.Stage) -> build.Built:
    """A stage built for the job's tokenizer and this process's devices."""
    tokens = recognisers.special_tokens(job.vocab, stage.model.prompt, spelled=True)
    return build.build(stage, tokens, job.vocab.size)


def template(job: Job, built: build.Built) -> Template | None:
    """What stands around the speech in a stage; None if its objective reads none."""
    return Template(built.stage.model.prompt, job.vocab) if built.needs.prompted else None


def _stream(job, built, start):
    stage, (share, shares) = built.stage, sharding.share(built.mesh)
    return loader.training(
        stage.data,
        job.vocab,
        seed=stage.seed,
        start=start,
        data_folder=job.cache(stage),
        template=template(job, built),
        clock=_clock(stage, job.vocab) if built.needs.timed else None,
        frames=built.objective.most_frames if built.needs.aligned else None,
        steps=stage.steps,
        process_index=share,
        process_count=shares,
    )


def _limits(job, name, before, found) -> checkpoints.Limits:
    """What a stage takes: as it began or, where it begins now, by what is known of its data."""
    if before is not None and before.limits is not None:
        return before.limits
    tags = [tag for own in found.languages.values() for tag in own]
    known = dict(seconds=found.longest, pause=found.pause(), languages=tags)
    known["unknown"] = found.unknown_share
    return parents.limits(job, name, **known)


def _newest(job, name) -> int | None:
    """The step that a stage goes on from; says what is damaged or gone after it.

    Raises:
        ConfigError: it was trained, and no step of it is left.
    """
    folder, record = job.folder(name), job.record(name)
    latest, damaged = inventory.newest(folder)
    for line in damaged:
        say(f"{name}: {line}; set aside")
    if record is not None and record.step > (latest or 0):
        lost = f"{name}: {record.state} at step {record.step}, which is gone from {folder}"
        if latest is None:
            raise ConfigError(f"{lost}, and none is before it: bring it back, or --from={name}")
        say(f"{lost}; taken: step {latest}")
    return latest


def _clock(stage, vocabulary):
    return loader.Clock(vocabulary, stage.data.normalizer, phones=stage.model.small.phones)


def _best_layer(job, name) -> int | None:
    """The layer that a stage's probe found best; None where it consults none."""
    if "probe" not in _consults(job.graph.stages[name]):
        return None
    source, _ = parents.opened(job, name, "probe")
    layer = probe.best_layer(source)
    say(f"{name}: layer {layer}, the best of {source.label}")
    return layer


def _consults(stage):
    return objectives.needs(stage).consults


def _resolved(job, name, layer) -> config.Stage:
    """A stage's config; with the layer that its probe found best, where it leaves that open."""
    stage = job.graph.stages[name]
    return stage if layer is None else stage.at_layer(layer)


class Evaluator:
    """Scores a stage's state on its development tasks, which are opened before training."""

    def __init__(
        self,
        job: Job,
        name: str,
        built: build.Built,
        stopping: collections.abc.Callable[[], bool],
        limits: checkpoints.Limits,
    ):
        """Opens the tasks; `limits` of the stage are what one decoding takes.

        Raises:
            ConfigError: a decoding that the model cannot do, a task or a unit that does not exist.
        """
        self.name, self.stopping, evaluation = name, stopping, built.stage.eval
        self.setting = score.setting(evaluation)
        model, parts = built.stage.model, built.needs.parts
        how = scoring.of(self.setting.decode, built.stage.scored, limits)
        options = (job.vocab, model, parts, built.mesh)
        self.layers = probe.recognisers(built.graphdef, *options)
        self.recogniser = recognisers.Recogniser(built.graphdef, None, *options)
        if evaluation.tasks:
            (self.layers[0] if self.layers else self.recogniser).check(self.setting.decode)
        self.tasks = [
            loader.evaluation(
                task,
                job.vocab,
                buckets=how.buckets,
                data_folder=job.cache(built.stage),
                template=template(job, built),
                normalizer=built.stage.data.normalizer,
                context_tokens=how.context_tokens,
                multiple=sharding.padded_rows(1, built.mesh),
                share=sharding.share(built.mesh),
                pieces=how.pieces,
                gather=processes.shared,
            )
            for task in evaluation.tasks
        ]
        for task in self.tasks:  # one room for contexts: each would be a program of its own
            task.widen_contexts(max(each.context_tokens for each in self.tasks))

    def warn(self):
        """Says how many utterances state no language."""
        for task in self.tasks:
            if warning := self.setting.conventions.warning(task.languages):
                say(f"{self.name}: {task.name}: {warning}")

    def __call__(self, step: int, state) -> dict:
        """{"eval": {task: error rate}} of the state; of a probe, of each layer.

        Raises:
            loop.Stopped: `stopping()` said so before all was scored.
        """
        if not self.tasks:
            return {}
        state = nnx.merge_state(state.params, state.frozen)
        label = f"{self.name} {step}"
        if not self.layers:
            rates = self._rates(self.recogniser.with_state(state), label)
            return {"eval": {task: {"error_rate": rate} for task, rate in rates.items()}}
        return probe.report(
            [
                self._rates(recogniser.with_state(state), f"{label} layer {number}")
                for number, recogniser in enumerate(self.layers, 1)
            ]
        )

    def _rates(self, recogniser, label) -> dict[str, float]:
        """{task: error rate}."""
        rates = {}
        for task in self.tasks:
            batches = self._until_stopped(task)
            row, _ = score.evaluate(
                recogniser, label, task.name, batches, self.setting, unknown=task.unknown
            )
            rates[task.name] = row["error_rate"]
            for line in score.describe(row):
                say(f"{label}: {line}")
        return rates

    def _until_stopped(self, batches):
        with contextlib.closing(iter(batches)) as each:
            while batch := processes.together(lambda: next(each, None), patient=False):
                if self.stopping():
                    raise loop.Stopped
                yield batch
