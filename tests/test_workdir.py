"""Files of a workdir: whole or as they were, whatever dies; one bad line costs itself alone."""

import errno
import json
import os
import tempfile
import threading
import time

import pytest

from seedasr_jax import workdir as disk
from seedasr_jax.errors import ConfigError, UserError

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


def test_one_makes_a_folder_and_others_wait(tmp_path, capfd):
    calls, begun = [], threading.Event()

    def make(folder):
        calls.append(folder)
        begun.set()
        time.sleep(0.1)
        (folder / "a").touch()

    first = threading.Thread(target=disk.make_once, args=(tmp_path / "made", make))
    first.start()
    begun.wait()
    disk.make_once(tmp_path / "made", make)
    assert len(calls) == 1 and os.listdir(tmp_path / "made") == ["a"]
    assert f"written by process {os.getpid()}; waiting for it" in capfd.readouterr().err
    first.join()


def test_a_place_has_a_name_in_utf_8():
    disk.check_local("é 词", "--out")
    with pytest.raises(ConfigError, match=r"--out: expected a name in UTF-8, found 'a/.udcff'"):
        disk.check_local(os.fsdecode(b"a/\xff"), "--out")


def test_a_place_is_tried_and_left_as_it_was(tmp_path, monkeypatch):
    disk.try_place(tmp_path / "a/b", "--out")
    (tmp_path / "file").touch()
    for place, why in (
        (tmp_path / "file", "not a directory"),
        (tmp_path / "file/below", "not a directory"),
        (tmp_path / ("x" * 300) / "y", "file name too long"),
        ("/proc/nowhere", "no such file"),
    ):
        with pytest.raises(ConfigError, match=f"^--out: nothing can be .*: {why}.*with --out$"):
            disk.try_place(place, "--out")

    def refuse(number):
        def raising(*_, **__):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(tempfile, "TemporaryFile", raising)

    refuse(errno.EROFS)
    with pytest.raises(ConfigError, match="read-only file system; name another place"):
        disk.try_place(tmp_path / "a/b", "--out")
    refuse(errno.ENOSPC)
    with pytest.raises(UserError, match=r"no space left.*; free some.*or name another") as full:
        disk.try_place(tmp_path / "a/b", "--out")
    assert full.value.exit_code == 1  # worth another try
    assert os.listdir(tmp_path) == ["file"]


def test_errors_of_the_file_system_have_a_place_and_a_cure():
    full = disk.as_user_error(OSError(errno.ENOSPC, "", "runs/a"))
    assert str(full).startswith("runs/a: no space left on device; free") and full.exit_code == 1
    assert disk.as_user_error(PermissionError(errno.EACCES, "", b"a")).exit_code == 2
    busy = disk.as_user_error(OSError(errno.EBUSY, "", "a"))
    assert str(busy).startswith("a: device or resource busy; look at the file system")
    assert disk.as_user_error(ConnectionRefusedError(errno.ECONNREFUSED, "")) is None
    with pytest.raises(OSError) as full, disk.naming("runs/a"), open("/dev/full", "w") as file:
        file.write("x")
    assert (full.value.errno, full.value.filename) == (errno.ENOSPC, "runs/a")
    with pytest.raises(ConfigError, match="expected a file, found a folder"):
        disk.try_files("/", "nothing", "tmp")


def test_a_folder_has_one_holder(tmp_path):
    refused = pytest.raises(ConfigError, match=f"written by process {os.getpid()}")
    with disk.hold(tmp_path), refused, disk.hold(tmp_path):
        pass
    with disk.hold(tmp_path):
        pass
