"""Files of a workdir: whole or as they were, whatever dies; one bad line costs itself alone."""

import errno
import json
import os

import pytest

from seedasr_jax import workdir as disk
from seedasr_jax.errors import UserError

ROWS = [
    {"step": 1, "text": "gr\u00fc\u00df\u2028e"},
    {"step": 2, "text": "\ud800 alone"},
    {"step": 3},
]


def test_rows_come_back(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert disk.read_rows(path) == []
    disk.append(path, ROWS[:1])
    disk.append(path, ROWS[1:])
    assert disk.read_rows(path) == ROWS
    assert "gr\u00fc\u00df" in path.read_text(encoding="utf-8")
    disk.write_rows(path, reversed(ROWS))
    assert disk.read_rows(path) == ROWS[::-1]
    assert os.listdir(tmp_path) == ["rows.jsonl"]


def test_a_last_line_cut_anywhere_by_a_kill(tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    disk.append(path, ROWS)
    whole = path.read_bytes()
    last = len(json.dumps(ROWS[-1])) + 1
    for cut in range(1, last + 1):
        path.write_bytes(whole[:-cut])
        assert disk.read_rows(path) == (ROWS if cut == 1 else ROWS[:2]), cut
        disk.rewind(path, 3)
        disk.append(path, ROWS[2:])
        assert path.read_bytes() == whole
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "bad",
    [
        b"{",
        b"",
        b"[" * 10**5,
        b"\0\0\0\0",
        b"[1]",
        b'{"a": "\xff"}',
        b'{"other": 1}',
        b'{"step": "1"}',
    ],
)
def test_a_bad_line_costs_itself_and_is_named(tmp_path, capsys, bad):
    path = tmp_path / "rows.jsonl"
    disk.append(path, ROWS)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], bad, b"\n", *lines[1:]]))
    disk.rewind(path, 3)
    assert f"{path}:2: expected a JSON object with step" in capsys.readouterr().err
    assert disk.read_rows(path) == ROWS[:2]


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff{}", b"\0\0"])
def test_json_that_is_none_is_one_line_with_its_cure(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.json: expected a JSON object, found .*; remove it"):
        disk.read_json(path, "; remove it")


def test_a_file_is_whole_or_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    disk.write_json(path, {"a": 1})

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for write in (disk.write_json, disk.append):
        with pytest.raises(OSError, match="No space left") as caught:
            write(path if write is disk.write_json else tmp_path / "b.jsonl", [{}])
        assert caught.value.filename.startswith(str(tmp_path))
    assert disk.read_json(path) == {"a": 1}


def test_two_writers_of_a_file_do_not_mix(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    with disk.replacing(path) as ours:
        ours.write_text("1")
        monkeypatch.setattr(os, "getpid", lambda: -1)
        disk.write_json(path, {"a": 2})
        assert disk.read_json(path) == {"a": 2} and ours.read_text() == "1"
    assert path.read_text() == "1" and os.listdir(tmp_path) == ["a.json"]


def test_what_killed_writers_left_is_removed_after_a_day(tmp_path):
    stale, recent = (tmp_path / f".a.host-{n}-00ff.partial.json" for n in (1, 2))
    stale.touch()
    recent.touch()
    os.utime(stale, (0, 0))
    disk.write_json(tmp_path / "b.json", {})
    assert not stale.exists() and recent.exists()
