"""Contexts: proportions of kinds, names and distractors, conditions of a test, batches."""

import collections
import dataclasses

import numpy as np
import pytest
import recordings
import tiny

from seedasr_jax import config, skipped
from seedasr_jax.data_pipelines import batching, contexts, loader, sources
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.errors import ConfigError, DataError
from seedasr_jax.text import prompts

PEOPLE = ("ann", "bob", "eve", "joe", "kim", "lea", "max", "zoe")
ROWS = [
    Row(f"en{n}", text=f"call {name}", language="en", keywords=(name,), siblings=(f"{name}e",))
    for n, name in enumerate(PEOPLE)
]
OTHER = Row("zh0", text="打给张伟", language="zh", keywords=("张伟",))
NAMES = contexts.Names([*ROWS, OTHER])
MIX = config.Contexts(tokens=40, plain=0.5, irrelevant=0.2, distractors=3, kinds={})


def reads(path, contexts):
    """The data of a stage that reads a manifest with contexts."""
    return config.Data(
        mixture=((f"manifest:{path}", 1.0),),
        buckets=((2.0, 40, 4),),
        stretch=1.0,
        min_seconds=0.0,
        max_bad_fraction=0.0,
        normalizer="basic@1",
        contexts=contexts,
        cache_gib=0.01,
    )


def training(rows=(*ROWS, OTHER), **changes):
    return contexts.Training([(rows, 1.0)], dataclasses.replace(MIX, **changes))


def named(row):
    return row.context.split(prompts.SEPARATOR) if row.context else []


def test_kinds_have_the_requested_proportions():
    counts, drawing = collections.Counter(), training()
    for step in range(3_000):
        row = ROWS[step % len(ROWS)]
        found = named(drawing.draw(0, row, 0, step, 1))
        counts["plain" if not found else "right" if row.keywords[0] in found else "wrong"] += 1
    shares = {kind: n / 3_000 for kind, n in counts.items()}
    assert shares == pytest.approx({"plain": 0.5, "right": 0.3, "wrong": 0.2}, abs=0.03)


def test_distractors_are_names_of_the_language_that_the_text_does_not_contain():
    sizes, drawing = set(), training(plain=0.0)
    for step in range(300):
        row = ROWS[step % len(ROWS)]
        found = named(drawing.draw(0, row, 7, step, 0))
        assert len(set(found)) == len(found) and set(found) <= set(PEOPLE)
        sizes.add(len(found) - (row.keywords[0] in found))
    assert sizes == {0, 1, 2, 3}
    twins = contexts.Names([*ROWS, Row("x", language="en", keywords=("anne",))])
    assert "anne" not in twins.others(ROWS[0], 100, 3)
    assert len(twins.others(ROWS[0], 100, 3)) == len(PEOPLE) - 1
    plain = Row("y", text=f"Is that {PEOPLE[0].upper()}'s cup?", language="en")  # no keywords
    assert set(NAMES.others(plain, 100, 3)) == set(PEOPLE[1:])
    assert NAMES.others(Row("z", text="打给张伟吧", language="zh"), 100, 3) == []


def test_a_draw_depends_on_its_key_and_the_order_reveals_nothing():
    drawing = training()
    one = [drawing.draw(0, ROWS[0], 5, step, 2).context for step in range(50)]
    assert one == [drawing.draw(0, ROWS[0], 5, step, 2).context for step in range(50)]
    assert one != [drawing.draw(0, ROWS[0], 5, step, 3).context for step in range(50)]
    places = collections.Counter()
    for row in contexts.fixed(ROWS * 40, ("right", 3), "s", NAMES):
        places[named(row).index(row.keywords[0])] += 1
    assert len(places) > 1


def test_an_own_context_is_unchanged():
    row = Row("a", language="en", context="A talk about tea.", context_kind="agent_description")
    assert training([row], plain=0.0, irrelevant=0.0).draw(0, row, 0) == row
    alone = Row("a", language="fr", text="bonjour")  # no keywords, and no other row of its language
    assert training(plain=0.0).draw(0, alone, 0).context == ""


