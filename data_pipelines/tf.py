"""TensorFlow, SeqIO and TFDS as this package wants them: quiet, small, and blind to accelerators.

Import them from here and nowhere else; it takes seconds, so only where data is read.
"""

import contextlib
import os

_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}


@contextlib.contextmanager
def _silence():
    """Closes stderr to C++ while libraries load: they log before anyone can set a level."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


for _name, _value in _QUIET.items():
    os.environ.setdefault(_name, _value)
with _silence():
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
