"""The sharded decoding program, shared by scores, rollouts, transcripts, the probe and plans.

Dims: B batch; `...` stands for the other axes of an array.
"""

from collections.abc import Callable
import functools

from flax import nnx
import jax

from seedasr_jax.batch import Batch
from seedasr_jax.decode import gathering, greedy, methods, sample
from seedasr_jax.decode import search as searching
from seedasr_jax.models.parts import CTC, GREEDY
from seedasr_jax.parallel import compiler, layout, sharding

# A program requested again with equal arguments, such as for another checkpoint of the same model,
# is neither traced nor compiled again. Programs hold no parameters; the cache is LRU.
_once = functools.lru_cache(maxsize=64)


def program(graphdef, mesh, decode, *, prefixes: Callable[..., tuple] | None):
    """Jits `decode(model, batch, *inputs)` for `mesh`, with examples sharded as in a batch.

    Args:
        graphdef, mesh: graph of the model, and a mesh of any number of devices.
        decode: pure function that returns a tree of arrays [B ...].
        prefixes: (batch, *inputs) -> (prefixes, width) of `gathering.cached`, if the decoder's
            parameters are read at each token; None: they are not.

    Returns:
        Jitted (state, batch, inputs) -> result of `decode`, B sharded over (data, fsdp, expert).
        `state` has all parameters, with any sharding over the mesh; `inputs` is a tuple.
    """
    by_example = sharding.of_batch(mesh)

    def run(state, batch: Batch, inputs):
        gathered = False
        if prefixes is not None:
            model, tokens = nnx.merge(graphdef, state).config, batch.ids.shape[1]
            beside = gathering.cached(model, mesh, batch, tokens, *prefixes(batch, *inputs))
            state, gathered = gathering.once(state, mesh, model.dtype, beside)
        with layout.over(mesh, gathered=gathered):
            return decode(nnx.merge(graphdef, state), batch, *inputs)

    return jax.jit(
        run,
        in_shardings=(None, by_example, None),
        out_shardings=by_example,
        compiler_options=compiler.options(by_example),
    )


@_once
def transcribe(graphdef, mesh, plain, kind, search):
    """The program that transcribes: (state, batch, (alpha,)) -> Hypotheses, the best first.

    W is the beam, or 1; K is the batch's room for transcripts, with CTC its frames. `alpha` is a
    scalar; None: no context is read. `plain`: as of `search.search`; `kind`, `search`: of a Method.
    """

    def decode(model, batch, alpha):
        tokens = batch.ids.shape[1]
        if kind == CTC:
            return greedy.ctc(model, batch)
        if kind == GREEDY:
            return greedy.llm(model, batch, tokens)
        return searching.search(model, batch, tokens, search, plain=plain, alpha=alpha)

    def prefixes(batch, alpha):
        method = methods.Method(kind, search, alpha=float(alpha is not None))
        return method.prefixes(batch.context.shape[1])

    return program(graphdef, mesh, decode, prefixes=None if kind == CTC else prefixes)


@_once
def probe(graphdef, mesh):
    """The program of one head of a probe: (state, batch, (layer from 0,)) -> as `greedy.ctc`."""

    def decode(model, batch, layer):
        features = model.encoder.frontend(batch.wave, batch.wave_length)
        layers, length = model.encoder.every_layer(*features)
        logits = model.probe.head(layer)(layers[layer])
        return greedy.best_path(logits, length, model.tokens.pad)

    return program(graphdef, mesh, decode, prefixes=None)


@_once
def rollout(graphdef, mesh, hypotheses, temperature, stream):
    """The program that decodes N hypotheses per example: (state, batch, (rng, step)) -> Hypotheses.

    `rng`, `step`: of a state; `temperature`: of sampling, 0 for the N best of a beam search;
    `stream`: stream of the step's rng to draw from.
    """

    def decode(model, batch, rng, step):
        tokens = batch.ids.shape[1]
        if not temperature:
            return searching.search(model, batch, tokens, searching.Search(hypotheses))
        rng = functools.reduce(jax.random.fold_in, (step, stream), rng)
        options = dict(samples=hypotheses, temperature=temperature, rng=rng)
        return sample.sample(model, batch, tokens, **options)

    def prefixes(batch, *_):
        return (batch.context.shape[1],), hypotheses

    return program(graphdef, mesh, decode, prefixes=prefixes)
