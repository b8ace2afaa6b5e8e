"""Tables: rows on demand, columns that agree with them, and arrays stored between starts."""

import dataclasses
import functools
import json
import os
import signal
import tracemalloc

import numpy as np
import pytest
import recordings
import tiny

from seedasr_jax import config
from seedasr_jax import workdir as disk
from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import (
    array_store,
    columns,
    contexts,
    counting,
    index,
    lines,
    manifest,
    sources,
    waves,
)
from seedasr_jax.data_pipelines import table as tables
from seedasr_jax.errors import DataError, UserError
from seedasr_jax.text import normalize
from seedasr_jax.text.counted import Counted

FIT = index.Fit(((0.3, 1, 4), (0.5, 2, 2)), min_seconds=0.11)
MIX = config.Contexts(tokens=40, plain=0.2, irrelevant=0.4, distractors=3, kinds={})


class Words:
    """A tokenizer whose tokens are words; `one` is unknown."""

    unk_id, pad_id = "one", ""
    encode = staticmethod(str.split)


@pytest.fixture
def path(tmp_path):
    """Rows with a value for every column, and a blank line; old enough to be cached by time."""
    rows = recordings.rows(60, ("ann", "bob", ""))
    for number, row in enumerate(rows):
        row |= {"lang": ("en", "es", "")[number % 3], "split": "ab"[number % 2]}
        row |= {"keywords": [f"n{number % 7}", "ñ"]} if number % 4 == 0 else {}
        row |= {"context": f"turn {number % 9}"} if number % 5 == 0 else {}
        row |= {"context": "x, y", "context_kind": "hotwords"} if number % 11 == 0 else {}
    found = recordings.write(tmp_path / "data", rows[6:7])
    del rows[3]["text"], rows[4]["audio"], rows[6]["duration"], rows[8]["duration"]
    rows[5]["text"], rows[7]["text"], rows[8]["audio"] = "", "zero \ud83d", "gone.flac"
    text = "".join(json.dumps(row) + "\n" for row in rows)
    found.write_text(text.replace("\n", "\n\n", 1).rstrip())
    os.utime(found, (1_000, 1_000))
    return found


@pytest.fixture
def large(monkeypatch, tmp_path):
    """Any manifest is large; restart() clears caches in memory. Returns the data folder."""
    monkeypatch.setattr(lines, "LARGE", 0)
    return tmp_path


def restart():
    lines._large.cache_clear()


def make(path, folder, query="", fit=FIT, counted=None):
    source = sources.open_source(f"manifest:{path}{query}", folder)
    return index.Index(source, fit, counted or Counted(Words(), key="words"), 3)


def everything(made):
    """Everything that a stage computes from its rows, and some draws."""
    drawing = contexts.Training([(made.placed, 1.0)], MIX)
    drawn = [made.draw(0, n) for n in range(20)]
    return (
        [*made.epoch(0).rows],
        made.sizes,
        made.epoch(0).left_out,
        made.epoch(0).unknown.tolist(),
        made.misfits(),
        [made.fit.fault(row) for row in made.rows.take(made.faults)],
        made.placed.counts("language"),
        [drawing.draw(0, row, 1, n) for n, row in enumerate(drawn)],
    )


def test_columns_say_what_the_rows_say(path):
    rows = manifest.read(path)
    found, _ = lines.table(path, "unused")
    assert [*found] == rows and found[-1] == rows[-1] and [*found[3:50:7]] == rows[3:50:7]
    assert rows[1].line == 3 and len(found) == 60
    for fit in (FIT, index.Fit(FIT.buckets, silence=True), index.Fit(((0.0, 3, 1),))):
        expected = [bool(fit.fault(row)) for row in rows]
        assert fit.faulty(found).tolist() == expected and any(expected)
    assert found.has(columns.DEV).tolist() == [columns.is_dev(row.id) for row in rows]
    for language, names in found.names().items():
        own = [row for row in rows if row.language == language]
        assert [*names] == sorted({n for r in own for n in (*r.keywords, *columns.listed(r))})
    texts = {row.context for row in rows if row.language == "en" and not row.context_kind}
    assert {row.context for row in found.texts()["en", ""]} == texts - {""}
    per_row = [v for v in found._base.arrays.values() if len(v) in (60, 61)]
    assert sum(array.itemsize for array in per_row) == columns.BYTES_PER_ROW


@pytest.mark.parametrize("query", ["", "?speaker=ann", "?without=bob&limit=30", "?minutes=1"])
def test_stored_arrays_equal_those_that_were_computed(path, large, monkeypatch, query):
    expected = everything(make(path, "unused", query))
    assert everything(make(path, large, query)) == expected
    restart()

    def again(*_):
        raise AssertionError("read again")

    monkeypatch.setattr(manifest, "scan", again)
    monkeypatch.setattr(manifest, "content_hash", again)
    monkeypatch.setattr(Counted, "count", again)
    asked, measure = [], waves.measured
    monkeypatch.setattr(waves, "measured", lambda row: asked.append(row.id) or measure(row))
    assert everything(make(path, large, query)) == expected
    assert set(asked) <= {"r008"}  # whose file is not there


