"""Beam search: every transcript enumerated one by one, greedy, one prefix or two, neighbours.

Dims: B batch, W beam, K tokens at most, S transcripts, L tokens, V vocabulary.
"""

import dataclasses
import itertools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from seedasr_jax.decode import greedy, prefill, search
from seedasr_jax.decode.search import Search
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


@pytest.fixture(scope="module")
def models():
    return {positions: make(positions) for positions in ("frames", "ctc_onsets")}


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
    def call(state, batch, alpha):
        model = nnx.merge(graphdef, state)
        given = [Around(INSTRUCTIONS[0], ())] if instructed else None
        return search.search(model, batch, tokens, how, plain=given, alpha=alpha)

    return jax.jit(call)


@pytest.fixture(scope="module")
def found(models):
    """found(batch, how, alpha): searched on the host's arrays, compiled once per shape."""
    compiled = {}

    def call(batch, how, alpha=None, *, tokens=LONGEST, positions="frames", instructed=True):
        graphdef, state = models[positions]
        key = (how, tokens, positions, instructed)
        if key not in compiled:
            compiled[key] = jitted(graphdef, tokens, how, instructed)
        alpha = None if alpha is None else np.float32(alpha)
        return jax.tree.map(np.asarray, compiled[key](state, batch, alpha))

    return call


def said(hypotheses, row):
    """{transcript: score} of the hypotheses that there are; none stands there twice."""
    there = np.isfinite(hypotheses.score[row])
    lengths = hypotheses.length[row]
    ids = [tuple(ids[:n]) for ids, n in zip(hypotheses.ids[row], lengths)]
    chosen = {t: s for t, s, real in zip(ids, hypotheses.score[row], there) if real}
    assert len(chosen) == there.sum() and not lengths[~there].any()
    assert (np.diff(hypotheses.score[row][there]) <= 0).all()
    return chosen


# Every transcript, one by one.


@jax.jit
def forced(model, batch, ids, length):
    """Log-probabilities [B S L+1 V] of S transcripts, teacher-forced."""
    prefix = model.prefix(batch, model.speech(batch.wave, batch.wave_length))

    def one(prefix):
        many = jax.tree.map(lambda x: jnp.broadcast_to(x[None], (len(ids), *x.shape)), prefix)
        logits = model.decoder.logits(model.teacher_forced(many, ids, length)[0])[..., :PIECES]
        return jax.nn.log_softmax(logits, -1)

    return jax.lax.map(one, prefix)


def enumerated(models, batch, positions):
    """Log-probabilities of all TRANSCRIPTS without and with the context, float64."""
    ids = np.array([t + (0,) * (LONGEST - len(t)) for t in TRANSCRIPTS], np.int32)
    length = np.array([len(t) for t in TRANSCRIPTS], np.int32)
    out = []
    for number, instruction in enumerate(INSTRUCTIONS):
        context = batch.context_length * number
        own = prompted(len(batch.weight), instruction)
        one = dataclasses.replace(batch, context_length=context, **own)
        out.append(np.asarray(forced(nnx.merge(*models[positions]), one, ids, length), np.float64))
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
            heard = acoustic[number, place]
            rank = (heard > heard[token]).sum()
            kept = [v for v in range(PIECES) if (heard > heard[v]).sum() < how.top]
            kept += [v for v in range(PIECES) if heard[v] >= heard.max() - how.delta]
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
def test_a_wide_beam_finds_every_transcript(models, found, positions, domain, prune, alpha):
    batch = batch_of()
    how = Search(len(TRANSCRIPTS), domain, prune, top=2, delta=0.6)
    hypotheses = found(batch, how, alpha, positions=positions)
    acoustic, informed = enumerated(models, batch, positions)
    counts = []
    for row in range(3):
        if row == 1:  # no context: what the context weighs changes nothing, and nothing is cut
            wanted, ended = reference(
                acoustic[row], acoustic[row], alpha, dataclasses.replace(how, prune=False)
            )
        else:
            wanted, ended = reference(acoustic[row], informed[row], alpha, how)
        ours = said(hypotheses, row)
        assert ours.keys() == wanted.keys()
        for transcript, score in ours.items():
            np.testing.assert_allclose(score, wanted[transcript], atol=1e-4)
        for place, transcript in enumerate(ours):
            assert hypotheses.ended[row, place] == ended[transcript]
        counts.append(len(wanted))
    assert counts[1] == len(TRANSCRIPTS) and (counts[0] < len(TRANSCRIPTS)) == prune


