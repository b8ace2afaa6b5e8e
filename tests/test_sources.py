"""Sources: selection by query, and names."""

import collections
import subprocess
import sys

import pytest
import recordings

from seedasr_jax.data_pipelines import manifest, sources
from seedasr_jax.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    rows = recordings.rows(60, ("ann", "bob", "cy"))
    for number, row in enumerate(rows):
        row["split"] = "test" if number % 4 == 0 else "train"
    return recordings.write(tmp_path_factory.mktemp("corpus"), rows)


def ids(corpus, query=""):
    return [row.id for row in sources.open_source(f"manifest:{corpus}{query}", "unused").rows()]


def test_queries_select(corpus):
    everything = ids(corpus)
    assert len(everything) == 60
    assert ids(corpus, "?speaker=ann,cy") == [i for i in everything if int(i[1:]) % 3 != 1]
    assert ids(corpus, "?without=bob") == ids(corpus, "?speaker=ann,cy")
    assert ids(corpus, "?split=test") == everything[::4]
    assert ids(corpus, "?limit=7") == everything[:7]
    assert ids(corpus, "?speaker=bob&limit=2") == ["r001", "r004"]


def test_a_language(corpus, tmp_path):
    rows = [dict(row, lang=("en", "es")[n % 2]) for n, row in enumerate(recordings.rows(6))]
    mixed = recordings.manifest(tmp_path / "mixed.jsonl", rows)
    assert ids(mixed, "?language=es") == ["r001", "r003", "r005"]
    with pytest.raises(
        DataError, match="no utterance has the language 'fr'; expected one of en, es"
    ):
        ids(mixed, "?language=fr")


def test_minutes_are_drawn_from_all_speakers_in_turn(tmp_path):
    rows = [dict(row, duration=7.0) for row in recordings.rows(60, ("ann", "bob", "cy"))]
    rows += [dict(row, id=f"d{n}", speaker="dan") for n, row in enumerate(rows[:3])]
    path = recordings.manifest(tmp_path / "m.jsonl", rows)
    speakers = {row["id"]: row["speaker"] for row in rows}
    drawn = ids(path, "?minutes=1")
    assert len(drawn) == 8  # of 7 s each
    assert collections.Counter(speakers[i] for i in drawn) == dict(ann=2, bob=2, cy=2, dan=2)
    assert drawn == sorted(drawn, key=list(speakers).index) == ids(path, "?minutes=1&seed=0")
    assert set(drawn) < set(ids(path, "?minutes=2"))
    assert drawn != ids(path, "?minutes=1&seed=1")
    assert ids(path, "?minutes=99") == list(speakers)


def test_folds_are_disjoint_complete_and_by_id_alone(corpus):
    dev, train = ids(corpus, "?part=dev"), ids(corpus, "?part=train")
    assert sorted(dev + train) == ids(corpus) and 0 < len(dev) < 10
    assert ids(corpus, "?part=dev&speaker=ann") == [i for i in dev if int(i[1:]) % 3 == 0]


def test_errors_name_the_nearest(corpus):
    with pytest.raises(DataError, match=r"no utterance has the speaker 'anm'.*Did you mean ann"):
        ids(corpus, "?speaker=anm")
    with pytest.raises(DataError, match="speaker 'dora'; expected one of ann, bob, cy"):
        ids(corpus, "?without=dora")
    with pytest.raises(DataError, match="the query selects no utterance"):
        ids(corpus, "?without=ann,bob,cy")
    with pytest.raises(ConfigError, match=r"expected manifest:PATH.jsonl"):
        sources.open_source(f"manifest:{corpus.parent}", "unused")
    (corpus.parent / "folder.jsonl").mkdir()
    with pytest.raises(DataError, match="expected a manifest, found a folder"):
        sources.open_source(f"manifest:{corpus.parent}/folder.jsonl", "unused")
    with pytest.raises(ConfigError, match=r"synth:digit: .*Did you mean digits"):
        sources.open_source("synth:digit", "unused")


def test_name_is_content_and_query(corpus):
    digest = manifest.content_hash(corpus)[:8]
    source = sources.open_source(f"manifest:{corpus}?join=3-6", "unused")
    assert source.name == f"manifest:corpus.jsonl?join=3-6#{digest}"
    assert source.join == (3, 6)


def test_distractors_may_be_names_of_another_split(tmp_path):
    rows = recordings.rows(12)
    for number, row in enumerate(rows):
        row |= {"split": "named", "keywords": [f"name{number}"]} if number % 2 else {"split": "s"}
    path = recordings.manifest(tmp_path / "rows.jsonl", rows)

    def open_distractors(query):
        source = sources.open_source(f"manifest:{path}?split=s&context=distractors_2{query}", "")
        return [row.context for row in source.rows()], source.name

    with pytest.raises(DataError, match=r"expected names of the row's language, .*names=SPLIT"):
        open_distractors("")
    contexts, other = open_distractors("&names=named")
    names = {name for context in contexts for name in context.split(", ")}
    assert len(names) > 2 and names <= {row["keywords"][0] for row in rows[1::2]}
    assert all(context.count(",") == 1 for context in contexts)
    assert "split=s&context=distractors_2&names=named#" in other
    with pytest.raises(DataError, match=r"split 'nmaed'.*Did you mean named"):
        open_distractors("&names=nmaed")


def test_order_needs_no_tensorflow():
    names = "manifest, spec, sources, index, sampler"
    code = (
        f"import sys; from seedasr_jax.data_pipelines import {names};"
        " sys.exit(bool({'tensorflow', 'seqio', 'jax'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
