"""Compiled programs read as text: how often each computation runs, and the memory of arrays."""

import jax
import jax.numpy as jnp
import numpy as np

from seedasr_jax.plan import hlo


def runs_of_products(function, *shapes):
    """Executions of each product of the compiled function."""
    found = hlo.Module(jax.jit(function).lower(*shapes).compile().as_text())
    return sorted(
        times
        for name, times in found.runs.items()
        for one in found.computations[name].values()
        if one.opcode == "dot"
    )


def floats(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def test_a_loop_inside_of_a_loop_runs_as_often_as_both():
    def function(x, kernels):
        def outer(x, kernel):
            def inner(x, _):
                return jnp.tanh(x @ kernel), None

            return jax.lax.scan(inner, x, None, length=3)[0], None

        return jax.lax.scan(outer, x, kernels)[0] @ kernels[0]

    assert runs_of_products(function, floats(16, 32), floats(5, 32, 32)) == [1, 5 * 3]


def test_a_loop_that_starts_late_counts_from_there():
    def function(x):
        return jax.lax.fori_loop(3, 17, lambda _, y: y @ y, x)

    assert runs_of_products(function, floats(8, 8)) == [14]


def test_shapes_in_on_chip_memory():
    text = (
        "  %x.1 = (bf16[4,8]{1,0:T(8,128)(2,1)S(1)}, f32[2]{0:T(128)}) custom-call(%a, %b), foo=1"
    )
    one = hlo._instruction(text)
    assert one.opcode == "custom-call" and one.operands == ("a", "b")
    assert [shape.on_chip for shape in one.shapes] == [True, False]
    np.testing.assert_equal([shape.bytes for shape in one.shapes], [64, 8])
