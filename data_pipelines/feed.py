"""Feed: chosen rows through the preprocessors of one SeqIO task, in order.

One tf.data pipeline lives as long as its feed: opening one costs more than a batch.
"""

import collections
import threading

from seedasr_jax.data_pipelines import preprocess
from seedasr_jax.data_pipelines.batching import Fault
from seedasr_jax.data_pipelines.tf import tf
from seedasr_jax.errors import ConfigError, DataError, UserError

_NEEDED = ("context", "context_cut", "context_ids", "draw", "ids", "wave")
_AHEAD = 1_000  # rows that preprocessors may swallow at a stretch before we give up on them


class Feed:
    """Iterates over (row, example or Fault), in the order of the rows that it is given.

    A bad row is found before the pipeline sees it, so it shifts nothing. Preprocessors may drop
    examples, and may look ahead: then rows are read before their turn.
    """

    def __init__(self, task, turns):
        """Opens the pipeline.

        Args:
            task: a bound SeqIO task (tasks.bind).
            turns: iterator of reading.Turn.

        Raises:
            ConfigError: the preprocessors lose a key.
        """
        self.name = task.name
        self._turns = turns
        self._lock = threading.Lock()
        self._order = collections.deque()  # (row, draw, fault) not yet given out
        self._good = collections.deque()  # (row, wave, draw) not yet in the pipeline
        self._error = None
        dataset = preprocess.examples(self._next_good)
        dataset = task.preprocess_postcache(task.preprocess_precache(dataset), None)
        lost = [key for key in _NEEDED if key not in dataset.element_spec]
        if lost:
            raise ConfigError(
                f"task {task.name}: expected preprocessors to give back every key of an example,"
                f" but {', '.join(lost)} is gone"
            )
        options = tf.data.Options()
        options.autotune.enabled = False
        options.deterministic = True
        options.threading.private_threadpool_size = 1
        needed = preprocess.traced(lambda example: {key: example[key] for key in _NEEDED})
        dataset = dataset.map(needed)
        self._examples = dataset.with_options(options).as_numpy_iterator()
        self._head = None  # pulled, but of a later row than asked for

    def __iter__(self):
        return self

    def __next__(self):
        with self._lock:
            if not self._order:
                self._read_one()
            row, draw, fault = self._order.popleft()
        if fault:
            return row, fault
        if self._head is None:
            self._head = self._pull()
        if self._head is None or tuple(self._head["draw"].tolist()) != draw:
            return row, Fault("dropped by its task", self.name)
        example, self._head = self._head, None
        return row, example

    def _pull(self):
        try:
            return next(self._examples, None)
        except tf.errors.OpError as error:
            if self._error is not None:
                raise self._error from error
            found = error.message.partition("\n")[0]
            raise DataError(f"task {self.name}: a preprocessor failed: {found}") from error

    def _next_good(self):
        """What the pipeline calls, in a thread of TensorFlow, which would garble what is raised."""
        try:
            with self._lock:
                while not self._good:
                    if len(self._order) > _AHEAD:
                        raise DataError(
                            f"task {self.name}: its preprocessors gave back none of {_AHEAD}"
                            " examples; expected them to drop a few at most"
                        )
                    self._read_one()
                return self._good.popleft()
        except UserError as error:
            self._error = error
            raise

    def _read_one(self):
        turn = next(self._turns)
        wave, fault = turn.read()
        self._order.append((turn.row, turn.draw, fault))
        if fault is None:
            self._good.append((turn.row, wave, turn.draw))
