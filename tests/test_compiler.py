"""Options of XLA: what a program is compiled with, by devices and version."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seedasr_jax.parallel import compiler


@pytest.fixture
def fresh():
    compiler._known.cache_clear()
    yield
    compiler._known.cache_clear()


def test_programs_of_a_cpu_do_without_the_fusions_that_are_slower():
    x = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)

    def product(x):
        return jnp.tanh(x @ x) + x

    with_options = jax.jit(product, compiler_options=compiler.options())
    np.testing.assert_allclose(with_options(x), product(x), atol=1e-5)
    assert "__ynn_fusion" not in with_options.lower(x).compile().as_text()


def test_sums_of_a_cpu_are_the_librarys():
    x = np.random.default_rng(0).normal(size=(8, 250, 256)).astype(np.float32)
    total = jax.jit(lambda x: x.sum((0, 1)), compiler_options=compiler.options())
    np.testing.assert_allclose(total(x), x.sum((0, 1), dtype=np.float64), atol=1e-3)
    if compiler.options():
        assert "reduce-window" not in total.lower(x).compile().as_text()


def test_an_option_that_this_version_does_not_know_is_left_out(fresh, monkeypatch):
    known = dict(compiler._CPU)
    monkeypatch.setitem(compiler._CPU, "xla_cpu_of_another_year", "true")
    assert compiler.options() == known


def test_only_a_tpu_that_is_planned_for_is_spared_a_search():
    assert compiler.planned(jax.devices("cpu")[0]) == {}


@pytest.mark.parametrize(("platform", "expected"), [("tpu", compiler._TPU), ("cuda", {})])
def test_other_devices_get_their_own_options(platform, expected):
    class Sharding:
        device_set = frozenset({type("Device", (), {"platform": platform})()})

    assert compiler.options(Sharding()) == expected
