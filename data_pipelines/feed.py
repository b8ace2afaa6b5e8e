"""Feed: runs chosen rows through the preprocessors of one SeqIO task, in order.

A feed opens one tf.data pipeline and keeps it: opening one costs more than a batch.
"""

import collections
import threading

from seedasr_jax.data_pipelines import preprocess
from seedasr_jax.data_pipelines.batching import Fault
from seedasr_jax.data_pipelines.tf import tf
from seedasr_jax.errors import ConfigError, DataError, UserError

_NEEDED = ("context", "context_cut", "context_ids", "draw", "ids", "language_row", "wave")
_MAX_DROPPED = 1_000  # consecutive rows that preprocessors may drop before it is an error


class Feed:
    """Iterates over (row, example or Fault), in the order of the given rows.

    Bad rows are found before the pipeline, so they shift nothing. Preprocessors may drop examples,
    and may read ahead: then rows are read before their turn.
    """

    def __init__(self, task, turns):
        """Opens a task (tasks.bind) for reading.Turns; ConfigError: preprocessors drop a key."""
        self.name = task.name
        self._turns = turns
        self._lock = threading.Lock()
        self._order = collections.deque()  # (row, draw, fault) not yet returned
        self._good = collections.deque()  # (row, wave, draw) not yet in the pipeline
        self._error = None
        dataset = preprocess.examples(self._next_good)
        dataset = task.preprocess_postcache(task.preprocess_precache(dataset), None)
        lost = [key for key in _NEEDED if key not in dataset.element_spec]
        if lost:
            raise ConfigError(
                f"task {task.name}: expected preprocessors to return every key of an example, found"
                f" none of the name {', '.join(lost)}: return example | {{...}}"
            )
        options = tf.data.Options()
        options.autotune.enabled = False
        options.deterministic = True
        options.threading.private_threadpool_size = 1
        needed = preprocess.traced(lambda example: {key: example[key] for key in _NEEDED})
        dataset = dataset.map(needed)
        self._examples = dataset.with_options(options).as_numpy_iterator()
        self._head = None  # example of a later row than the one requested

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
        """Called by the pipeline in a TensorFlow thread, which garbles errors: they are stored."""
        try:
            with self._lock:
                while not self._good:
                    if len(self._order) > _MAX_DROPPED:
                        raise DataError(
                            f"task {self.name}: expected its preprocessors to drop few examples,"
                            f" found that they dropped {_MAX_DROPPED} in a row: check their filters"
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
