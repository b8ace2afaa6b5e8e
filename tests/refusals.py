"""What training refuses."""

import pytest

from seedasr_jax.launch import run


def refusal(kind, *arguments, **options):
    """The one line of what `run.train` raises."""
    with pytest.raises(kind) as raised:
        run.train(*arguments, **options)
    text = str(raised.value)
    assert "\n" not in text
    return text
