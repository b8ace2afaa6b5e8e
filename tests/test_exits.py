"""Exit codes: one table that keeps the contract with launchers; errors that become a line."""

import pathlib

import pytest

from seedasr_jax import errors
from seedasr_jax.errors import FAILED
from seedasr_jax.launch import exits, signals

GUIDE = pathlib.Path(__file__).parent.parent / "docs/guide.md"
NEVER, COUNTED, FREE = exits.Retry.NEVER, exits.Retry.COUNTED, exits.Retry.FREE
# Exit codes -> retry policies, by number: the contract with launchers.
CONTRACT = {0: NEVER, 1: COUNTED, 2: NEVER, 3: NEVER, 75: FREE, 76: COUNTED, 130: NEVER}


def test_codes_and_retry_policies_are_those_of_the_contract():
    assert {code: known.retry for code, known in exits.TABLE.items()} == CONTRACT
    assert {errors.UserError.exit_code, errors.ConfigError.exit_code} | {
        *signals.CODES.values()
    } <= exits.TABLE.keys()


@pytest.mark.parametrize(
    ("codes", "retry"),
    [
        ((4, 9, 127, 128, 193, 255, errors.INTERRUPTED, -2), exits.Retry.NEVER),
        ((-9, -6, 134, 137, 139, 143), exits.Retry.COUNTED),
    ],
)
def test_a_signal_is_retried_as_often_as_the_limit_allows(codes, retry):
    assert {exits.retry(code) for code in codes} == {retry}


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
