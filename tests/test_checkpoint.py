"""Restoring states: bit for bit, on any mesh; what does not fit is named."""

import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp
import optax
import pytest
import workdirs

from seedasr_jax import checkpoint, config
from seedasr_jax.checkpoint import steps, trees
from seedasr_jax.errors import ConfigError, UserError
from seedasr_jax.parallel import mesh as meshes
from seedasr_jax.parallel import sharding


def places(state, *sizes):
    """Shardings of a state on a mesh of these sizes."""
    mesh = meshes.make(config.Mesh(*sizes))
    params = sharding.of_params(state.params, mesh)
    everywhere = sharding.replicated(mesh)
    opt_state = sharding.like_params(state.opt_state, state.params, params, mesh)
    return dataclasses.replace(
        state,
        step=everywhere,
        skipped=everywhere,
        params=params,
        opt_state=opt_state,
        rng=everywhere,
    )


def test_any_mesh_gives_the_same_bits(tmp_path):
    state = workdirs.state(seed=3, step=7)
    spread = jax.device_put(state, places(state, 1, 4, 2, 1))
    workdirs.save(tmp_path, 7, spread)
    abstract = jax.eval_shape(lambda: state)
    for where in (
        places(state, 1, 2, 4, 1),
        places(state, 8, 1, 1, 1),
        workdirs.on_one_device(state),
    ):
        restored = checkpoint.restore(tmp_path, 7, abstract, where)
        assert workdirs.bits(restored) == workdirs.bits(state)
        for name, leaf in checkpoint.flat(restored).items():
            assert leaf.sharding == checkpoint.flat(where)[name], name
        assert isinstance(restored.params, nnx.State)
        assert jax.tree.structure(restored) == jax.tree.structure(state)


def test_names_on_disk_are_independent_of_flax_and_optax_classes(tmp_path):
    workdirs.save(tmp_path, 1, workdirs.state())
    of_params = {"encoder.kernels.0", "encoder.kernels.1", "encoder.kernel", "encoder.bias"}
    of_params |= {"decoder.table"}
    expected = {"step", "skipped", "rng", "opt_state.1.0.count"}
    for head in ("params", "opt_state.1.0.mu", "opt_state.1.0.nu"):
        expected |= {f"{head}.{name}" for name in of_params}
    assert set(steps.shapes(steps.find(tmp_path, 1))) == expected


def test_frozen_is_neither_saved_nor_touched(tmp_path):
    state = workdirs.state().replace(frozen={"decoder": {"table": jnp.ones(3)}})
    workdirs.save(tmp_path, 1, state)
    assert not any("frozen" in name for name in steps.shapes(steps.find(tmp_path, 1)))
    kept = object()
    restored = checkpoint.restore(
        tmp_path,
        1,
        state.replace(frozen={"decoder": {"table": kept}}),
        workdirs.on_one_device(state),
    )
    assert restored.frozen["decoder"]["table"] is kept


def test_bfloat16_and_empty_optimiser(tmp_path):
    params = {"encoder": {"kernel": jnp.arange(7, dtype=jnp.bfloat16)}}
    state = workdirs.state().replace(params=params, opt_state=optax.sgd(0.1).init(params))
    workdirs.save(tmp_path, 1, state)
    restored = checkpoint.restore(tmp_path, 1, state, workdirs.on_one_device(state))
    assert workdirs.bits(restored) == workdirs.bits(state)


def test_restore_names_what_does_not_fit(tmp_path):
    state = workdirs.state()
    workdirs.save(tmp_path, 1, state)
    everywhere = workdirs.on_one_device(state)
    with pytest.raises(UserError, match=r"no checkpoint of step 2; found: 1"):
        checkpoint.restore(tmp_path, 2, state, everywhere)
    with pytest.raises(UserError, match=r"found: none; `seedasr train`"):
        checkpoint.restore(tmp_path / "other", 2, state, everywhere)
    wider = workdirs.state(width=32)
    with pytest.raises(
        ConfigError,
        match=r"params\.\S+: expected float32\[128, 32\], found float32\[128, 16\].*--from",
    ):
        checkpoint.restore(tmp_path, 1, wider, everywhere)
    more = workdirs.state(lora=True)
    with pytest.raises(ConfigError, match=r"expected \S*lora_a, not found"):
        checkpoint.restore(tmp_path, 1, more, everywhere)
    with pytest.raises(ConfigError, match=r"found opt_state\.1\.0\.\S+, which this stage"):
        checkpoint.restore(tmp_path, 1, state.replace(opt_state=()), everywhere)
    other = state.replace(rng=jax.random.key(0, impl="rbg"))
    with pytest.raises(ConfigError, match=r"rng: expected uint32\[4\], found uint32\[2\]"):
        checkpoint.restore(tmp_path, 1, other, everywhere)


def test_parts_and_fill():
    params = workdirs.params(lora=True)
    assert set(checkpoint.parts(params)) == {"encoder", "decoder", "lora"}
    assert set(checkpoint.select(params, "lora")) == {"decoder.lora_a", "decoder.lora_b"}
    other = workdirs.params(seed=1, lora=True)
    mixed = checkpoint.fill(params, checkpoint.nest(checkpoint.select(other, "decoder")))
    for part, source in (("encoder", params), ("lora", params), ("decoder", other)):
        expected = workdirs.bits(checkpoint.select(source, part))
        assert workdirs.bits(checkpoint.select(mixed, part)) == expected
    with pytest.raises(KeyError, match="ctc_head"):
        checkpoint.fill(params, {"ctc_head": {"kernel": 1}})


def test_every_leaf_has_a_sharding_or_none_has():
    """Else each host would read a whole parameter that a tree of shardings leaves out."""
    leaves = {"a.x": jnp.zeros(2), "b.y": jnp.zeros(3)}
    everywhere = sharding.replicated(meshes.make(config.Mesh(8, 1, 1, 1)))
    both = trees.with_shardings(leaves, {"a": {"x": everywhere}, "b": {"y": everywhere}})
    assert all(one.sharding == everywhere for one in both.values())
    assert all(one.sharding is None for one in trees.with_shardings(leaves, None).values())
    with pytest.raises(KeyError, match=r"b\.y"):
        trees.with_shardings(leaves, {"a": {"x": everywhere}})
