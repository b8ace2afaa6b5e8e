"""Minimum word error rate over an N-best list (arXiv 1712.01818; Seed-ASR, equation 2), summed.

    L = 1/N sum_i P_i (W_i - mean_j W_j),    P_i = P(y_i | x) / sum_j P(y_j | x)

Its gradient by log P(y_i | x) is 1/N P_i (W_i - sum_j P_j W_j): the mean shifts the value and not
the gradient. The factor 1/N is equation 2's; it only rescales what stands beside this loss.

A list is a set: a hypothesis that stands there twice would count twice in P and in N, so all but
the first are left out, and N is what is left. A list of one has loss and gradient 0.

Dims: B batch, N hypotheses, L tokens, K positions.
"""

import jax
import jax.numpy as jnp

from seedasr_jax import shapes

NEVER = -1e30  # a log-probability that a softmax turns into 0


def sequence_logprobs(nll, real):
    """Log-probability [B] of whole sequences, from the nll [B K] of their tokens.

    Where `real` [B K] is false, the nll is ignored; the end token is real.
    """
    shapes.check(real, "B K", shapes.check(nll, "B K"))
    return -jnp.where(real, nll, 0).sum(-1)


def distinct(hyp, hyp_length):
    """[B N L] hypotheses of [B N] tokens -> [B N] bool: whether none before it is the same."""
    dims = shapes.check(hyp, "B N L")
    shapes.check(hyp_length, "B N", dims)
    real = jnp.arange(dims["L"])[None, None] < hyp_length[..., None]
    hyp = jnp.where(real, hyp, -1)
    same = (hyp[:, :, None] == hyp[:, None]).all(-1)  # [B N N]; padding distinguishes lengths
    before = jnp.tril(jnp.ones((dims["N"], dims["N"]), bool), -1)
    return ~(same & before[None]).any(-1)


def renormalised(logprobs, listed):
    """P over the list [B N], 0 outside of it; `listed` [B N] bool."""
    probs = jax.nn.softmax(jnp.where(listed, logprobs.astype(jnp.float32), NEVER), -1)
    return jnp.where(listed, probs, 0)


def mwer(logprobs, risk, listed, weights):
    """Sum of weights * L.

    Args:
        logprobs: [B N] of whole hypotheses, end token included; not divided by their length.
        risk: [B N] errors W, counts or rates; no gradient.
        listed: [B N] bool, see `distinct`; the rest is ignored.
        weights: [B] float32; where they are 0, everything else is ignored.
    """
    dims = shapes.check(logprobs, "B N")
    shapes.check(risk, "B N", dims)
    shapes.check(weights, "B", dims)
    listed = listed & (weights > 0)[:, None]
    count = jnp.maximum(listed.sum(-1), 1)
    risk = jax.lax.stop_gradient(jnp.where(listed, risk, 0))
    gap = risk - (risk.sum(-1) / count)[:, None]
    losses = (renormalised(logprobs, listed) * gap).sum(-1) / count
    return (losses * weights).sum()


def without_gradient(risk, listed, weights):
    """Sum of weights of the lists that teach nothing: all of a list have the same risk.

    A list of one is one of them.
    """
    most = jnp.where(listed, risk, -jnp.inf).max(-1)
    least = jnp.where(listed, risk, jnp.inf).min(-1)
    return jnp.where((weights > 0) & (most == least), weights, 0).sum()


def expected_risk(logprobs, risk, listed, weights):
    """Sum of weights * sum_i P_i W_i: the expected risk, which `mwer` lowers."""
    listed = listed & (weights > 0)[:, None]
    probs = renormalised(logprobs, listed)
    return ((probs * jnp.where(listed, risk, 0)).sum(-1) * weights).sum()
