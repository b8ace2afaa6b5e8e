"""Exit codes: one table, which says what people were promised; errors that become a line."""

import pathlib
import re

import pytest

from seedasr_jax import errors
from seedasr_jax.errors import FAILED
from seedasr_jax.launch import exits, signals

GUIDE = pathlib.Path(__file__).parent.parent / "docs/guide.md"
PROMISED = (
    "0 done; 1 failed; 2 usage, config or stale recipe (never retry); 3 a check failed (gate,"
    " validate, plan does not fit); 75 preempted after saving (retry free); 76 watchdog (retry)"
)


def test_the_table_says_what_was_promised():
    promised = {int(code): said for code, said in re.findall(r"(\d+) ([^;]+)", PROMISED)}
    assert exits.TABLE.keys() - promised.keys() == {errors.INTERRUPTED}
    for code, said in promised.items():
        known, meaning = exits.TABLE[code], re.sub(r" \(.*", "", said)
        assert meaning in known.meaning
        if "retry" in said:
            wanted = {"never retry": "never", "retry free": "free", "retry": "counted"}
            assert known.retry.value == wanted[said.rpartition("(")[2].rstrip(")")]
    assert exits.TABLE[errors.INTERRUPTED].retry is exits.Retry.NEVER
    assert {errors.UserError.exit_code, errors.ConfigError.exit_code} | {
        *signals.CODES.values()
    } <= exits.TABLE.keys()
    assert exits.retry(9) is exits.Retry.NEVER


def test_the_guide_has_the_table():
    assert exits.markdown() in GUIDE.read_text()


@pytest.mark.parametrize(
    ("kind", "found", "meaning"),
    [
        (RuntimeError, "UNKNOWN: Gloo failed: [pair.cc:538] Read\nerror: reset", "another process"),
        (ValueError, "UNKNOWN: Gloo AllGather failed: Read error: reset", "another process"),
        (RuntimeError, "Unable to initialize backend 'x': reset", "JAX finds no devices"),
    ],
)
def test_an_error_of_jax_that_has_a_meaning_is_a_line(kind, found, meaning, capsys):
    assert exits.code(kind(found)) == FAILED
    assert exits.code(kind("of our own")) is None
    said = capsys.readouterr().err
    assert said.startswith(f"seedasr: {meaning}") and said.endswith("reset)\n")
    assert said.count("\n") == 1
