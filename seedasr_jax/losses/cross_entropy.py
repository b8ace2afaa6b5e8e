"""Cross-entropy of tokens.

Dims: B batch, N positions, E width, V vocabulary, P chunks of it.
"""

import jax
import jax.numpy as jnp

from seedasr_jax import shapes
from seedasr_jax.parallel import layout, rules

CHUNK = 16_384  # vocabulary rows whose logits exist at a time, per device along `tensor`


def cross_entropy(logits, targets, weights):
    """Sum of -weights * log softmax(logits)[targets], natural logarithm, float32.

    [B N V] logits, [B N] int32 targets; ignored, even NaN, where weights [B N] are 0.
    """
    shapes.check(weights, "B N", shapes.check(logits, "B N V"))
    return weighted(nll(logits, targets, weights > 0), weights)


def weighted(nll, weights):
    """Sum of weights * nll, both [B N]; where a weight is 0, the nll is ignored."""
    return jnp.where(weights > 0, nll * weights, 0).sum()


def nll(logits, targets, valid):
    """Negative log-likelihood -log softmax(logits)[targets], [B N] float32.

    [B N V] logits, [B N] int32 targets; ignored, even NaN, where valid [B N] is false.
    """
    dims = shapes.check(logits, "B N V")
    shapes.check(targets, "B N", dims)
    shapes.check(valid, "B N", dims)
    # Masked before the logarithm: a gradient of 0 through NaN is NaN.
    logits = jnp.where(valid[..., None], logits.astype(jnp.float32), 0)
    chosen = jnp.take_along_axis(logits, targets[..., None], -1)[..., 0]
    return jax.nn.logsumexp(logits, -1) - chosen


def chunks(vocabulary: int) -> int:
    """Number of chunks that a vocabulary is split into, each divisible over `tensor`; 1: none."""
    shards = layout.axis_size("tensor")
    at_least = -(-vocabulary // (CHUNK * shards))
    for count in range(at_least, 4 * at_least + 1):
        if vocabulary % (count * shards) == 0:
            return count
    return 1


def nll_by_chunks(x, kernel, targets, valid, size, count):
    """`nll` of logits x @ kernel, one chunk of the vocabulary at a time, forward and backward.

    The logits never exist as a whole, nor does a sharded kernel. The gradient with respect to x is
    summed over the chunks in float32.

    Args:
        x, kernel: [B N E], [E V].
        targets, valid: see `nll`.
        size: of the vocabulary; columns of the kernel from there on are padding.
        count: P, a divisor of V.
    """
    dims = shapes.check(x, "B N E")
    width, rows = kernel.shape
    x = jnp.where(valid[..., None], x, 0).astype(jnp.float32)  # the dtype of its gradient
    # Token v is in chunk v % P, so that each chunk is sharded over all devices along `tensor`.
    kernel = kernel.reshape(width, rows // count, count)
    kernel = layout.constrain(kernel, rules.FSDP, "tensor", None)
    kernel = layout.constrain(jnp.moveaxis(kernel, 2, 0), None, rules.FSDP, "tensor")
    row = jnp.arange(rows // count)[None, None]

    @jax.checkpoint
    def add(carry, chunk):
        top, total, chosen = carry
        number, kernel = chunk
        kernel = layout.constrain(kernel, None, "tensor")
        logits = layout.constrain(_product(x, kernel), rules.BATCH, None, "tensor")
        logits = jnp.where(row * count + number < size, logits, -jnp.inf)
        above = jax.lax.stop_gradient(jnp.maximum(top, logits.max(-1)))
        total = total * jnp.exp(top - above) + jnp.exp(logits - above[..., None]).sum(-1)
        hit = (targets[..., None] == row * count + number) & valid[..., None]
        return (above, total, chosen + jnp.where(hit, logits, 0).sum(-1)), None

    zeros = jnp.zeros((dims["B"], dims["N"]), jnp.float32)
    start = (zeros + shapes.NEVER, zeros, zeros)
    (top, total, chosen), _ = jax.lax.scan(add, start, (jnp.arange(count), kernel))
    return top + jnp.log(total) - chosen


@jax.custom_vjp
def _product(x, kernel):
    """[B N E], rounded to the kernel's dtype, @ [E V] in float32; x's gradient is not rounded."""
    return _contracted(x.astype(kernel.dtype), kernel, (2,), (0,))


def _product_backward(kept, gradient):
    x, kernel = kept
    by_kernel = _contracted(x.astype(kernel.dtype), gradient, (0, 1), (0, 1))
    return _contracted(gradient, kernel, (2,), (1,)), by_kernel.astype(kernel.dtype)


def _contracted(a, b, a_axes, b_axes):
    """The product summed over these axes of each, in float32; operands keep their dtypes."""
    axes = ((a_axes, b_axes), ((), ()))
    return jax.lax.dot_general(a, b, axes, preferred_element_type=jnp.float32)


_product.defvjp(lambda x, kernel: (_product(x, kernel), (x, kernel)), _product_backward)
