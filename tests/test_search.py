"""Beam search: greedy, one prefix or two, neighbours, and its parts."""

import dataclasses

from flax import nnx
import jax
import numpy as np
from searching import (
    TRANSCRIPTS,
    batch_of,
    jitted,
    make,
    model,
    searched,
    transcripts,
)
import tiny

from seedasr_jax.decode import greedy, prefill, search
from seedasr_jax.decode.search import Search
from seedasr_jax.text.template import Around


def test_a_search_ends_when_nothing_can_enter_its_list(monkeypatch):
    graphdef, state = model("frames")
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


def test_scores_may_compete_by_length():
    batch = batch_of()
    how = Search(len(TRANSCRIPTS), prune=False, top=2, delta=0.6)
    ours = searched(batch, dataclasses.replace(how, length=1.0), 0.5)
    lengths = ours.length[0] + 1
    plain = transcripts(searched(batch, how, 0.5), 0)
    assert (np.diff(ours.score[0] / lengths) <= 1e-6).all()
    assert {tuple(i[:n]) for i, n in zip(ours.ids[0], ours.length[0])} == plain.keys()
    assert lengths[0] > len(next(iter(plain))) + 1  # sums prefer short ones


# One prefix, two, and greedy.


def test_beam_1_is_greedy():
    graphdef, state = model("frames")
    batch = batch_of(6, seed=2)
    batch.weight[4] = 0
    ours = searched(batch, Search(1), tokens=5, instructed=False)  # the batch as it stands
    wanted = jax.jit(lambda s, b: greedy.llm(nnx.merge(graphdef, s), b, 5))(state, batch)
    live = batch.weight > 0
    np.testing.assert_array_equal(ours.ids, wanted.ids)
    np.testing.assert_array_equal(ours.length, wanted.length)
    np.testing.assert_array_equal(ours.ended, wanted.ended)
    np.testing.assert_allclose(ours.logprobs, wanted.logprobs, atol=1e-5)
    assert len({tuple(ids) for ids in ours.ids[live, 0]}) > 1


def test_any_of_several_end_tokens_ends():
    """A transcript ends where the first of them would stand; a beam of 1 is greedy still."""
    batch, other = batch_of(8, seed=2), 2
    tokens = dataclasses.replace(tiny.TOKENS, others=(other,))
    graphdef, state = make("frames", tokens)

    @jax.jit
    def decoded(state, batch):
        one, several = (nnx.merge(g, state) for g in (model("frames")[0], graphdef))
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


def test_alpha_0_is_without_context():
    batch, how = batch_of(), Search(3)
    plain, both = searched(batch, how), searched(batch, dataclasses.replace(how, prune=False), 0)
    np.testing.assert_array_equal(both.ids, plain.ids)
    np.testing.assert_allclose(both.score, plain.score, atol=1e-5)
    other = searched(batch, dataclasses.replace(how, prune=False), 5.0)
    assert (other.ids[0] != plain.ids[0]).any()  # it is read where alpha says so


def test_alpha_without_end_is_the_context_alone():
    """The paper's baseline: P(y | x, c) by itself."""
    batch = batch_of()
    batch.context_length[:] = 3
    ours = searched(batch, Search(3, prune=False), np.inf)
    wanted = searched(batch, Search(3), instructed=False)
    np.testing.assert_array_equal(ours.ids, wanted.ids)
    np.testing.assert_allclose(ours.score, wanted.score, atol=1e-5)


def test_an_empty_context_is_none_whatever_alpha():
    batch, how = batch_of(), Search(3, prune=True, top=1, delta=0.0)
    plain = searched(batch, Search(3))
    for alpha in (0.3, 4.0):
        ours = searched(batch, how, alpha)
        np.testing.assert_array_equal(ours.ids[1], plain.ids[1])
        np.testing.assert_allclose(ours.score[1], plain.score[1], atol=1e-5)


def test_what_is_cut_never_appears_however_large_alpha():
    """Only the likeliest token without the context is left: greedy without it."""
    batch = batch_of()
    ours = searched(batch, Search(3, top=1, delta=0.0), 1e6)
    plain = searched(batch, Search(1))
    for row in (0, 2):
        assert list(transcripts(ours, row)) == list(transcripts(plain, row))


def test_a_batch_of_n_is_n_batches_of_one_in_any_bucket():
    batch, how = batch_of(4, seed=3), Search(3, top=3, delta=1.0)
    together = searched(batch, how, 0.8, positions="ctc_onsets")
    spoiled = tiny.garbage(batch)
    spoiled = dataclasses.replace(spoiled, prompt=batch.prompt)
    again = searched(spoiled, how, 0.8, positions="ctc_onsets")
    np.testing.assert_array_equal(again.ids, together.ids)
    np.testing.assert_array_equal(again.score, together.score)
    longer = dataclasses.replace(
        batch,
        wave=np.pad(batch.wave, ((0, 0), (0, 3_200))),
        context=np.pad(batch.context, ((0, 0), (0, 4))),
    )
    for row in range(4):
        one = jax.tree.map(lambda x: x[row : row + 1], longer)
        alone = searched(one, how, 0.8, positions="ctc_onsets")
        np.testing.assert_array_equal(alone.ids[0], together.ids[row])
        np.testing.assert_allclose(alone.score[0], together.score[row], atol=1e-4)


def test_padding_rows_have_no_hypotheses_and_change_no_other_row():
    batch, how = batch_of(4, seed=3), Search(3, top=3, delta=1.0)
    together = searched(batch, how, 0.8, positions="ctc_onsets")
    absent = jax.tree.map(np.copy, batch)
    absent.weight[2], absent.wave[2] = 0, np.nan
    ours = searched(absent, how, 0.8, positions="ctc_onsets")
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
    plain = [Around((4,), (5, 5), 2), Around((5, 4), (), 2), Around((4, 4, 4), (5,), 2)]
    batch = dataclasses.replace(batch_of(), language=np.array([2, 0, 1], np.int32))
    found = search._without_context(batch, plain)
    for row, around in enumerate((plain[2], plain[0], plain[1])):
        for name in ("prompt", "suffix"):
            length = int(getattr(found, f"{name}_length")[row])
            assert tuple(getattr(found, name)[row, :length].tolist()) == getattr(around, name)
    assert found.context.shape == (3, 0) and not found.context_length.any()
