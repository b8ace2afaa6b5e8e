"""A small graph as nested dicts, for tests of configs, and what is said where it is wrong."""

import pytest

from seedasr_jax import config
from seedasr_jax.configs import common
from seedasr_jax.errors import ConfigError


def recipe(**changes):
    """A graph of two stages as nested dicts; `changes` by dotted key."""
    c = common.graph("two", scale_steps=1.0, imports=common.SMALL)
    for name in ("one", "two"):
        s = c.stages[name] = common.stage("ctc", steps=200)
        s.init = dict(encoder="fresh", ctc_head="fresh")
        s.trains = ("encoder", "ctc_head")
        s.data = common.data((("manifest:a.jsonl", 1.0),), ((2.0, 8, 4),))
        s.optim = common.adamw(1e-3)
    tree = c.to_dict()
    for path, value in changes.items():
        *groups, last = path.split("__")
        holder = tree
        if "variant" in groups:
            tree["model"]["variant"] = common.small()
        for group in groups:
            holder = holder.setdefault(group, {})
        holder[last] = value
    return tree


def fails(tree):
    with pytest.raises(ConfigError) as raised:
        config.expand(tree)
    text = str(raised.value)
    assert "\n" not in text
    return text
