"""Recogniser: parameters and a tokenizer behind one call, Batch -> hypotheses.

Dims: B batch, K maximum number of tokens.
"""

from collections.abc import Sequence
import copy
import dataclasses
import functools

from flax import nnx
import numpy as np

from seedasr_jax import batch as batches
from seedasr_jax import config
from seedasr_jax.batch import Batch
from seedasr_jax.decode import methods, program
from seedasr_jax.errors import ConfigError
from seedasr_jax.models import acllm
from seedasr_jax.models.acllm import Tokens
from seedasr_jax.models.parts import CTC, decodings
from seedasr_jax.parallel import processes, sharding
from seedasr_jax.text import joining
from seedasr_jax.text.template import Template


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """A transcript."""

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]  # natural, one per token
    cut: bool = False  # whether it reached the maximum number of tokens without an end
    language: str = ""  # its tag, if the model states it


def joined(segments: Sequence[Hypothesis]) -> Hypothesis:
    """Joins the transcripts of consecutive segments of an utterance."""
    return Hypothesis(
        joining.join(segment.text for segment in segments),
        tuple(token for segment in segments for token in segment.tokens),
        tuple(logprob for segment in segments for logprob in segment.logprobs),
        any(segment.cut for segment in segments),
        ", ".join(dict.fromkeys(s.language for s in segments if s.language)),
    )


def special_tokens(vocab, prompt: config.Prompt) -> Tokens:
    """Ids of special tokens: padding, start and ends by the prompt template."""
    template = Template(prompt, vocab)
    end, *others = template.ends
    return Tokens(vocab.pad_id, template.plain[0].start, end, tuple(others), vocab)


def default_method(decode: str, parts) -> str:
    """Default method with these parts: `eval.decode` if they support it, else their first."""
    able, method = decodings(parts), methods.parse(decode)
    return method.name if method.kind in able else able[0]


class Recogniser:
    """Decodes Batches over a mesh; recognisers of equal models share programs, one per shape."""

    def __init__(self, graphdef, state: nnx.State, vocab, model: config.Model, parts, mesh):
        """Compiles nothing yet; `state`: all parameters of the `parts`, on the `mesh`."""
        self.state, self.vocab, self.model, self.parts = state, vocab, model, tuple(parts)
        self.mesh, self.holders = mesh, sharding.holders(mesh)
        template = functools.cache(functools.partial(Template, model.prompt, vocab))

        def make(kind, search):
            return program.transcribe(graphdef, mesh, template().plain, kind, search)

        self._template, self._program = template, functools.cache(make)

    @property
    def template(self) -> Template:
        """The prompt template, encoded when first used: a probe's recognisers read none."""
        return self._template()

    def with_state(self, state: nnx.State) -> "Recogniser":
        """A copy with other parameters that shares compiled programs."""
        other = copy.copy(self)
        other.state = state
        return other

    def check(self, method: str) -> methods.Method:
        """Parses the name of a method; raises ConfigError if the model does not support it."""
        found, able = methods.parse(method), decodings(self.parts)
        if found.search is not None and found.search.beam > self.vocab.size:
            raise ConfigError(
                f"decode {method!r}: expected a beam of at most {self.vocab.size} hypotheses, the"
                f" pieces of the tokenizer, found {found.search.beam}"
            )
        if found.kind in able:
            return found
        cure = "CTC needs a ctc_head: name the workdir's ctc stage"
        if found.kind != CTC:
            cure = "the LLM needs encoder and decoder: name a stage that has both, such as sft"
        known = f"; it supports {', '.join(able)}" if able else ""
        parts = ", ".join(self.parts)
        text = f"decode {method!r}: this model ({parts}) has no part for it{known}"
        raise ConfigError(f"{text}; {cure}")

    def decode(self, batch: Batch, method: str) -> list[Hypothesis]:
        """Decodes a batch by a method of decode/methods.py.

        Greedy decoding reads the prompt and context of the batch. A beam search uses the template
        without a context and, if the method has an alpha, those of the batch in addition.

        Args:
            batch: any number B of examples, on the host. Its room for transcripts, K, is the
                maximum number of tokens that the LLM decodes. In a job of several processes each
                passes its share of the examples, of equal size.
            method: its name; errors as of `check`.

        Returns:
            B hypotheses, of all processes in their order; empty for rows of weight 0.
        """
        parsed = self.check(method)
        alpha = np.float32(parsed.alpha) if parsed.alpha else None
        count, shares = len(batch.weight), len(self.holders)
        rows = sharding.padded_rows(count * shares, self.mesh) // shares
        sharded = sharding.put_batch(batches.padded(batch, rows), self.mesh)
        found = self._hypotheses(sharded, parsed, alpha)
        best = (found.length, found.ids, found.logprobs, found.ended)
        # Rows of a process may not be contiguous in the global batch, so each takes those it has.
        best = (sharding.take_rows(x)[:count, 0] for x in best)
        columns = processes.stacked((batch.weight, *best))
        columns = (x[self.holders].reshape(-1, *x.shape[2:]) for x in columns)
        out = []
        for weight, length, ids, logprobs, ended in zip(*columns):
            kept = int(length) if weight else 0
            tokens, scores = ids[:kept].tolist(), logprobs[:kept].tolist()
            language, text = "", ""
            if parsed.kind == CTC:
                text = self.vocab.decode(tokens)
            else:
                language, text = self.template.parse(tokens)
            cut = bool(weight) and not ended
            out.append(Hypothesis(text, tuple(tokens), tuple(scores), cut, language))
        return out

    def _hypotheses(self, batch, method, alpha):
        return self._program(method.kind, method.search)(self.state, batch, (alpha,))


def abstract(model: config.Model, vocab, parts):
    """Graph and shapes of a model: (graphdef, nnx.State of ShapeDtypeStructs).

    `vocab`: None if no part depends on it.
    """
    tokens = Tokens(0, 0, 0) if vocab is None else special_tokens(vocab, model.prompt)
    return _abstract(model, tokens, 0 if vocab is None else vocab.size, tuple(parts))


@functools.lru_cache(maxsize=64)
def _abstract(model, tokens, size, parts):
    make = functools.partial(acllm.make, model, tokens, size, parts, remat="none")
    return nnx.split(nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0))))
