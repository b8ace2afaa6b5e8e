"""Shardings of activations: what is constrained, what stays replicated, and over which mesh."""

from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
import numpy as np
import pytest

from seedasr_jax import config
from seedasr_jax.errors import ConfigError
from seedasr_jax.parallel import layout, rules, sharding
from seedasr_jax.parallel import mesh as meshes


def test_nothing_is_constrained_outside_of_a_mesh_or_on_one_device():
    x = jnp.ones((4, 6, 8))
    one = meshes.make(config.Mesh(1, 1, 1, 1), jax.devices()[:1])
    assert layout.mesh() is None and layout.axis_size("tensor") == 1
    for mesh in (None, one):
        with layout.over(mesh):
            assert layout.mesh() is None
            assert layout.residual(x) is x and layout.heads(x[..., None]).shape == (4, 6, 8, 1)


def test_axes_are_sharded_where_they_are_divisible():
    mesh = meshes.make(config.Mesh(2, 2, 2, 1))

    def spec(constrain, shape):
        def put(x):
            with layout.over(mesh):
                return constrain(x)

        return jax.jit(put)(jnp.zeros(shape)).sharding.spec

    both = ("data", "fsdp")
    assert spec(layout.residual, (4, 6, 8)) == PartitionSpec(both, "tensor")
    assert spec(layout.all_positions, (4, 6, 8)) == PartitionSpec(both)
    assert spec(layout.hidden, (4, 6, 8)) == PartitionSpec(both, None, "tensor")
    assert spec(layout.heads, (4, 6, 2, 8)) == PartitionSpec(both, None, "tensor")
    assert spec(layout.residual, (4, 5, 8)) == PartitionSpec(both)  # 5 positions on 2 devices
    assert spec(layout.hidden, (3, 6, 8)) == PartitionSpec(None, None, "tensor")


def test_the_innermost_mesh_counts_and_the_outer_returns():
    outer, inner = meshes.make(config.Mesh(8, 1, 1, 1)), meshes.make(config.Mesh(1, 1, 8, 1))
    with layout.over(outer):
        with layout.over(inner):
            assert layout.axis_size("tensor") == 8
        assert layout.axis_size("tensor") == 1 and layout.axis_size(rules.BATCH) == 8
        np.testing.assert_equal(layout.mesh(), outer)
    assert layout.mesh() is None


def test_a_parameter_without_axes_is_named():
    mesh = meshes.make(config.Mesh(8, 1, 1, 1))
    params = nnx.State({"encoder": {"kernel": nnx.Param(jnp.zeros((4, 6)))}})
    with pytest.raises(ConfigError, match=r"encoder\.kernel \(4, 6\): expected an axis name each"):
        sharding.of_params(params, mesh)
