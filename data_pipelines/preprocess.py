"""Preprocessing: example -> example, one idea each, for SeqIO tasks.

An example is a dict of tensors: `wave` [S] int16, the strings of STRINGS, and `draw` [2] int64,
which belongs to this utterance at this step: the seed for `tf.random.stateless_*`. A preprocessor
gives back every key that it gets.

Dims: S samples, L tokens, C context tokens, F strings.
"""

import numpy as np

from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.data_pipelines.tf import tf
from seedasr_jax.text import prompts
from seedasr_jax.text.normalize import normalize

STRINGS = ("id", "text", "language", "dialect", "domain", "speaker", "context")


def examples(feed) -> tf.data.Dataset:
    """A dataset of what `feed()` returns, call by call: (Row, [S] int16, (int, int)).

    It ends with `feed`'s StopIteration. One call into Python per example: `from_generator` costs
    twice as much.
    """

    def call():
        try:
            row, wave, draw = feed()
        except StopIteration:
            return np.array([b""] * len(STRINGS), object), np.zeros(0, np.int16), _END
        return _strings(row), wave, np.array(draw, np.int64)

    def example(_):
        strings, wave, draw = tf.numpy_function(call, [], (tf.string, tf.int16, tf.int64))
        strings.set_shape((len(STRINGS),))
        wave.set_shape((None,))
        draw.set_shape((2,))
        return dict(zip(STRINGS, tf.unstack(strings))) | {"wave": wave, "draw": draw}

    dataset = tf.data.Dataset.counter().map(example)
    return dataset.take_while(lambda example: tf.reduce_all(example["draw"] >= 0))


_END = np.array((-1, -1), np.int64)


def _strings(row: Row):
    return np.array([getattr(row, name).encode() for name in STRINGS], object)


def tokenize(vocabulary, normalizer: str):
    """`text` -> the same, normalised, and `ids` [L] int32; `context` -> `context_ids` [C] int32.

    See `prompts.normal_context` for what happens to a context.
    """

    def ids_of(text):
        return np.asarray(vocabulary.encode(text) if text else (), np.int32)

    def encode(text, context):
        text = normalize(normalizer, text.decode())
        told = prompts.normal_context(normalizer, context.decode())
        return text.encode(), ids_of(text), ids_of(told)

    def apply(example):
        if "context" not in example:
            return example  # an earlier preprocessor lost it: the feed says so
        text, ids, context_ids = tf.numpy_function(
            encode, [example["text"], example["context"]], (tf.string, tf.int32, tf.int32)
        )
        text.set_shape(())
        ids.set_shape((None,))
        context_ids.set_shape((None,))
        return example | {"text": text, "ids": ids, "context_ids": context_ids}

    return lambda dataset: dataset.map(apply)
