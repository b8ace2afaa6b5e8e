"""Preprocessors of SeqIO tasks: functions from example to example.

An example is a dict of tensors: `wave` [S] int16, the strings of STRINGS, and `draw` [2] int64,
which is unique to this utterance at this step: the seed for `tf.random.stateless_*`. A preprocessor
must return every key that it receives.

Dims: S samples, L tokens, C context tokens, F strings.
"""

import numpy as np

from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.data_pipelines.tf import tf
from seedasr_jax.text import prompts
from seedasr_jax.text.normalize import normalize

# Marks a function of tensors without Python control flow. AutoGraph need not convert its source,
# which would take half of the time to open a pipeline.
traced = tf.autograph.experimental.do_not_convert
STRINGS = ("id", "text", "language", "dialect", "domain", "speaker", "context")


def examples(feed) -> tf.data.Dataset:
    """Dataset of the values (Row, [S] int16, (int, int)) of `feed`, until it raises StopIteration.

    Each example takes one call into Python; `from_generator` would take two.
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

    dataset = tf.data.Dataset.range(tf.int64.max).map(traced(example))
    return dataset.take_while(traced(lambda example: tf.reduce_all(example["draw"] >= 0)))


_END = np.array((-1, -1), np.int64)


def _strings(row: Row):
    return np.array([getattr(row, name).encode() for name in STRINGS], object)


def tokenize(vocabulary, normalizer: str, template, context_tokens: float):
    """Normalises `text` and `context`; adds `ids` [L], `context_ids` [C], `language_row`, int32.

    A context is normalised by `prompts.normal_context`. If it is longer than `context_tokens`, it
    is cut to its end by `prompts.cut`, and `context_cut` is true. `template` (text/template.py)
    encodes it; None: there is no prompt, and no context is read.
    """

    def encode(text, context, language):
        text = normalize(normalizer, text.decode())
        context = prompts.normal_context(normalizer, context.decode())
        unread, row, context_ids = "", 0, ()
        if template is None:
            ids = vocabulary.encode(text)
        else:
            row = template.row(language.decode())
            unread, context = prompts.cut(
                context, lambda rest: template.size(rest, row) <= context_tokens
            )
            context_ids, ids = template.context(context, row), template.answer(text, row)
        ids, context_ids = np.asarray(ids, np.int32), np.asarray(context_ids, np.int32)
        return text.encode(), ids, context.encode(), context_ids, np.bool_(unread), np.int32(row)

    def apply(example):
        if not {"context", "language"} <= example.keys():
            return example  # an earlier preprocessor dropped the key: the feed raises
        types = (tf.string, tf.int32, tf.string, tf.int32, tf.bool, tf.int32)
        read = [example[key] for key in ("text", "context", "language")]
        made = tf.numpy_function(encode, read, types)
        for tensor, shape in zip(made, ((), (None,), (), (None,), (), ())):
            tensor.set_shape(shape)
        keys = ("text", "ids", "context", "context_ids", "context_cut", "language_row")
        return example | dict(zip(keys, made))

    return lambda dataset: dataset.map(traced(apply))