def test_several_processes_count_the_tokens_of_many_texts(path, large, monkeypatch):
    texts = [row.text for row in manifest.read(path)]
    made = tiny.vocabulary(texts, large / "vocab", size=60, kind="char")
    normal = functools.partial(normalize.normalize, "basic@2")
    rows, _ = lines.table(path, large)
    expected = [found.tolist() for found in rows.tokens(Counted(made, normal, "one"))]
    monkeypatch.setattr(counting, "MIN_ROWS", len(rows))
    monkeypatch.setattr(counting, "_CHUNK", 25)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(counting, "_counter", None)  # not here
    found = rows.tokens(Counted(made, normal, "several"))
    assert [x.tolist() for x in found] == expected and len(expected[0]) == 60
    with pytest.raises(UserError, match="one of 2 processes that count tokens was killed"):
        rows.tokens(Counted(made, killed, "killed"))


def killed(text):
    """Killed as by the kernel when memory runs out; signals of a terminal are ignored before."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGKILL):
        os.kill(os.getpid(), number)


def test_another_content_tokenizer_or_folder_is_read_again(path, large, capsys):
    """Unused tables are reported once and not removed: another job may use them."""
    first = make(path, large)
    folder = large / disk.TABLES
    (one,) = [found for found in folder.iterdir() if found.is_dir()]
    assert "remove" not in capsys.readouterr().err
    make(path, large, counted=Counted(Words(), str.title, "other"))
    assert {"tokens-words", "tokens-other"} < {found.name for found in one.iterdir()}
    path.write_text(path.read_text().replace("zero", "nine", 1))  # of the same size
    os.utime(path, (2_000, 2_000))
    assert make(path, large).epoch(0).rows[0] != first.rows[1]
    left = f"{folder}: {one.name} are of {path} before it changed: remove what no job reads"
    make(path, large)
    assert (said := capsys.readouterr().err).count("remove") == 1 and left in said
    path.rename(path.with_name("b.jsonl"))
    moved = path.parent.rename(path.parent.with_name("moved")) / "b.jsonl"
    assert make(moved, large).rows[0].audio.startswith(str(moved.parent))
    assert "made by other code or for another folder: remove" in capsys.readouterr().err
    assert len([found for found in folder.iterdir() if found.is_dir()]) == 3


def test_a_file_that_appears_later_is_measured(path, large):
    before = make(path, large).rows[8]
    files.write(path.parent / "gone.flac", np.ones(8_000, np.int16), files.RATE)
    restart()
    assert (before.seconds, make(path, large).rows[8].seconds) == (0.0, 0.5)


def test_a_manifest_that_changes_while_it_is_read_is_an_error(path, large):
    rows = make(path, large).rows
    with path.open("r+b") as file:
        file.seek(0)
        file.write(b" ")
    with pytest.raises(DataError, match=r"corpus\.jsonl:1: expected the line as of when"):
        rows[0]
    assert rows[1].id == "r001"


def test_a_new_file_is_hashed_again(path, large, monkeypatch):
    """A change within the resolution of the clock would not change its time."""
    os.utime(path)
    make(path, large)
    assert not list((large / disk.TABLES).glob("*.json"))


def test_nothing_is_stored_without_a_data_folder(path, monkeypatch):
    monkeypatch.setattr(lines, "LARGE", 0)
    assert [*make(path, path.parent / "none").rows] and not (path.parent / "none").exists()


@dataclasses.dataclass
class Many:
    """A million rows, of which ten differ."""

    name, join, seed = "many", None, 0
    rows_asked: int = 0

    def rows(self):
        few = [row | {"context": f"turn {n}"} for n, row in enumerate(recordings.rows(10))]
        rows = [manifest.parse(json.dumps(row).encode(), "/", "m", 1) for row in few]
        writer = array_store.ArrayWriter()
        made = columns.ColumnWriter(writer)
        for row in rows:
            made.add(row)
        made.finish()
        arrays = dict(writer.finish())
        for name, array in arrays.items():
            if len(array) == len(rows):
                arrays[name] = np.tile(array, 100_000)
        arrays["given"] = np.arange(len(arrays["flags"]), dtype=np.uint32)

        def read(numbers):
            self.rows_asked += len(numbers)
            return (rows[n % len(rows)] for n in numbers.tolist())

        return tables.Table(tables.Base(read, arrays))


def test_a_million_rows_take_little_memory():
    source = Many()
    rows = source.rows()
    source.rows = lambda: rows
    tracemalloc.start()
    made = index.Index(source, index.Fit(((0.2, 1, 4), (0.5, 3, 2))), None, 3)
    placed = made.placed
    drawing = contexts.Training([(placed, 1.0)], MIX)
    counts = placed.counts("language")
    now, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(rows) == len(placed) == counts["en"] == 1_000_000
    assert now / len(rows) < 8.1  # a place of 4 bytes in a bucket, and in `placed`
    assert most / len(rows) < 80  # until all is sorted
    assert source.rows_asked == 0
    assert drawing.draw(0, made.draw(0, 5), 0, 1, 2) and source.rows_asked < 5
