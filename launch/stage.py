"""One stage of a job: opened, trained from its newest step to its end, and saved."""

import collections.abc
import dataclasses

from seedasr_jax import checkpoint as checkpoints
from seedasr_jax import config
from seedasr_jax.data_pipelines import loader
from seedasr_jax.decode import recogniser as recognisers
from seedasr_jax.evaluate.development import Evaluator
from seedasr_jax.launch import parents, runtime, standing, tasks
from seedasr_jax.launch.job import Job
from seedasr_jax.launch.progress import Progress, say
from seedasr_jax.models import parts
from seedasr_jax.parallel import processes, sharding
from seedasr_jax.text.template import Template
from seedasr_jax.train import build, graph, loop
from seedasr_jax.train.keeper import Keeper
from seedasr_jax.train.metrics import Metrics


def run(job: Job, name: str, stopping: collections.abc.Callable[[], bool]):
    """Trains a stage from its newest step to its end.

    Raises:
        loop.Stopped: `stopping()` was true; the state was saved.
        UserError: unusable data, or gradients that are not finite.
    """
    at = standing.agreed(job, name)
    folder, stage = job.folder(name), at.stage
    runtime.keep_programs(job.cache(stage))
    built = build_stage(job, stage)
    state, record = _begin(job, name, built, at)
    stream = processes.together(lambda: _stream(job, built, int(state.step)))
    limits = _limits(job, name, at.record, stream.known)
    record = dataclasses.replace(record, limits=limits)
    evaluator = processes.together(lambda: evaluation(job, name, built, limits, stopping))
    own = {task.name: task.fingerprint for task in evaluator.tasks}
    processes.alike(lambda: {**stream.known.fingerprints()} | {k: of() for k, of in own.items()})
    evaluator.warn()
    _warn(name, built.objective, stream.known)
    pinned = graph.named_steps(job.graph, name)
    keeper = Keeper(folder, record, stage.run.keep, stream, pinned)
    how = dict(tensorboard=stage.run.tensorboard, writes=processes.is_first())
    metrics = processes.together(lambda: Metrics(folder, int(state.step), **how))
    hooks = _hooks(job, name, built, keeper, evaluator, stopping)
    batches = ((batch, info.rows) for batch, info in stream)
    unwritten = None if any(processes.gathered([metrics.written])) else at.unwritten
    more = metrics, stage, built.mesh, hooks, unwritten
    with stream, metrics, keeper:
        state = loop.run(built.train_step(), state, batches, *more)
    keeper.finish(state.params)
    if keeper.cut:
        limit = f"data.contexts.tokens = {stage.data.contexts.tokens}"
        say(f"{name}: {keeper.cut} contexts exceeded {limit} and were cut from the left")
    processes.barrier()  # the next stage reads what process 0 wrote
    say(f"{name}: finished in {keeper.record.spent['seconds']:.0f} s")


def secure(job: Job, name: str):
    """Copies the parts that a stage will start from, if training may remove them before then."""
    for part in job.graph.stages[name].init:
        if part not in standing.consults(job.graph.stages[name]):
            parents.secure(job, name, part)


def build_stage(job: Job, stage: config.Stage) -> build.Built:
    """A stage built for the job's tokenizer and this process's devices."""
    tokens = recognisers.special_tokens(job.vocab, stage.model.prompt)
    return build.build(stage, tokens, job.vocab.size)


def template(job: Job, built: build.Built) -> Template | None:
    """The prompt template of a stage; None if its objective reads no prompt."""
    return Template(built.stage.model.prompt, job.vocab) if built.needs.prompted else None


def evaluation(job, name, built, limits, stopping=lambda: False) -> Evaluator:
    """Opens a stage's development tasks; see Evaluator."""
    how = dict(template=template(job, built), cache=job.cache(built.stage))
    how |= dict(share=sharding.share(built.mesh), gather=processes.shared)
    open_task = tasks.opener(built.stage, job.vocab, built.mesh, **how)
    return Evaluator(name, built, job.vocab, limits, open_task, stopping=stopping, say=say)


def _begin(job, name, built, at):
    """The state and record to continue from: the stage's own, else from its parents."""
    state, origins = parents.begin(job, name, built, at.record, at.latest is not None)
    known = parts.with_inner(built.needs.parts)
    record = checkpoints.new_record(
        job.graph.stages[name],
        job.recipes[name].hash,
        parents=origins,
        frozen={p: origins[p] for p in origins if p in known and p not in at.stage.trains},
        vocabulary=job.vocab.hash,
        reads=job.recipes[name].tree["reads"],
    )
    if at.record is None and processes.is_first():  # records what the stage began with
        checkpoints.write(job.folder(name), record)
    if at.latest is not None:
        state = checkpoints.restore(job.folder(name), at.latest, state, built.sharding)
        record = dataclasses.replace(record, **at.carried)
        say(f"{name}: resumed at step {at.latest}")
    return built.drawn(state), record


def _stream(job, built, start):
    stage, (share, shares) = built.stage, sharding.share(built.mesh)
    return loader.training(
        stage.data,
        job.vocab,
        seed=stage.seed,
        start=start,
        data_folder=job.cache(stage),
        template=template(job, built),
        filler=built.objective.filler(job.vocab),
        extra=built.needs.extra,
        frames=built.objective.most_frames if built.needs.aligned else None,
        process_index=share,
        process_count=shares,
    )


def _limits(job, name, before, found) -> checkpoints.Limits:
    """The input limits of a stage: as recorded or, if it begins now, derived from its data."""

    def decide():
        if before is not None and before.limits is not None:
            return config.to_dict(before.limits)
        tags = [tag for own in found.languages.values() for tag in own]
        known = dict(seconds=found.longest, pause=found.pause(), unknown=found.unknown_share)
        return config.to_dict(parents.limits(job, name, languages=tags, **known))

    return config.build(processes.first(decide), checkpoints.Limits, "limits")


def _warn(name, objective, known):
    """Logs excluded utterances, unknown tokens and doubtful languages of the training data."""
    for task, reasons in known.left_out.items():
        for reason, count in reasons.items():
            say(f"{name}: {task}: {count} utterances are excluded: {reason}")
    if known.unknown:
        say(f"{name}: {known.unknown}")
    for task, tags in known.languages.items() if objective.conventions else ():
        if warning := objective.conventions.warning(tags):
            say(f"{name}: {task}: {warning}")


def _hooks(job, name, built, keeper, evaluator, stopping) -> loop.Hooks:
    """The callbacks of the training loop."""
    objective, progress = built.objective, Progress(name, built.stage.steps)
    prepare = objective.prepare(built.graphdef, built.mesh, job.vocab)

    def scores(step, state):
        if evaluator.tasks:
            keeper.wait()  # a failure in scoring loses no training
        return evaluator(step, state)

    def logged(*figures):
        progress(*figures)
        keeper.judge()  # a lost disk ends the job before the next save

    def watch(watched, terms):
        watched, line = objective.watch(watched, terms)
        if line:
            say(f"{name}: {line}")
        return watched

    return loop.Hooks(keeper.save, scores, stopping, logged, objective.summary, prepare, watch)
