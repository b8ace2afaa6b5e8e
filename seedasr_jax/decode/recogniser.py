"""Recogniser: parameters and a tokenizer behind one call, Batch -> hypotheses.

Dims: B batch, K tokens at most.
"""

import dataclasses
import functools

from flax import nnx
import jax
import numpy as np

from seedasr_jax import config
from seedasr_jax.batch import Batch
from seedasr_jax.decode import greedy
from seedasr_jax.errors import ConfigError, nearest
from seedasr_jax.models.acllm import AcLLM, Tokens

METHODS = ("ctc", "greedy")


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """What was heard."""

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]  # natural, one per token


def special_tokens(vocab) -> Tokens:
    """The tokenizer's ids with a meaning."""
    return Tokens(vocab.pad_id, vocab.start_id, vocab.eos_id)


def methods(parts) -> tuple[str, ...]:
    """Decoding methods that a model with these parts can do, its own first."""
    found = ("greedy",) if "decoder" in parts and "encoder" in parts else ()
    return found + (("ctc",) if "ctc_head" in parts else ())


class Recogniser:
    """Decodes Batches; compiled once per shape."""

    def __init__(self, graphdef, state: nnx.State, vocab, model: config.Model, parts):
        """`state`: all parameters of the parts, on the devices."""
        self.state, self.vocab, self.model, self.parts = state, vocab, model, tuple(parts)
        self._decode = jax.jit(
            functools.partial(_decode, graphdef), static_argnames=("method", "tokens")
        )

    def with_state(self, state: nnx.State) -> "Recogniser":
        """The same, compiled functions included, with other parameters."""
        other = Recogniser.__new__(Recogniser)
        other.__dict__ |= self.__dict__ | {"state": state}
        return other

    def check(self, method: str):
        """Raises ConfigError where the model has no part for a decoding method."""
        able = methods(self.parts)
        if method not in able:
            raise ConfigError(
                f"decode {method!r}: this model ({', '.join(self.parts)}) can do"
                f" {', '.join(able) or 'none'}.{nearest(method, able)}"
            )

    def decode(self, batch: Batch, method: str, tokens: int) -> list[Hypothesis]:
        """Decodes.

        Args:
            batch: B examples.
            method: "greedy" (the LLM) or "ctc".
            tokens: K, at most, of the LLM.

        Returns:
            B hypotheses; that of a row of weight 0 is empty.

        Raises:
            ConfigError: the model has no part for the method.
        """
        self.check(method)
        found = self._decode(self.state, batch, method=method, tokens=tokens)
        ids, length, logprobs = (np.asarray(x) for x in (found.ids, found.length, found.logprobs))
        out = []
        for row, weight in enumerate(np.asarray(batch.weight)):
            count = int(length[row]) if weight else 0
            chosen = ids[row, :count].tolist()
            scores = logprobs[row, :count].tolist()
            out.append(Hypothesis(self.vocab.decode(chosen), tuple(chosen), tuple(scores)))
        return out


def _decode(graphdef, state, batch, *, method, tokens):
    model = nnx.merge(graphdef, state)
    if method == "ctc":
        return greedy.ctc(model, batch)
    return greedy.llm(model, batch, tokens)


def abstract(model: config.Model, vocab, parts):
    """Graph and shapes of a model: (graphdef, nnx.State of ShapeDtypeStructs)."""
    tokens, size = special_tokens(vocab), vocab.size

    def make():
        return AcLLM(model, tokens, size, parts, remat="none", rngs=nnx.Rngs(0))

    return nnx.split(nnx.eval_shape(make))
