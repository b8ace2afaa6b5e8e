"""Beam search, compared with every transcript enumerated one by one.

Dims: B batch, S transcripts, L tokens, V vocabulary.
"""

import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from searching import (
    INSTRUCTIONS,
    LONGEST,
    PIECES,
    TRANSCRIPTS,
    batch_of,
    model,
    prompted,
    searched,
    transcripts,
)
import tiny

from seedasr_jax.decode.search import Search


@jax.jit
def forced(model, batch, ids, length):
    """Log-probabilities [B S L+1 V] of S transcripts, teacher-forced."""
    prefix = model.prefix(batch, model.speech(batch.wave, batch.wave_length))

    def one(prefix):
        many = jax.tree.map(lambda x: jnp.broadcast_to(x[None], (len(ids), *x.shape)), prefix)
        logits = model.decoder.logits(model.teacher_forced(many, ids, length)[0])[..., :PIECES]
        return jax.nn.log_softmax(logits, -1)

    return jax.lax.map(one, prefix)


def enumerated(batch, positions):
    """Log-probabilities of all TRANSCRIPTS without and with the context, float64."""
    ids = np.array([t + (0,) * (LONGEST - len(t)) for t in TRANSCRIPTS], np.int32)
    length = np.array([len(t) for t in TRANSCRIPTS], np.int32)
    out = []
    for number, instruction in enumerate(INSTRUCTIONS):
        context = batch.context_length * number
        own = prompted(len(batch.weight), instruction)
        one = dataclasses.replace(batch, context_length=context, **own)
        out.append(np.asarray(forced(nnx.merge(*model(positions)), one, ids, length), np.float64))
    return out


def reference(acoustic, informed, alpha, how):
    """{transcript: score} of what may be said, by loops over all of TRANSCRIPTS; [S L+1 V] each."""
    share = alpha / (1 + alpha)
    if how.domain == "linear":
        mixed = np.log(share * np.exp(informed) + (1 - share) * np.exp(acoustic))
    else:
        mixed = share * informed + (1 - share) * acoustic
    out, ended = {}, {}
    for number, transcript in enumerate(TRANSCRIPTS):
        total, possible = 0.0, True
        for place, token in enumerate((*transcript, tiny.TOKENS.eos)):
            scores = acoustic[number, place]
            rank = (scores > scores[token]).sum()
            kept = [v for v in range(PIECES) if (scores > scores[v]).sum() < how.top]
            kept += [v for v in range(PIECES) if scores[v] >= scores.max() - how.delta]
            if not how.prune:
                kept = list(range(PIECES))
            assert not how.prune or (rank < how.top) <= (token in kept)
            if place < LONGEST:  # there the end is forced
                possible &= token in kept
            total += mixed[number, place, token]
            best = max(kept, key=lambda v: mixed[number, place, v])
        if possible:
            out[transcript] = total
            ended[transcript] = len(transcript) < LONGEST or best == tiny.TOKENS.eos
    return out, ended


@pytest.mark.parametrize(
    ("positions", "domain", "prune", "alpha"),
    [
        ("frames", "linear", False, 0.5),
        ("frames", "log", True, 2.0),
        ("ctc_onsets", "linear", True, 0.7),
    ],
)
def test_a_wide_beam_finds_every_transcript(positions, domain, prune, alpha):
    batch = batch_of()
    how = Search(len(TRANSCRIPTS), domain, prune, top=2, delta=0.6)
    hypotheses = searched(batch, how, alpha, positions=positions)
    acoustic, informed = enumerated(batch, positions)
    counts = []
    for row in range(3):
        if row == 1:  # no context: what the context weighs changes nothing, and nothing is cut
            wanted, ended = reference(
                acoustic[row], acoustic[row], alpha, dataclasses.replace(how, prune=False)
            )
        else:
            wanted, ended = reference(acoustic[row], informed[row], alpha, how)
        ours = transcripts(hypotheses, row)
        assert ours.keys() == wanted.keys()
        for transcript, score in ours.items():
            np.testing.assert_allclose(score, wanted[transcript], atol=1e-4)
        for place, transcript in enumerate(ours):
            assert hypotheses.ended[row, place] == ended[transcript]
        counts.append(len(wanted))
    assert counts[1] == len(TRANSCRIPTS) and (counts[0] < len(TRANSCRIPTS)) == prune


def test_a_narrow_beam_sums_what_its_tokens_add():
    batch = batch_of()
    how = Search(3, prune=False)
    hypotheses = searched(batch, how, 0.5)
    acoustic, informed = enumerated(batch, "frames")
    wanted, _ = reference(acoustic[0], informed[0], 0.5, how)
    ours = transcripts(hypotheses, 0)
    assert len(ours) == 3 and max(ours.values()) <= max(wanted.values()) + 1e-4
    for place, (transcript, score) in enumerate(ours.items()):
        np.testing.assert_allclose(score, wanted[transcript], atol=1e-4)
        each = hypotheses.logprobs[0, place]
        assert (each[: len(transcript)] < 0).all() and not each[len(transcript) :].any()
        assert score < each.sum()  # the end costs too


@pytest.mark.parametrize("length", [0.0, 1.0])
def test_a_beam_keeps_the_best_that_ended_as_a_search_by_hand_does(length):
    """By hand nothing ends early: that no live hypothesis could enter the list any more is true."""
    batch, how = batch_of(seed=5), Search(3, prune=False, length=length)
    ours = searched(batch, how, 0.5)
    acoustic, informed = enumerated(batch, "frames")
    for row in (0, 2):
        mixed = np.log(0.5 / 1.5 * np.exp(informed[row]) + 1 / 1.5 * np.exp(acoustic[row]))
        table = {t[:n]: mixed[at, n] for at, t in enumerate(TRANSCRIPTS) for n in range(len(t) + 1)}
        live, ended = [((), 0.0)], []
        for step in range(LONGEST + 1):
            pieces = range(PIECES) if step < LONGEST else [tiny.TOKENS.eos]
            longer = [(ids, s + table[ids][v], v) for ids, s in live for v in pieces]
            longer.sort(key=lambda one: -one[1])
            ended += [one[:2] for one in longer[:3] if one[2] == tiny.TOKENS.eos]
            live = [((*t, v), s) for t, s, v in longer if v != tiny.TOKENS.eos][:3]
        ended.sort(key=lambda one: -one[1] / (len(one[0]) + 1) ** length)
        for n, (transcript, score) in enumerate(ended[:3]):
            assert tuple(ours.ids[row, n, : ours.length[row, n]]) == transcript
            np.testing.assert_allclose(ours.score[row, n], score, atol=1e-4)
