"""Tokenizers of text/vocab.py as SeqIO vocabularies. Dims: L tokens."""

import numpy as np

from seedasr_jax.data_pipelines.tf import seqio, tf


class Vocabulary(seqio.Vocabulary):
    """Wraps a tokenizer of `seedasr_jax.text.vocab`; the ids are the same.

    SeqIO assumes that id 0 is padding. Here another id may be, so only lengths are reliable.
    """

    def __init__(self, vocab):
        super().__init__()
        self.vocab = vocab

    @property
    def bos_id(self):
        return self.vocab.start_id

    @property
    def eos_id(self):
        return self.vocab.eos_id

    @property
    def pad_id(self):
        return self.vocab.pad_id

    @property
    def unk_id(self):
        return self.vocab.unk_id

    @property
    def _base_vocab_size(self):
        return self.vocab.size

    def _encode(self, s):
        return self.vocab.encode(s)

    def _decode(self, ids):
        return self.vocab.decode(ids)

    def _encode_tf(self, s):
        def encode(text):
            return np.asarray(self.vocab.encode(text.decode()), np.int32)

        ids = tf.numpy_function(encode, [s], tf.int32, stateful=False)
        ids.set_shape((None,))
        return ids

    def _decode_tf(self, ids):
        def decode(ids):
            return self.vocab.decode(ids.tolist()).encode()

        def decode_all(ids):
            flat = ids.reshape(-1, ids.shape[-1])
            return np.array([decode(row) for row in flat], object).reshape(ids.shape[:-1])

        one = ids.shape.rank == 1
        text = tf.numpy_function(decode if one else decode_all, [ids], tf.string, stateful=False)
        text.set_shape(ids.shape[:-1])
        return text

    def __eq__(self, other):
        return isinstance(other, Vocabulary) and self.vocab.hash == other.vocab.hash

    def __hash__(self):
        return hash(self.vocab.hash)
