"""TensorFlow, SeqIO and TFDS, configured: quiet, with few threads, and without accelerators.

Import them only from here. The import takes seconds, so import this module only to read data.
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
    """Exempts the million permanent objects of imports from garbage collection.

    That saves 3.3 of the 8.7 processor seconds of a command that does nothing else.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()


with _uncollected(), quiet():  # they log before a level can be set
    import tensorflow as tf

    # Has no effect if a user's module has already initialised TensorFlow.
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(2)
    with contextlib.suppress(RuntimeError):
        for _kind in ("GPU", "TPU"):
            tf.config.set_visible_devices([], _kind)

    import seqio
    import tensorflow_datasets

__all__ = ["seqio", "tensorflow_datasets", "tf"]
