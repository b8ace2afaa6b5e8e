"""TensorFlow, SeqIO and TFDS as this package wants them: quiet, small, and blind to accelerators.

Import them from here and nowhere else; it takes seconds, so only where data is read.
"""

import contextlib
import gc
import os

from seedasr_jax.quiet import quiet

_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}


for _name, _value in _QUIET.items():
    os.environ.setdefault(_name, _value)


@contextlib.contextmanager
def _uncollected():
    """Leaves what is imported within, a million objects that stay, to no garbage collection.

    Going over them again and again, in here and when the process ends, took 3.3 of the 8.7
    processor seconds of a command that does nothing else.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()


with _uncollected(), quiet():  # they log before anyone can set a level
    import tensorflow as tf

    # In vain where somebody's module has started TensorFlow before us: then it stays as it is.
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(2)
    with contextlib.suppress(RuntimeError):
        for _kind in ("GPU", "TPU"):
            tf.config.set_visible_devices([], _kind)

    import seqio
    import tensorflow_datasets

__all__ = ["seqio", "tensorflow_datasets", "tf"]