def test_a_narrow_beam_sums_what_its_tokens_add(models, found):
    batch = batch_of()
    how = Search(3, prune=False)
    hypotheses = found(batch, how, 0.5)
    acoustic, informed = enumerated(models, batch, "frames")
    wanted, _ = reference(acoustic[0], informed[0], 0.5, how)
    ours = said(hypotheses, 0)
    assert len(ours) == 3 and max(ours.values()) <= max(wanted.values()) + 1e-4
    for place, (transcript, score) in enumerate(ours.items()):
        np.testing.assert_allclose(score, wanted[transcript], atol=1e-4)
        each = hypotheses.logprobs[0, place]
        assert (each[: len(transcript)] < 0).all() and not each[len(transcript) :].any()
        assert score < each.sum()  # the end costs too


@pytest.mark.parametrize("length", [0.0, 1.0])
def test_a_beam_keeps_the_best_that_ended_as_a_search_by_hand_does(models, found, length):
    """By hand nothing ends early: that no live hypothesis could enter the list any more is true."""
    batch, how = batch_of(seed=5), Search(3, prune=False, length=length)
    ours = found(batch, how, 0.5)
    acoustic, informed = enumerated(models, batch, "frames")
    for row in (0, 2):
        mixed = np.log(0.5 / 1.5 * np.exp(informed[row]) + 1 / 1.5 * np.exp(acoustic[row]))
        table = {t[:n]: mixed[at, n] for at, t in enumerate(TRANSCRIPTS) for n in range(len(t) + 1)}
        live, ended = [((), 0.0)], []
        for step in range(LONGEST + 1):
            pieces = range(PIECES) if step < LONGEST else [tiny.TOKENS.eos]
            longer = [(said, s + table[said][v], v) for said, s in live for v in pieces]
            longer.sort(key=lambda one: -one[1])
            ended += [one[:2] for one in longer[:3] if one[2] == tiny.TOKENS.eos]
            live = [((*t, v), s) for t, s, v in longer if v != tiny.TOKENS.eos][:3]
        ended.sort(key=lambda one: -one[1] / (len(one[0]) + 1) ** length)
        for n, (transcript, score) in enumerate(ended[:3]):
            assert tuple(ours.ids[row, n, : ours.length[row, n]]) == transcript
            np.testing.assert_allclose(ours.score[row, n], score, atol=1e-4)


def test_a_search_ends_when_nothing_can_enter_its_list(models, monkeypatch):
    graphdef, state = models["frames"]
    decode_step, steps = prefill.decode_step, []

    def counted(model, stream, last):
        jax.debug.callback(lambda: steps.append(1))
        logits, stream = decode_step(model, stream, last)
        return logits.at[..., tiny.TOKENS.eos].add(2.0), stream

    monkeypatch.setattr(prefill, "decode_step", counted)
    batch = batch_of()
    batch.weight[1:] = 0
    ours = jitted(graphdef, 40, Search(3), False)(state, batch, None)
    jax.effects_barrier()
    assert np.isfinite(ours.score[0]).all() and ours.ended[0].all()
    assert ours.length[0].max() < len(steps) < 12  # of 41


def test_scores_may_compete_by_length(models, found):
    batch = batch_of()
    how = Search(len(TRANSCRIPTS), prune=False, top=2, delta=0.6)
    ours = found(batch, dataclasses.replace(how, length=1.0), 0.5)
    lengths = ours.length[0] + 1
    plain = said(found(batch, how, 0.5), 0)
    assert (np.diff(ours.score[0] / lengths) <= 1e-6).all()
    assert {tuple(i[:n]) for i, n in zip(ours.ids[0], ours.length[0])} == plain.keys()
    assert lengths[0] > len(next(iter(plain))) + 1  # sums prefer short ones


