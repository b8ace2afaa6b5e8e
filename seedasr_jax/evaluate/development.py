"""Scores a stage on its development tasks while it trains."""

from collections.abc import Callable
import contextlib
from typing import Any

from flax import nnx

from seedasr_jax import checkpoint as checkpoints
from seedasr_jax.decode import recogniser as recognisers
from seedasr_jax.decode import scoring
from seedasr_jax.evaluate import probe, score
from seedasr_jax.parallel import processes
from seedasr_jax.text.vocab import Vocabulary
from seedasr_jax.train import build, loop


class Evaluator:
    """Scores a stage's state on its development `tasks`, which are opened before training."""

    def __init__(
        self,
        name: str,
        built: build.Built,
        vocab: Vocabulary,
        limits: checkpoints.Limits,
        open_task: Callable[[str, scoring.Scoring], Any],
        *,
        stopping: Callable[[], bool],
        say: Callable[[str], None],
    ):
        """Opens the tasks of the stage `name`.

        `open_task`: opens a task by name for a Scoring. The task has `name`, `languages`,
        `unknown`, `context_tokens`, `widen_contexts`; it yields batches with examples. `stopping`:
        whether the job is asked to stop; `say`: logs a line.

        Raises:
            ConfigError: an unsupported decoding method, or an unknown task or unit.
        """
        self.name, evaluation = name, built.stage.eval
        self._stopping, self._say = stopping, say
        self._setting = score.setting(evaluation)
        how = scoring.of(self._setting.decode, built.stage.scored, limits)
        options = (vocab, built.stage.model, built.needs.parts, built.mesh)
        self._layers = probe.recognisers(built.graphdef, *options)
        self._recogniser = recognisers.Recogniser(built.graphdef, None, *options)
        if evaluation.tasks:
            (self._layers[0] if self._layers else self._recogniser).check(self._setting.decode)
        self.tasks = [open_task(task, how) for task in evaluation.tasks]
        for task in self.tasks:  # one size of contexts: each size needs its own program
            task.widen_contexts(max(each.context_tokens for each in self.tasks))

    def warn(self):
        """Logs how many utterances state no language."""
        for task in self.tasks:
            if warning := self._setting.conventions.warning(task.languages):
                self._say(f"{self.name}: {task.name}: {warning}")

    def __call__(self, step: int, state) -> dict:
        """{"eval": {task: error rate}} of the state; for a probe, of each layer.

        Raises loop.Stopped if `stopping()` is true before all is scored.
        """
        if not self.tasks:
            return {}
        state, label = nnx.merge_state(state.params, state.frozen), f"{self.name} {step}"
        if not self._layers:
            rates = self._rates(self._recogniser.with_state(state), label)
            return {"eval": {task: {"error_rate": rate} for task, rate in rates.items()}}
        layers = enumerate(self._layers, 1)
        rates = [self._rates(one.with_state(state), f"{label} layer {n}") for n, one in layers]
        return probe.report(rates)

    def _rates(self, recogniser, label) -> dict[str, float]:
        """{task: error rate}."""
        rates = {}
        for task in self.tasks:
            given = (task.name, self._until_stopped(task), self._setting)
            row, _ = score.evaluate(recogniser, label, *given, unknown=task.unknown)
            rates[task.name] = row["error_rate"]
            for line in score.describe(row):
                self._say(f"{label}: {line}")
        return rates

    def _until_stopped(self, batches):
        with contextlib.closing(iter(batches)) as each:
            while batch := processes.together(lambda: next(each, None), patient=False):
                if self._stopping():
                    raise loop.Stopped
                yield batch