SAID = [  # a kind each, of which there are 6, 3, 1 and 2
    *(Row(f"h{n}", language="en", context=f"turn {n}") for n in range(6)),
    *(Row(f"p{n}", language="en", context=f"people {n}") for n in range(3)),
    Row("e0", language="en", context="edit 0"),
    *(Row(f"n{n}", language="en", context=f"x{n}, y{n}") for n in range(2)),
]
SAID_KINDS = dict(h="dialogue_history", p="participants", e="edit_history", n="hotwords")
SAID = [dataclasses.replace(row, context_kind=SAID_KINDS[row.id[0]]) for row in SAID]


def test_an_irrelevant_context_has_the_kind_of_the_row():
    drawing, texts = training(SAID, plain=0.0, irrelevant=1.0), {row.context for row in SAID}
    for step in range(60):
        row = SAID[step % len(SAID)]
        found = drawing.draw(0, row, step)
        if row.id == "e0":  # no other has such a context
            assert (found.context, found.context_kind) == ("", "")
            continue
        assert found.context_kind == row.context_kind
        if row.context_kind == "hotwords":
            assert found.context and set(named(found)) <= {"x0", "y0", "x1", "y1"} - set(named(row))
        else:
            assert found.context in texts - {row.context}
            assert found.context.split()[0] == row.context.split()[0]
    plain = training(SAID, plain=1.0).draw(0, SAID[0], 0)
    assert (plain.context, plain.context_kind) == ("", "")


def test_kinds_have_their_proportions_among_relevant_and_irrelevant():
    """The kind that is rarest relative to its proportion is never left out."""
    wanted = dict(dialogue_history=1.0, participants=1.0, hotwords=2.0)
    drawing = training(SAID, plain=0.0, irrelevant=0.4, kinds=wanted)
    counts = collections.Counter()
    for step in range(12_000):
        row = SAID[step % len(SAID)]
        found = drawing.draw(0, row, step)
        counts[found.context_kind, found.context == row.context] += 1
    kinds = {kind: counts[kind, True] + counts[kind, False] for kind in wanted}
    assert kinds["hotwords"] == 2_000  # all of them
    assert kinds == pytest.approx({k: 1_000 * share for k, share in wanted.items()}, rel=0.1)
    for kind in wanted:
        assert counts[kind, False] / kinds[kind] == pytest.approx(0.4, abs=0.05)
    assert counts["edit_history", True] == counts["edit_history", False] == 0


def test_an_utterance_with_a_text_and_names_gets_both_in_proportion():
    rows = [
        dataclasses.replace(row, context=f"about {row.id}", context_kind="agent_name")
        for row in ROWS
    ]
    wanted = dict(agent_name=3.0, hotwords=1.0)
    drawing = training(rows, plain=0.0, irrelevant=0.0, kinds=wanted)
    found = [drawing.draw(0, rows[step % 8], step) for step in range(2_000)]
    counts = collections.Counter(row.context_kind for row in found)
    assert counts["agent_name"] / 2_000 == pytest.approx(0.75, abs=0.04)
    assert counts["agent_name"] + counts["hotwords"] == 2_000
    assert all(row.keywords[0] in named(row) for row in found if row.context_kind == "hotwords")


def test_a_stage_whose_data_has_no_contexts_is_refused():
    options = dataclasses.replace(MIX, plain=0.5)
    contexts.require([ROWS], options)
    contexts.require([[Row("a")]], dataclasses.replace(MIX, plain=1.0))  # asks for none
    with pytest.raises(DataError, match="= 40: expected utterances"):
        contexts.require([[Row("a")]], options)
    wanted = dataclasses.replace(options, kinds=dict(hotwords=1.0, agent_name=0.1, participants=0))
    with pytest.raises(DataError, match=r"data\.mixture \(hotwords\), found agent_name: add"):
        contexts.require([ROWS], wanted)


