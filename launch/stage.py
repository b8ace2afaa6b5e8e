"""One stage of a job: where it starts, what it keeps on disk, how it is scored on the way."""

import collections.abc
import contextlib
import dataclasses
import pathlib
import time

from flax import nnx
import jax

from seedasr_jax import checkpoint as checkpoints
from seedasr_jax import config, inventory
from seedasr_jax import workdir as disk
from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import loader
from seedasr_jax.decode import methods
from seedasr_jax.decode import recogniser as recognisers
from seedasr_jax.errors import ConfigError
from seedasr_jax.evaluate import sweep
from seedasr_jax.launch import parents, probe, runtime
from seedasr_jax.launch.progress import Progress, say
from seedasr_jax.parallel import processes, sharding
from seedasr_jax.text import vocab
from seedasr_jax.train import build, graph, loop, objectives
from seedasr_jax.train.metrics import Metrics

# In the note of a checkpoint: its row of metrics.jsonl, and stage.json as of this step.
ROW, RECORD = "row", "record"
_HOUR = 3600 * files.RATE  # samples


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

    def record(self, name) -> checkpoints.StageRecord | None:
        """A stage's stage.json, or None where it has not begun.

        Where the file is gone, its newest checkpoint has a copy.
        """
        folder = self.folder(name)
        if (folder / disk.STAGE).exists():
            return checkpoints.read(folder)
        latest = checkpoints.latest(folder)
        if latest is None:
            return None
        copied = checkpoints.note(folder, latest)[RECORD]
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
    stage, folder = _resolved(job, name), job.folder(name)
    runtime.keep_programs(job.cache(stage))
    tokens = recognisers.special_tokens(job.vocab, spelled=True)
    built = build.build(stage, tokens, job.vocab.size)
    latest = _newest(job, name)
    state, origins = parents.begin(job, name, built)
    known = (*built.objective.parts, "lora")
    record = checkpoints.begin(
        job.graph.stages[name],
        job.recipes[name].hash,
        parents=origins,
        frozen={p: origins[p] for p in origins if p in known and p not in stage.trains},
        vocabulary=job.vocab.hash,
        reads=job.recipes[name].tree["reads"],
    )
    unwritten = None
    if latest is not None:
        state = checkpoints.restore(folder, latest, state, built.sharding)
        note = checkpoints.note(folder, latest)
        unwritten = note[ROW]
        before = {key: note[RECORD][key] for key in ("step", "position", "hours", "spent")}
        record = dataclasses.replace(record, **before)
        say(f"{name}: resumed at step {latest}")
    state = built.drawn(state)
    share, shares = sharding.share(built.mesh)
    stream = loader.training(
        stage.data,
        job.vocab,
        seed=stage.seed,
        start=int(state.step),
        data_folder=job.cache(stage),
        prompted=built.objective.prompted,
        clock=_clock(stage, job.vocab) if built.objective.timed else None,
        frames=built.objective.most_frames if built.objective.aligned else None,
        steps=stage.steps,
        process_index=share,
        process_count=shares,
    )
    found, known, before = stream.known, {}, job.record(name)
    if before is None or before.limits is None:  # a stage that goes on takes what it took
        tags = [tag for own in found.languages.values() for tag in own]
        known = dict(seconds=found.longest, pause=found.pause(), languages=tags)
    record = dataclasses.replace(record, limits=parents.limits(job, name, **known))
    evaluator = Evaluator(job, name, built, stopping, record.limits)
    evaluator.warn()
    for task, reasons in found.left_out.items():
        for reason, count in reasons.items():
            say(f"{name}: {task}: {count} utterances are left out: {reason}")
    if found.unknown:
        say(f"{name}: {found.unknown}")
    for task, tags in found.languages.items() if built.objective.conventions else ():
        if warning := built.objective.conventions.warning(tags):
            say(f"{name}: {task}: {warning}")
    folder.mkdir(parents=True, exist_ok=True)
    pinned = graph.named_steps(job.graph, name)
    keeper = Keeper(folder, record, stage.run.keep, stream, pinned)
    metrics = Metrics(
        folder, int(state.step), tensorboard=stage.run.tensorboard, writes=runtime.is_first()
    )
    objective, progress = built.objective, Progress(name, stage.steps)
    prepare = objective.rollout(built.graphdef, built.mesh, job.vocab)

    def scores(step, state):
        if evaluator.tasks:
            keeper.wait()  # what ends the scoring early takes nothing that was trained
        return evaluator(step, state)

    def logged(*figures):
        progress(*figures)
        keeper.judge()  # a disk that is gone ends a job before the next save

    hooks = loop.Hooks(keeper.save, scores, stopping, logged, objective.summary, prepare)
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
    runtime.wait_for_all(f"{name} is finished")  # the next stage reads what process 0 wrote
    say(f"{name}: finished in {keeper.record.spent['seconds']:.0f} s")


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


def _resolved(job, name) -> config.Stage:
    """A stage's config; with the layer that its probe found best, where it leaves that open."""
    stage = job.graph.stages[name]
    if "probe" not in objectives.make(stage, recognisers.Tokens(0, 0, 0), 0).consults:
        return stage
    source, _ = parents.opened(job, name, "probe")
    stage = probe.at_best_layer(stage, source)
    say(f"{name}: layer {stage.model.quantizer.layer}, the best of {source.label}")
    return stage


