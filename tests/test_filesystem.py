"""Places are tried before the work; errors of the file system are lines with a cure; locks."""

import errno
import os
import tempfile
import threading
import time

import pytest

from seedasr_jax import filesystem
from seedasr_jax.errors import ConfigError, UserError


def test_one_makes_a_folder_and_others_wait(tmp_path, capfd):
    calls, begun = [], threading.Event()

    def make(folder):
        calls.append(folder)
        begun.set()
        time.sleep(0.1)
        (folder / "a").touch()

    first = threading.Thread(target=filesystem.make_once, args=(tmp_path / "made", make))
    first.start()
    begun.wait()
    filesystem.make_once(tmp_path / "made", make)
    assert len(calls) == 1 and os.listdir(tmp_path / "made") == ["a"]
    assert f"written by process {os.getpid()}; waiting for it" in capfd.readouterr().err
    first.join()


def test_a_place_has_a_name_in_utf_8():
    filesystem.check_local("é 词", "--out")
    with pytest.raises(ConfigError, match=r"--out: expected a name in UTF-8, found 'a/.udcff'"):
        filesystem.check_local(os.fsdecode(b"a/\xff"), "--out")


def test_a_place_is_tried_and_left_as_it_was(tmp_path, monkeypatch):
    filesystem.check_writable(tmp_path / "a/b", "--out")
    (tmp_path / "file").touch()
    for place, why in (
        (tmp_path / "file", "not a directory"),
        (tmp_path / "file/below", "not a directory"),
        (tmp_path / ("x" * 300) / "y", "file name too long"),
        ("/proc/nowhere", "no such file"),
    ):
        with pytest.raises(ConfigError, match=f"^--out: nothing can be .*: {why}.*with --out$"):
            filesystem.check_writable(place, "--out")

    def refuse(number):
        def raising(*_, **__):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(tempfile, "TemporaryFile", raising)

    refuse(errno.EROFS)
    with pytest.raises(ConfigError, match="read-only file system; name another folder"):
        filesystem.check_writable(tmp_path / "a/b", "--out")
    refuse(errno.ENOSPC)
    with pytest.raises(UserError, match=r"no space left.*; free some.*or name another") as full:
        filesystem.check_writable(tmp_path / "a/b", "--out")
    assert full.value.exit_code == 1  # worth another try
    assert os.listdir(tmp_path) == ["file"]


def test_errors_of_the_file_system_have_a_place_and_a_cure():
    full = filesystem.as_user_error(OSError(errno.ENOSPC, "", "runs/a"))
    assert str(full).startswith("runs/a: no space left on device; free") and full.exit_code == 1
    assert filesystem.as_user_error(PermissionError(errno.EACCES, "", b"a")).exit_code == 2
    busy = filesystem.as_user_error(OSError(errno.EBUSY, "", "a"))
    assert str(busy).startswith("a: device or resource busy; look at the file system")
    assert filesystem.as_user_error(ConnectionRefusedError(errno.ECONNREFUSED, "")) is None
    with (
        pytest.raises(OSError) as full,
        filesystem.naming("runs/a"),
        open("/dev/full", "w") as file,
    ):
        file.write("x")
    assert (full.value.errno, full.value.filename) == (errno.ENOSPC, "runs/a")
    with pytest.raises(ConfigError, match="expected a file, found a folder"):
        filesystem.check_files("/", "nothing", "tmp")


def test_a_folder_has_one_holder(tmp_path):
    refused = pytest.raises(ConfigError, match=f"written by process {os.getpid()}")
    with filesystem.hold(tmp_path), refused, filesystem.hold(tmp_path):
        pass
    with filesystem.hold(tmp_path):
        pass
