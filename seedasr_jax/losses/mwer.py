"""Minimum word error rate over an N-best list (arXiv 1712.01818; Seed-ASR, equation 2), summed.

    L = 1/N sum_i P_i (W_i - mean_j W_j),    P_i = P(y_i | x) / sum_j P(y_j | x)

The gradient with respect to log P(y_i | x) is 1/N P_i (W_i - sum_j P_j W_j): the mean shifts the
value but not the gradient. The factor 1/N is equation 2's; it only scales this loss against others.

The N-best list is a set: duplicates would count twice in P and in N, so only the first occurrence
of each hypothesis is valid, and N is the number of valid ones. With a single valid hypothesis loss
and gradient are 0.

Dims: B batch, N hypotheses, L tokens, K positions.
"""

import jax
import jax.numpy as jnp

from seedasr_jax import shapes


def sequence_logprobs(nll, valid):
    """Log-probabilities [B] of sequences, from the nll [B K] of their `valid` [B K] tokens."""
    shapes.check(valid, "B K", shapes.check(nll, "B K"))
    return -jnp.where(valid, nll, 0).sum(-1)


def distinct(hyp, hyp_length):
    """[B N] bool: whether a hypothesis ([B N L], [B N] tokens) differs from all before it."""
    dims = shapes.check(hyp, "B N L")
    shapes.check(hyp_length, "B N", dims)
    valid = jnp.arange(dims["L"])[None, None] < hyp_length[..., None]
    hyp = jnp.where(valid, hyp, -1)
    same = (hyp[:, :, None] == hyp[:, None]).all(-1)  # [B N N]; -1 distinguishes lengths
    before = jnp.tril(jnp.ones((dims["N"], dims["N"]), bool), -1)
    return ~(same & before[None]).any(-1)


def renormalised(logprobs, valid):
    """P [B N]: probabilities normalised over the valid hypotheses, 0 for all others."""
    probs = jax.nn.softmax(jnp.where(valid, logprobs.astype(jnp.float32), shapes.NEVER), -1)
    return jnp.where(valid, probs, 0)


def mwer(logprobs, risk, valid, weights):
    """Sum of weights * L.

    Args:
        logprobs: [B N] of complete hypotheses with their end tokens; not normalised by length.
        risk: [B N] errors W, counts or rates; without gradient.
        valid: [B N] bool, see `distinct`; other hypotheses are ignored.
        weights: [B] float32; rows of weight 0 are ignored.
    """
    dims = shapes.check(logprobs, "B N")
    shapes.check(risk, "B N", dims)
    shapes.check(weights, "B", dims)
    valid = valid & (weights > 0)[:, None]
    count = jnp.maximum(valid.sum(-1), 1)
    risk = jax.lax.stop_gradient(jnp.where(valid, risk, 0))
    gap = risk - (risk.sum(-1) / count)[:, None]
    losses = (renormalised(logprobs, valid) * gap).sum(-1) / count
    return (losses * weights).sum()


def without_gradient(risk, valid, weights):
    """Sum of weights of N-best lists without gradient: all valid hypotheses have equal risk."""
    most = jnp.where(valid, risk, -jnp.inf).max(-1)
    least = jnp.where(valid, risk, jnp.inf).min(-1)
    return jnp.where((weights > 0) & (most == least), weights, 0).sum()


def expected_risk(logprobs, risk, valid, weights):
    """Sum of weights * sum_i P_i W_i: the expected risk, which `mwer` minimises."""
    valid = valid & (weights > 0)[:, None]
    probs = renormalised(logprobs, valid)
    return ((probs * jnp.where(valid, risk, 0)).sum(-1) * weights).sum()