class Keeper:
    """Saves a stage and keeps its stage.json true: it says what is on disk, and no more.

    What the stream skipped is listed before the step that saw it is saved, so a resumed stage lists
    each bad row once.
    """

    def __init__(self, folder, record, keep, stream, pinned=()):
        """Args: `folder`, of the stage; `record`, as it begins; `keep`, checkpoints; `stream`;
        `pinned`, steps that others start from.
        """
        self.folder, self.record, self.stream = folder, record, stream
        self.writer = checkpoints.Writer(folder, keep, pinned)
        # In samples, which add up exactly: a stage that resumes hears what one never killed does.
        self.heard = {task: round(hours * _HOUR) for task, hours in record.hours.items()}
        self.spent = dict(record.spent)
        self.records, self.listed = {}, 0
        self.clock, self.cpu = time.monotonic(), time.process_time()
        if runtime.is_first():
            disk.rewind(folder / disk.SKIPPED, record.step)
        before = disk.read_rows(folder / disk.SKIPPED, "step", "reason")
        before = [row for row in before if row["step"] < record.step]
        self.cut = _contexts_cut(before)
        self.settle()
        self.stream.judge(before)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None and kind is not loop.Stopped and jax.process_count() > 1:
            return  # the others are still in a step and will not come along
        self.list_skipped()
        self.wait()

    def save(self, step, state, row):
        """Starts a save, the step's row in its note; stage.json follows when it is durable."""
        self.judge()
        heard = {task: self.heard.get(task, 0) + n for task, n in self.stream.heard.items()}
        seconds = time.monotonic() - self.clock
        spent = {"seconds": seconds, "cpu_seconds": time.process_time() - self.cpu}
        spent["chip_seconds"] = seconds * jax.device_count()
        spent = {k: self.spent.get(k, 0.0) + v for k, v in spent.items()}
        self.records[step] = dataclasses.replace(
            self.record,
            step=step,
            position=step,
            hours={task: n / _HOUR for task, n in (self.heard | heard).items()},
            spent=spent,
        )
        self.writer.save(step, state, {ROW: row, RECORD: config.to_dict(self.records[step])})
        self.settle()

    def judge(self):
        """Lists what was skipped.

        Raises:
            DataError: too many rows are bad, by those of all processes: every process raises it.
        """
        self.stream.judge(self.list_skipped())

    def wait(self):
        """Returns when the step that was saved last is durable, and stage.json says so."""
        self.writer.wait()
        self.settle()

    def settle(self, **changes):
        """Writes stage.json as of the newest durable step."""
        newest = self.records.get(self.writer.finished(), self.record)
        self.record = dataclasses.replace(newest, **changes)
        if runtime.is_first():
            checkpoints.write(self.folder, self.record)

    def list_skipped(self) -> list[dict]:
        """Adds what all processes skipped since the last call to skipped.jsonl, and returns it."""
        own = self.stream.skipped[self.listed :]
        self.listed += len(own)
        rows = loader.merged(processes.gathered(own))
        self.cut += _contexts_cut(rows)
        if rows and runtime.is_first():
            disk.append(self.folder / disk.SKIPPED, rows)
        return rows

    def finish(self, params):
        """Declares the stage finished; all is saved."""
        hashes = {
            part: checkpoints.parameters_hash(checkpoints.select(params, part))
            for part in checkpoints.parts(params)
        }
        self.settle(hashes=hashes, state="finished")


def _contexts_cut(rows) -> int:
    return sum(row["utterances"] for row in rows if row["reason"] == loader.CONTEXT_CUT)


class Evaluator:
    """Scores a stage's state on its development tasks; what cannot work fails before training."""

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
        self.setting = sweep.setting(evaluation)
        model, parts = built.stage.model, built.objective.parts
        method = methods.parse(self.setting.decode)
        options = (job.vocab, model, parts, built.mesh)
        self.layers = probe.recognisers(built.graphdef, *options)
        self.recogniser = recognisers.Recogniser(built.graphdef, None, *options)
        if evaluation.tasks:
            (self.layers[0] if self.layers else self.recogniser).check(self.setting.decode)
        self.tasks = [
            loader.evaluation(
                task,
                job.vocab,
                buckets=evaluation.buckets or loader.longer(built.stage.scored),
                data_folder=job.cache(built.stage),
                prompted=built.objective.prompted,
                normalizer=built.stage.data.normalizer,
                context_tokens=limits.context_tokens if method.reads else 0,
                multiple=sharding.rows(1, built.mesh),
                share=sharding.share(built.mesh),
                pieces=None if method.long == "direct" else limits.piece,
            )
            for task in evaluation.tasks
        ]

    def warn(self):
        """Says how many utterances state no language, and how many are cut for their buckets."""
        for task in self.tasks:
            for warning in (task.warning, self.setting.conventions.warning(task.languages)):
                if warning:
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
            row, _ = sweep.evaluate(recogniser, label, task.name, batches, self.setting)
            rates[task.name] = row["error_rate"]
            say(f"{label}: {task.name}  {self.setting.decode}  {row['error_rate']:.2f} %")
            if met := sweep.met(row):
                say(f"{label}: {task.name}: {met}")
        return rates

    def _until_stopped(self, batches):
        with contextlib.closing(iter(batches)) as each:
            for batch in each:
                if self.stopping():
                    raise loop.Stopped
                yield batch
