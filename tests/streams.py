"""Streams of a small corpus for tests, and evaluations of it."""

import contextlib
import itertools

import jax
import numpy as np
import recordings
import tiny

from seedasr_jax import config
from seedasr_jax.data_pipelines import loader

COUNT = 40
BUCKETS = ((0.25, 20, 4), (0.5, 20, 2))


def corpus(folder):
    """The manifest of COUNT recordings."""
    return recordings.write(folder, recordings.rows(COUNT))


def tokenizer(folder):
    """A tokenizer of characters."""
    return tiny.vocabulary(recordings.WORDS, folder, size=60, kind="char")


@contextlib.contextmanager
def opening(tokenizer):
    """Yields a function that opens training streams; they are closed at the end."""
    streams = []

    def open_stream(
        *sources, start=0, seed=3, prompted=False, process=(0, 1), filler=None, extra=None, **data
    ):
        settings = {
            "mixture": tuple((str(s), 1.0) if not isinstance(s, tuple) else s for s in sources),
            "buckets": BUCKETS,
            "stretch": 1.0,
            "min_seconds": 0.05,
            "max_bad_fraction": 0.0,
            "normalizer": "basic@1",
            "contexts": config.Contexts(0, 1.0, 0.0, 0, {}),
            "cache_gib": 0.01,
        }
        streams.append(
            loader.training(
                config.Data(**(settings | data)),
                tokenizer,
                seed=seed,
                start=start,
                data_folder="unused",
                template=tiny.template(tokenizer) if prompted else None,
                filler=filler,
                extra=extra,
                process_index=process[0],
                process_count=process[1],
            )
        )
        return streams[-1]

    try:
        yield open_stream
    finally:
        for stream in streams:
            stream.close()


def take(stream, count):
    """The next items of a stream."""
    return list(itertools.islice(stream, count))


def assert_same(one, other):
    """Asserts that two batches are equal."""
    jax.tree.map(np.testing.assert_array_equal, one, other)


def evaluate(spec, tokenizer, buckets=BUCKETS):
    """Opens a SPEC or task for evaluation."""
    return loader.evaluation(
        str(spec),
        tokenizer,
        buckets=buckets,
        data_folder="unused",
        template=tiny.template(tokenizer),
        normalizer="basic@1",
    )
