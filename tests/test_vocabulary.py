"""Our tokenizers inside SeqIO: the same ids and texts, in graphs too."""

import numpy as np
import tiny

from seedasr_jax.data_pipelines.tf import tf
from seedasr_jax.data_pipelines.vocabulary import Vocabulary


def test_ids_and_texts_are_the_tokenizers(tokenizer):
    wrapped, text = Vocabulary(tokenizer), "three one"
    ids = tokenizer.encode(text)
    assert wrapped.encode(text) == ids
    assert wrapped.decode([*ids, wrapped.eos_id, *ids]) == text
    assert wrapped.vocab_size == tokenizer.size
    special = tokenizer.pad_id, tokenizer.start_id, tokenizer.eos_id, tokenizer.unk_id
    assert (wrapped.pad_id, wrapped.bos_id, wrapped.eos_id, wrapped.unk_id) == special


def test_in_a_graph(tokenizer):
    wrapped = Vocabulary(tokenizer)
    dataset = tf.data.Dataset.from_tensor_slices(["three one", "nine"]).map(wrapped.encode_tf)
    assert dataset.element_spec.shape.rank == 1 and dataset.element_spec.dtype == tf.int32
    found = [ids.tolist() for ids in dataset.as_numpy_iterator()]
    assert found == [tokenizer.encode("three one"), tokenizer.encode("nine")]
    assert wrapped.decode_tf(tf.constant(found[1])).numpy() == b"nine"
    width = max(map(len, found)) + 1
    padded = np.full((2, width), wrapped.eos_id, np.int32)
    for row, ids in zip(padded, found):
        row[: len(ids)] = ids
    assert wrapped.decode_tf(tf.constant(padded)).numpy().tolist() == [b"three one", b"nine"]


def test_equality_is_by_content(tokenizer, tmp_path):
    other = tiny.vocabulary(["a b c d e"], tmp_path, size=40, kind="char")
    assert Vocabulary(tokenizer) == Vocabulary(tokenizer)
    assert Vocabulary(tokenizer) != Vocabulary(other)