def test_conditions_of_a_test():
    right = contexts.fixed(ROWS, contexts.check("s", "right_3"), "s", NAMES)
    wrong = contexts.fixed(ROWS, contexts.check("s", "wrong_2"), "s", NAMES)
    others = contexts.fixed(ROWS, contexts.check("s", "distractors_3"), "s", NAMES)
    for row, other in zip(right, others):
        assert row.keywords[0] in named(row) and len(named(row)) == 4
        assert row.keywords[0] not in named(other) and len(named(other)) == 3
    for row in wrong:
        assert row.siblings[0] in named(row) and row.keywords[0] not in named(row)
        assert len(named(row)) == 3
    assert not any(row.context for row in contexts.fixed(right, ("none", 0), "s", NAMES))
    assert [*contexts.fixed(right, ("own", 0), "s", NAMES)] == [*right]


@pytest.mark.parametrize("condition", ["rihgt_3", "right", "right_x", "none_2", "own_1"])
def test_an_invalid_condition(condition):
    with pytest.raises(ConfigError, match=f"expected one of own, none.*found '{condition}'"):
        contexts.check("manifest:a.jsonl", condition)


@pytest.mark.parametrize("condition, field", [("wrong_1", "siblings"), ("own", "context")])
def test_a_row_without_the_field_of_the_condition(condition, field):
    with pytest.raises(DataError, match=rf"zh0\): context=\w+: expected a row with {field}"):
        contexts.fixed([OTHER], contexts.check("s", condition), "s", NAMES)
    with pytest.raises(
        DataError, match=r"zh0\): context=distractors_3: expected names of the row's language"
    ):
        contexts.fixed([OTHER], ("distractors", 3), "s", NAMES)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Recordings whose last word is a name, and a tokenizer that can write them."""
    folder = tmp_path_factory.mktemp("contexts")
    rows = recordings.rows(8)
    for number, row in enumerate(rows):
        row |= {"text": f"call {PEOPLE[number]}", "keywords": [PEOPLE[number]], "lang": "en"}
    path = recordings.write(folder, rows)
    texts = [row["text"] for row in rows]
    return path, tiny.vocabulary(texts, folder / "v", size=64, kind="char")


def test_the_instruction_follows_the_context(corpus):
    path, tokenizer = corpus
    plain, other = (tokenizer.encode(text) for text in tiny.PROMPT.literals)

    def check(batch, rows):
        seen = set()
        for place, row in enumerate(rows):
            if row is None:
                continue
            found = batch.context[place, : batch.context_length[place]].tolist()
            assert found == (tokenizer.encode(row.context) if row.context else [])
            prompt = batch.prompt[place, : batch.prompt_length[place]].tolist()
            assert prompt == (other if row.context else plain)
            assert not batch.prompt[place, batch.prompt_length[place] :].any()
            seen.add(bool(row.context))
        return seen

    data = reads(path, MIX)
    options = dict(seed=0, start=0, data_folder="unused")
    with loader.training(data, tokenizer, template=tiny.template(tokenizer), **options) as stream:
        seen = set()
        for _ in range(4):
            batch, info = next(stream)
            assert batch.context.shape == (4, MIX.tokens)
            seen |= check(batch, info.rows)
    assert seen == {True, False}
    with loader.training(data, tokenizer, template=None, **options) as stream:
        assert next(stream)[0].context.shape == (4, 0)

    evaluation = loader.evaluation(
        f"manifest:{path}?context=right_2",
        tokenizer,
        buckets=data.buckets,
        data_folder="unused",
        template=tiny.template(tokenizer),
        normalizer="basic@1",
    )
    for batch, rows in evaluation:
        assert check(batch, rows) == {True} and batch.context.shape[1] % 16 == 0
    evaluation.widen_contexts(80)
    assert {batch.context.shape[1] for batch, rows in evaluation} == {80}
    evaluation.widen_contexts(16)  # never less than there was
    assert evaluation.context_tokens == 80
    assert "?context=right_2#" in evaluation.name


def test_a_context_without_room_is_a_fault(corpus):
    _, tokenizer = corpus
    reading = batching.PromptText(tiny.template(tokenizer), 4)
    example = {"wave": np.zeros(0, np.int16), "ids": np.ones(3, np.int32), "language_row": 0}
    batch, (fine, fault) = batching.collate(
        [example | {"context_ids": np.ones(size, np.int32)} for size in (4, 5)],
        (0.0, 8, 2),
        reading,
        0,
    )
    assert fine is None and fault.reason == "context too long" and "= 4" in fault.detail
    assert batch.weight.tolist() == [1, 0] and not batch.context[1].any()


def test_a_long_context_is_cut_from_the_left_and_counted(tmp_path, corpus):
    _, tokenizer = corpus
    rows = [
        r | {"text": "ann", "context": f"bob eve joe {n}"} for n, r in enumerate(recordings.rows(8))
    ]
    rows[0]["context"] = "bob"
    path = recordings.write(tmp_path, rows)
    room = len(tokenizer.encode("eve joe 0"))
    data = reads(path, dataclasses.replace(MIX, tokens=room, plain=0.0, irrelevant=0.0))
    options = dict(seed=0, start=0, data_folder="unused", template=tiny.template(tokenizer))
    with loader.training(data, tokenizer, **options) as stream:
        batch, info = next(stream)
    cut = 0
    for place, row in enumerate(info.rows):
        expected = "bob" if row.id == rows[0]["id"] else "eve joe " + str(int(row.id[1:]))
        cut += expected != "bob"
        assert row.context == expected
        read = batch.context[place, : batch.context_length[place]].tolist()
        assert read == tokenizer.encode(expected)
    assert batch.weight.tolist() == [1.0] * 4
    reason = skipped.CONTEXT_CUT
    assert stream.skipped == [{"step": 0, "position": 0, "reason": reason, "utterances": cut}]


def test_joined_utterances_have_the_names_of_their_segments(corpus):
    path, _ = corpus
    source = sources.open_source(f"manifest:{path}?join=2-3&seed=0", "unused")
    from seedasr_jax.data_pipelines import index

    for row in index.fixed(source)[:8]:
        assert row.keywords == tuple(part.text.split()[-1] for part in row.segments)


@pytest.mark.parametrize("condition", ["right_2", "wrong_1", "distractors_3"])
def test_joined_utterances_have_the_context_of_the_condition(tmp_path, condition):
    from seedasr_jax.data_pipelines import index

    lines = [
        row | {"keywords": [f"name{n}"], "siblings": [f"nome{n}"], "text": f"call name{n}"}
        for n, row in enumerate(recordings.rows(12))
    ]
    path = recordings.write(tmp_path, lines)
    kind, count = contexts.check("s", condition)
    source = sources.open_source(f"manifest:{path}?context={condition}&join=2&seed=0", "unused")
    fit = index.Fit(((9.0, 99, 4),))
    for row in (*index.fixed(source)[:20], *index.Index(source, fit, None).epoch(0).rows[:20]):
        listed = row.context.split(", ")
        own = {"right": row.keywords, "wrong": row.siblings, "distractors": ()}[kind]
        others = set(listed) - set(own)
        assert set(own) < set(listed) and len(others) == count == len(listed) - len(own)
        assert not others & {*row.keywords, *row.siblings} and row.context_kind == "hotwords"


def test_own_contexts_are_joined_with_their_utterances(tmp_path):
    from seedasr_jax.data_pipelines import index

    lines = [row | {"context": f"c{n}"} for n, row in enumerate(recordings.rows(8))]
    path = recordings.write(tmp_path, lines)
    for query in ("join=2", "context=own&join=2"):
        source = sources.open_source(f"manifest:{path}?{query}", "unused")
        for row in index.fixed(source)[:9]:
            assert row.context == ", ".join(part.context for part in row.segments)
    source = sources.open_source(f"manifest:{path}?context=none&join=2", "unused")
    assert not any(row.context for row in index.fixed(source))