# One prefix, two, and greedy.


def test_beam_1_is_greedy(models, found):
    graphdef, state = models["frames"]
    batch = batch_of(6, seed=2)
    batch.weight[4] = 0
    ours = found(batch, Search(1), tokens=5, instructed=False)  # the batch as it stands
    wanted = jax.jit(lambda s, b: greedy.llm(nnx.merge(graphdef, s), b, 5))(state, batch)
    live = batch.weight > 0
    np.testing.assert_array_equal(ours.ids, wanted.ids)
    np.testing.assert_array_equal(ours.length, wanted.length)
    np.testing.assert_array_equal(ours.ended, wanted.ended)
    np.testing.assert_allclose(ours.logprobs, wanted.logprobs, atol=1e-5)
    assert len({tuple(ids) for ids in ours.ids[live, 0]}) > 1


def test_any_of_several_end_tokens_ends(models):
    """A transcript ends where the first of them would stand; a beam of 1 is greedy still."""
    batch, other = batch_of(8, seed=2), 2
    tokens = dataclasses.replace(tiny.TOKENS, others=(other,))
    graphdef, state = make("frames", tokens)

    @jax.jit
    def decoded(state, batch):
        one, several = (nnx.merge(g, state) for g in (models["frames"][0], graphdef))
        how = (
            search.search(several, batch, 5, Search(1)),
            search.search(several, batch, 5, Search(3)),
        )
        return greedy.llm(one, batch, 5), greedy.llm(several, batch, 5), *how

    one, several, alone, beam = jax.tree.map(np.asarray, decoded(state, batch))
    ended = 0
    for row in range(8):
        whole = one.ids[row, 0, : one.length[row, 0]].tolist()
        ended += other in whole
        whole = whole[: whole.index(other)] if other in whole else whole
        assert several.ids[row, 0, : several.length[row, 0]].tolist() == whole
        assert several.ended[row, 0] or not one.ended[row, 0]
    assert ended > 0
    np.testing.assert_array_equal(alone.ids, several.ids)
    np.testing.assert_array_equal(alone.ended, several.ended)
    np.testing.assert_allclose(alone.logprobs, several.logprobs, atol=1e-5)
    written = np.arange(5) < beam.length[..., None]
    assert not np.isin(beam.ids[written], tokens.ends).any() and beam.ended.any()


def test_alpha_0_is_without_context(found):
    batch, how = batch_of(), Search(3)
    plain, both = found(batch, how), found(batch, dataclasses.replace(how, prune=False), 0)
    np.testing.assert_array_equal(both.ids, plain.ids)
    np.testing.assert_allclose(both.score, plain.score, atol=1e-5)
    other = found(batch, dataclasses.replace(how, prune=False), 5.0)
    assert (other.ids[0] != plain.ids[0]).any()  # it is read where alpha says so


def test_alpha_without_end_is_the_context_alone(found):
    """The paper's baseline: P(y | x, c) by itself."""
    batch = batch_of()
    batch.context_length[:] = 3
    ours = found(batch, Search(3, prune=False), np.inf)
    wanted = found(batch, Search(3), instructed=False)
    np.testing.assert_array_equal(ours.ids, wanted.ids)
    np.testing.assert_allclose(ours.score, wanted.score, atol=1e-5)


def test_an_empty_context_is_none_whatever_alpha(found):
    batch, how = batch_of(), Search(3, prune=True, top=1, delta=0.0)
    plain = found(batch, Search(3))
    for alpha in (0.3, 4.0):
        ours = found(batch, how, alpha)
        np.testing.assert_array_equal(ours.ids[1], plain.ids[1])
        np.testing.assert_allclose(ours.score[1], plain.score[1], atol=1e-5)


def test_what_is_cut_never_appears_however_large_alpha(found):
    """Only the likeliest token without the context is left: greedy without it."""
    batch = batch_of()
    ours = found(batch, Search(3, top=1, delta=0.0), 1e6)
    plain = found(batch, Search(1))
    for row in (0, 2):
        assert list(said(ours, row)) == list(said(plain, row))


