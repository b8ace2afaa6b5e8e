"""Lists of names to read from, against what Python makes of the same rows."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
import tiny

from seedasr_jax.small.objectives import lists
from seedasr_jax.train import objectives

SEPARATOR, PIECES = 5, np.arange(100, 900, dtype=np.int32)
NAMES = ((11, 12), (13, 14, 15), (16, 12, 17))  # in every list; two share a token
LIST = (11, 12, SEPARATOR, 13, 14, 15, SEPARATOR, 16, 12, 17)
HALF = np.array([0.5], np.float32)
ROWS, KEYS = 300, jax.random.split(jax.random.key(7), 300)
draw = jax.jit(lists.listed_targets)
doubt = jax.jit(lists.misrecognised)
tell = jax.jit(lists.in_list)
SENTENCE = (30, 13, 14, 15, 31, 12, 32)  # one of the names, and a token of another


@pytest.fixture(scope="module")
def listed():
    """Rows of one sentence with one list, the last of them without: (ids, length, context)."""
    ids, length, context, in_context = rows_of(SENTENCE)
    in_context[-1], context[-1] = 0, 0
    return drawn(ids, length, context, in_context, KEYS, SEPARATOR, HALF.repeat(ROWS))


def rows_of(sentence):
    """ROWS rows of it with LIST: ids, length, context, its length."""
    ids, context = np.zeros((ROWS, 12), np.int32), np.zeros((ROWS, 14), np.int32)
    ids[:, : len(sentence)], context[:, : len(LIST)] = sentence, LIST
    return ids, np.full(ROWS, len(sentence)), context, np.full(ROWS, len(LIST))


def drawn(*rows):
    return [np.asarray(x) for x in draw(*rows)]


def split(context):
    """The names of a list."""
    names = [[]]
    for token in context[: len(LIST)]:
        names.append([]) if token == SEPARATOR else names[-1].append(int(token))
    return names


def test_a_list_keeps_its_shape_whether_its_names_are_new_or_not(listed):
    _, _, contexts = listed
    new = 0
    for context in contexts[:-1]:
        names = split(context)
        assert [len(name) for name in names] == [len(name) for name in NAMES]
        assert names[0][1] == names[2][1]  # one token, one new token
        assert not context[len(LIST) :].any()
        assert {*itertools.chain(*names)} == {*itertools.chain(*NAMES)}
        new += names != list(map(list, NAMES))
    assert 0.6 < new / len(contexts) < 0.8


def test_what_is_said_is_the_sentence_or_names_of_the_list(listed):
    kinds = dict.fromkeys(("alone", "inserted", "whole"), 0)
    alone, places, broken = set(), set(), 0
    for ids, length, context in zip(*(x[:-1] for x in listed)):
        names, said = split(context), ids[:length].tolist()
        assert not ids[length:].any()
        sentence = [30, *names[1], 31, 12, 32]
        if said == sentence:
            kinds["whole"] += 1
        elif said[0] in (name[0] for name in names) and not {30, 31, 32} & set(said):
            kinds["alone"] += 1
            order, rest = [], said
            while rest:
                (name,) = (n for n in names if rest[: len(n)] == n)
                order.append(names.index(name))
                rest = rest[len(name) :]
            assert len(set(order)) == len(order)
            alone.add(tuple(order))
        else:
            kinds["inserted"] += 1
            found = [
                (n, at)
                for n, name in enumerate(names)
                for at in range(len(sentence) + 1)
                if sentence[:at] + name + sentence[at:] == said
            ]
            places.update(found[:1])
            broken += not found  # put inside the other name, which is none any more
    half = sum(lists.ALONE) / 2  # of the stage is over
    for kind, share in (("alone", half), ("inserted", lists.INSERTED)):
        assert abs(kinds[kind] / 299 - share) < 0.08, kinds
    assert kinds["whole"] > 20
    assert {len(order) for order in alone} == {1, 2, 3} and len(alone) >= 12
    assert broken < 0.4 * kinds["inserted"]
    assert len({n for n, _ in places}) == 3 and len({at for _, at in places}) >= 6


def test_a_list_that_tells_nothing_may_hold_tokens_of_the_text():
    sentence = (30, 31, 32, 33, 34, 35)
    ids, length, context, in_context = rows_of(sentence)
    end = np.ones(ROWS, np.float32)
    said, size, contexts = drawn(ids, length, context, in_context, KEYS, SEPARATOR, end)
    plain = (said[:, :6] == sentence).all(1) & (size == 6)
    decoys = np.isin(contexts, sentence)
    assert not decoys[~plain].any() and plain.mean() > 0.5
    assert 0.3 < decoys[plain].any(1).mean() < 0.6
    assert ((contexts == SEPARATOR) == (context == SEPARATOR)).all()
    some = decoys[plain][decoys[plain].any(1)]
    assert 0.2 < some.sum() / (8 * len(some)) < 0.45


def test_a_row_without_a_list_stays_as_it_is(listed):
    ids, length, context = (x[-1] for x in listed)
    assert ids[: len(SENTENCE)].tolist() == list(SENTENCE) and not ids[len(SENTENCE) :].any()
    assert length == len(SENTENCE) and not context.any()


def test_a_row_is_drawn_by_its_own_key(listed):
    turned = drawn(*rows_of(SENTENCE), KEYS[::-1], SEPARATOR, HALF.repeat(ROWS))
    for found, wanted in zip(turned, listed):
        np.testing.assert_array_equal(found[1:], wanted[-2::-1])  # the last has no list there


def test_tokens_in_context_stand_beside_a_neighbour_of_theirs():
    in_context = tell(np.array(SENTENCE), np.array(LIST), SEPARATOR)
    assert in_context.tolist() == [False, True, True, True, False, False, False]


def test_a_name_of_one_token_is_in_context_wherever_it_stands_in_the_list():
    ids = np.array([30, 21, 31, 12, 22])
    for listed in ((21, SEPARATOR, 11, 12), (11, 12, SEPARATOR, 21), (11, 5, 21, 5, 12, 13)):
        padded = np.array((*listed, *[-1] * (8 - len(listed))))
        assert tell(ids, padded, SEPARATOR).tolist() == [False, True, *[False] * 3]


def doubted(sentence, near=None):
    """What slots say in many rows of one sentence, the last of them without a list."""
    ids, length, context, in_context = rows_of(sentence)
    ids, in_context[-1] = ids[:, : len(SENTENCE)], 0
    found = doubt(ids, length, context, in_context, KEYS, SEPARATOR, PIECES, near)
    said, length = map(np.asarray, found)
    assert not any(row[n:].any() for row, n in zip(said, length))
    return [row[:n].tolist() for row, n in zip(said, length)]


def test_slots_doubt_only_what_a_list_tells():
    said = doubted(SENTENCE)
    assert said[-1] == list(SENTENCE)
    assert all(row[0] == 30 for row in said)
    whole = [row for row in said if row[-2:] == [12, 32]]
    assert len(whole) > 0.6 * ROWS and all(len(row) == 7 for row in said if row not in whole)
    inside = [row[1 : row.index(31)] for row in said if 31 in row]
    assert len(inside) > 0.97 * ROWS  # else the last tokens found no room
    right = np.array([sum(token in row for token in (13, 14, 15)) for row in inside[:-1]])
    for count, share in enumerate((0.4, 0.3, 0.2, 0.1)):  # any number, but rather few
        assert abs((right == count).mean() - share) < 0.08
    longer = np.array([len(row) - 3 for row in inside[:-1]])
    assert longer.min() < -1 and longer.max() > 1 and abs(longer.mean()) < 0.15
    assert 0.3 < (longer != 0).mean() < 0.7


def test_a_transcript_of_names_alone_leaves_no_slot_that_reveals_them():
    sentence = NAMES[0] + NAMES[2]
    said = doubted(sentence)
    assert said[-1] == list(sentence)
    assert sum(token in sentence for row in said[:-1] for token in row) < 0.01 * ROWS * 5


def test_most_of_what_is_doubted_is_spelled_alike():
    said = doubted(SENTENCE, np.tile(np.arange(40)[:, None] + 1000, (1, 3)))
    new = np.array([token for row in said for token in row if token >= 100])
    assert len(new) > ROWS and abs((new >= 1000).mean() - lists.CONFUSED) < 0.06


def test_what_is_like_nothing_is_doubted_by_anything():
    said = doubted(SENTENCE, np.full((40, 3), -1))
    new = {token for row in said for token in row if token not in SENTENCE}
    assert len(new) > 100 and new <= {*PIECES.tolist()}


def test_alike_is_what_shares_letters_and_their_order():
    spelled = ("tram", "tramm", "mart", "xyz", "tran", *("kk" + "lop"[n % 3] for n in range(9)))
    near = lists.alike(spelled)
    assert near.shape == (len(spelled), 8)
    assert (near[3] == -1).all() and near[0].tolist().count(-1) == 5  # xyz is like nobody
    assert near[0, :3].tolist() == [1, 4, 2]
    assert all(row not in others for row, others in enumerate(near))
    assert (lists.alike(spelled) == near).all()
    assert lists.alike(()) is None


def test_a_large_vocabulary_is_not_spelled():
    class Vocab:
        size = lists.COMPARED + 1

        def encode(self, text):
            return [SEPARATOR]

    tokens = dataclasses.replace(tiny.TOKENS, vocab=Vocab())  # which cannot decode
    options = dict(tail=2, sustained=True)
    small = {"model.variant.mix": False}
    stage = tiny.stage("copying_lm", ("decoder",), ("decoder",), objective=options, **small)
    assert objectives.make(stage, tokens, Vocab.size).alike is None


def test_what_a_list_tells_weighs_more():
    options = dict(tail=2, sustained=True)
    small = {"model.variant.mix": False}
    stage = tiny.stage("copying_lm", ("decoder",), ("decoder",), objective=options, **small)
    objective = objectives.make(stage, tiny.TOKENS, tiny.VOCABULARY)
    batch = tiny.batch(3, context=4, tokens=6)
    for array in (batch.ids, batch.context):
        array[:] = 0
    batch.ids[:, :5], batch.ids_length[:] = (7, 8, 9, 10, 11), (5, 5, 4)
    batch.context[:, :4], batch.context_length[:] = (5, 9, 10, 6), (4, 2, 4)
    batch.weight[:] = (1, 1, 0)
    more = lists.EMPHASIS
    wanted = [[1, 1, more, more, 1, 1, 0], [1, 1, 1, 1, 1, 1, 0], [0] * 7]
    found = jax.jit(objective.importance)(batch)
    np.testing.assert_array_equal(found, np.array(wanted, np.float32))
