"""Beam search with a model of few pieces, for tests."""

import dataclasses
import functools
import itertools

from flax import nnx
import jax
import numpy as np
import tiny

from seedasr_jax.decode import search
from seedasr_jax.models import acllm
from seedasr_jax.text.template import Around

PIECES, LONGEST = 6, 3  # so few that all transcripts can be tried
INSTRUCTIONS = (4, 5, 4), (5, 5, 4, 5)  # without and with a context
TRANSCRIPTS = [
    ids
    for size in range(LONGEST + 1)
    for ids in itertools.product((0, 1, 2, 4, 5), repeat=size)  # all but the end token
]


def make(positions, tokens=tiny.TOKENS):
    """A model of PIECES."""
    small = {"model.variant.speech_positions": positions, "model.variant.transcript_position": 9}
    parts = ("encoder", "ctc_head", "converter", "decoder")
    settings = tiny.stage("sft", parts, parts, objective=dict(ctc_weight=0.3), **small)

    def create(rngs):
        return acllm.make(settings.model, tokens, PIECES, parts, remat="none", rngs=rngs)

    return nnx.split(tiny.drawn(create, seed=4))


@functools.cache
def model(positions):
    """`make(positions)`, once."""
    return make(positions)


def batch_of(rows=3, seed=0):
    """A batch in so few pieces; its second row has no context."""
    batch = tiny.batch(rows, context=3, seed=seed)
    length = np.full(rows, 3, np.int32)
    length[1:2] = 0
    context = dict(context=4 + batch.context % 2, context_length=length)
    return dataclasses.replace(batch, **context, **prompted(rows, INSTRUCTIONS[1]))


def prompted(rows, instruction):
    """The fields of a batch with one prompt on all rows."""
    size = np.full(rows, len(instruction), np.int32)
    return dict(prompt=np.tile(np.int32(instruction), (rows, 1)), prompt_length=size)


def jitted(graphdef, tokens, how, instructed):
    """The jitted search: (state, batch, alpha) -> hypotheses."""

    def call(state, batch, alpha):
        given = [Around(INSTRUCTIONS[0], (), tiny.TOKENS.start)] if instructed else None
        merged = nnx.merge(graphdef, state)
        return search.search(merged, batch, tokens, how, plain=given, alpha=alpha)

    return jax.jit(call)


@functools.cache
def _program(positions, tokens, how, instructed):
    return jitted(model(positions)[0], tokens, how, instructed)


def searched(batch, how, alpha=None, *, tokens=LONGEST, positions="frames", instructed=True):
    """Hypotheses on the host; a program is compiled once per shape."""
    program = _program(positions, tokens, how, instructed)
    alpha = None if alpha is None else np.float32(alpha)
    return jax.tree.map(np.asarray, program(model(positions)[1], batch, alpha))


def transcripts(hypotheses, row):
    """{transcript: score} of the hypotheses that there are; none stands there twice."""
    there = np.isfinite(hypotheses.score[row])
    lengths = hypotheses.length[row]
    ids = [tuple(ids[:n]) for ids, n in zip(hypotheses.ids[row], lengths)]
    chosen = {t: s for t, s, valid in zip(ids, hypotheses.score[row], there) if valid}
    assert len(chosen) == there.sum() and not lengths[~there].any()
    assert (np.diff(hypotheses.score[row][there]) <= 0).all()
    return chosen