def test_a_batch_of_n_is_n_batches_of_one_in_any_bucket(found):
    batch, how = batch_of(4, seed=3), Search(3, top=3, delta=1.0)
    together = found(batch, how, 0.8, positions="ctc_onsets")
    spoiled = tiny.garbage(batch)
    spoiled = dataclasses.replace(spoiled, prompt=batch.prompt)
    again = found(spoiled, how, 0.8, positions="ctc_onsets")
    np.testing.assert_array_equal(again.ids, together.ids)
    np.testing.assert_array_equal(again.score, together.score)
    longer = dataclasses.replace(
        batch,
        wave=np.pad(batch.wave, ((0, 0), (0, 3_200))),
        context=np.pad(batch.context, ((0, 0), (0, 4))),
    )
    for row in range(4):
        one = jax.tree.map(lambda x: x[row : row + 1], longer)
        alone = found(one, how, 0.8, positions="ctc_onsets")
        np.testing.assert_array_equal(alone.ids[0], together.ids[row])
        np.testing.assert_allclose(alone.score[0], together.score[row], atol=1e-4)


def test_rows_of_weight_0_say_nothing_and_harm_nobody(found):
    batch, how = batch_of(4, seed=3), Search(3, top=3, delta=1.0)
    together = found(batch, how, 0.8, positions="ctc_onsets")
    absent = jax.tree.map(np.copy, batch)
    absent.weight[2], absent.wave[2] = 0, np.nan
    ours = found(absent, how, 0.8, positions="ctc_onsets")
    assert not ours.length[2].any() and (ours.score[2] == -np.inf).all()
    for row in (0, 1, 3):
        np.testing.assert_array_equal(ours.ids[row], together.ids[row])
        np.testing.assert_array_equal(ours.score[row], together.score[row])


# The parts.


def test_the_joint_probability_is_equation_1():
    rng = np.random.default_rng(0)
    p, q = (rng.dirichlet(np.ones(7), 2) for _ in "ab")
    joint = jax.jit(search.joint, static_argnums=3)
    for alpha in (0.0, 0.5, 3.0):
        linear = joint(np.log(p), np.log(q), alpha, "linear")
        wanted = alpha / (1 + alpha) * q + 1 / (1 + alpha) * p
        np.testing.assert_allclose(np.exp(linear), wanted, rtol=1e-4)
        log = joint(np.log(p), np.log(q), alpha, "log")
        wanted = q ** (alpha / (1 + alpha)) * p ** (1 / (1 + alpha))
        np.testing.assert_allclose(np.exp(log), wanted, rtol=1e-4)
    for domain in search.DOMAINS:  # the context alone
        alone = joint(np.log(p), np.log(q), np.inf, domain)
        np.testing.assert_allclose(np.exp(alone), q, rtol=1e-5)


def test_plausible_is_by_rank_or_by_distance():
    x = np.log(np.array([0.3, 0.4, 0.2, 0.06, 0.04], np.float32))
    cases = {(2, 0.0): 2, (1, 0.7): 3, (9, 0.0): 5}
    least = jax.jit(lambda x: [search.least_plausible(x, *case) for case in cases])(x)
    for found, stay in zip(least, cases.values()):
        assert (x >= np.asarray(found)).tolist() == [True] * stay + [False] * (5 - stay)


def test_the_prefix_without_a_context_names_the_language_of_each_row():
    plain = [Around((4,), (5, 5)), Around((5, 4), ()), Around((4, 4, 4), (5,))]
    batch = dataclasses.replace(batch_of(), language=np.array([2, 0, 1], np.int32))
    found = search._without_context(batch, plain)
    for row, around in enumerate((plain[2], plain[0], plain[1])):
        for name in ("prompt", "suffix"):
            length = int(getattr(found, f"{name}_length")[row])
            assert tuple(getattr(found, name)[row, :length].tolist()) == getattr(around, name)
    assert found.context.shape == (3, 0) and not found.context_length.any()
