"""What a stage runs on a pod: its training step, scores and rollouts; and for serving its model,
encoder, prefill and one decoding step.

Dims: B utterances, U speech tokens, L layers, M cache slots, G key-value heads, K head width.
"""

import collections.abc
import dataclasses

from flax import nnx
import jax
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np

from seedasr_jax import batch as batches
from seedasr_jax import flops
from seedasr_jax.audio import files
from seedasr_jax.decode import gathering, methods, prefill, program
from seedasr_jax.models import layers, names
from seedasr_jax.models.acllm import AcLLM
from seedasr_jax.models.parts import GREEDY, decodings
from seedasr_jax.parallel import compiler, layout, rules, sharding
from seedasr_jax.plan import fitting
from seedasr_jax.train import build


@dataclasses.dataclass(frozen=True)
class Program:
    """One jitted function with the shapes and places of its arguments."""

    name: str
    function: collections.abc.Callable
    arguments: tuple
    bytes: dict[str, int]  # of a device while it runs: params, opt, kv
    flops: float  # useful, of one run
    runs: int = 1  # that a batch takes
    beside: int = 0  # of `bytes`, what is no argument
    inside: int = 0  # of `bytes`, what stands among the temporaries
    most: int = 0  # runs of a loop whose end the data decides


def train(built: build.Built, held: flops.Sizes, seconds: float) -> Program:
    """The training step.

    Args:
        built: the stage.
        held: what the batch holds.
        seconds: of each utterance.
    """
    stage = built.stage
    state = sharding.placed(built.abstract, built.sharding)
    sizes = (held.prompt, held.context, held.tokens, held.hypotheses)
    useful = flops.train(stage, stage.vocab.size, built.needs.parts, held)
    arguments = (state, _batch(built, held, seconds, sizes))
    own = _held(state, 0)
    return Program("train", built.train_step(), arguments, own, sum(useful.values()))


def score(built: build.Built, held: flops.Sizes, seconds: float) -> list[Program]:
    """`score`: a batch of a development set is transcribed while the stage trains, as `eval.decode`
    says and to the last token; none where the stage has no development set.

    Args:
        built, held, seconds: as of `train`; `held.tokens` are decoded at most.
    """
    stage, parts, mesh = built.stage, built.needs.parts, built.mesh
    if not stage.eval.tasks:
        return []
    how = methods.parse(stage.eval.decode)
    if names.PROBE in parts:
        function, inputs = program.probe(built.graphdef, mesh), (np.int32,)
    else:
        instructions = ((0,) * fitting.PROMPT,) * 2
        function = program.score(built.graphdef, mesh, instructions, how.kind, how.search)
        inputs = (np.float32 if how.alpha else None,)
    contexts, width = how.prefixes(held.context)  # without a context one prefix is decoded
    inputs = tuple(kind and jax.ShapeDtypeStruct((), kind) for kind in inputs)
    return [_decoded("score", built, held, seconds, function, inputs, contexts, width)]


def rollout(built: build.Built, held: flops.Sizes, seconds: float) -> list[Program]:
    """`rollout`: a training batch gets its hypotheses, to the last token; none in most stages.

    Args:
        built, held, seconds: as of `train`.
    """
    function = built.objective.rollout(built.graphdef, built.mesh)
    if function is None:
        return []
    state = sharding.placed(built.abstract, built.sharding)
    more = (function, (state.rng, state.step), (held.context,), held.hypotheses)
    return [_decoded("rollout", built, held, seconds, *more)]


def _decoded(name, built, held, seconds, function, inputs, contexts, width):
    """A program that decodes in training, beside the optimiser's state. Its parameters are those
    of training and, where they fit, the decoder's gathered ones.

    Args:
        contexts: tokens of the context in each prefix that is read; () where no LLM decodes.
        width: hypotheses of each row.
    """
    stage, mesh = built.stage, built.mesh
    model, decoder = stage.model, stage.model.decoder
    state = sharding.placed(built.abstract, built.sharding)
    batch = _batch(built, held, seconds, (held.prompt, held.context, held.tokens, 0))
    parts = {*built.needs.parts} - {names.DECODER} if contexts else (names.ENCODER, names.CTC_HEAD)
    useful = sum(flops.forward(model, stage.vocab.size, parts, held).values())
    heard = -(-held.frames // model.encoder.subsampling)
    steps = held.tokens + 1
    for context in contexts:
        before = held.prompt + context - (-heard // model.converter.splice)
        follow = flops.decoder(decoder, before + steps) - flops.decoder(decoder, before)
        follow += steps * flops.logits(decoder, stage.vocab.size)
        useful += held.utterances * (flops.decoder(decoder, before) + width * follow)
    cached = gathering.cached(model, mesh, batch, held.tokens, contexts, width)
    params = nnx.merge_state(state.params, state.frozen)
    copied = 0
    if contexts and gathering.fits(params, mesh, model.dtype, cached):
        copied = gathering.copied(params, mesh, model.dtype)
    held_by = _held(state, cached)
    return Program(
        name,
        function,
        (params, batch, inputs),
        held_by | {"params": held_by["params"] + copied},
        useful,
        beside=sharding.bytes_of(state.opt_state),
        inside=cached + copied,
        most=steps,
    )


def _held(state, cached):
    params = sharding.bytes_of(state.params) + sharding.bytes_of(state.frozen)
    return {"params": params, "opt": sharding.bytes_of(state.opt_state), "kv": cached}


def decoding(built: build.Built, held: flops.Sizes, seconds: float) -> list[Program]:
    """`encode`, `prefill` and `decode`, greedy; none where the stage's model transcribes nothing.

    Weights are sharded as in training, all matrices in the model's type; for `decode` the decoder's
    are gathered where that fits. A cache has the batch's examples over (data, fsdp, expert) and its
    heads over tensor. `decode` is the last step of a transcript.

    Args:
        built, held, seconds: as of `train`.
    """
    stage, parts = built.stage, built.needs.parts
    if GREEDY not in decodings(parts):
        return []
    model, mesh = stage.model, built.mesh
    graphdef, shapes = nnx.split(
        nnx.eval_shape(
            lambda: AcLLM(
                model, fitting.TOKENS, stage.vocab.size, parts, remat="none", rngs=nnx.Rngs(0)
            )
        )
    )
    shapes = jax.eval_shape(lambda state: layers.as_used(state, model.dtype), shapes)
    state = sharding.placed(shapes, sharding.of_params(shapes, mesh))
    batch = _batch(built, held, seconds, (held.prompt, held.context, 0, 0))
    cached = gathering.cached(model, mesh, batch, held.tokens, (held.context,), 1)
    repeated, gathered = state, gathering.fits(state, mesh, model.dtype, cached)
    if gathered:
        repeated = nnx.merge_state(state, gathering.places(state, mesh, model.dtype))
    last = jax.ShapeDtypeStruct((held.utterances, 1), np.int32, sharding=sharding.of_batch(mesh))

    def encode(state, batch):
        with layout.over(mesh):
            return prefill.encode(nnx.merge(graphdef, state), batch)

    def fill(state, batch, speech):
        with layout.over(mesh):
            return prefill.fill(nnx.merge(graphdef, state), batch, speech, held.tokens + 1)

    def decode_step(state, stream, last):
        with layout.over(mesh, gathered=gathered):
            return prefill.decode_step(nnx.merge(graphdef, state), stream, last)

    def placed(tree):
        return jax.tree.map(lambda x: _place(x, mesh), tree)

    speech = placed(jax.eval_shape(encode, state, batch))
    stream = placed(jax.eval_shape(fill, state, batch, speech))
    scores = placed(jax.eval_shape(decode_step, repeated, stream, last)[0])
    own = {"params": sharding.bytes_of(state), "opt": 0, "kv": 0}
    filled = own | {"kv": sharding.bytes_of((stream.cache.prefix, stream.cache.k, stream.cache.v))}
    rows, before = held.utterances, stream.cache.valid.shape[1]
    heard = flops.forward(model, stage.vocab.size, {*parts} - {names.DECODER}, held)
    of_one = flops.decoder(model.decoder, before + held.tokens + 1)
    of_one += flops.logits(model.decoder, stage.vocab.size)
    of_one -= flops.decoder(model.decoder, before + held.tokens)

    def jitted(function, out, **more):
        places = jax.tree.map(lambda x: x.sharding, out)
        options = compiler.options(sharding.of_batch(mesh))
        # All weights are held, although no program reads all of them.
        more |= dict(out_shardings=places, compiler_options=options, keep_unused=True)
        return jax.jit(function, **more)

    return [
        Program("encode", jitted(encode, speech), (state, batch), own, sum(heard.values())),
        Program(
            "prefill",
            jitted(fill, stream),
            (state, batch, speech),
            filled,
            rows * flops.decoder(model.decoder, before),
        ),
        Program(
            "decode",
            jitted(decode_step, (scores, stream), donate_argnums=1),
            (repeated, stream, last),
            filled | {"params": sharding.bytes_of(repeated)},
            rows * of_one,
            runs=held.tokens + 1,
        ),
    ]


def _batch(built, held, seconds, sizes):
    batch = batches.abstract(held.utterances, round(seconds * files.RATE), *sizes)
    place = sharding.of_batch(built.mesh)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), batch)


def _place(x, mesh):
    """An array of decoding with its sharding: keys and values [L B ... G K], scalars, [B ...]."""
    if x.ndim >= 5:
        kv_heads = "tensor" if x.shape[-2] % mesh.shape["tensor"] == 0 else None
        spec = PartitionSpec(None, rules.BATCH, *(None,) * (x.ndim - 4), kv_heads, None)
    else:
        spec = PartitionSpec(*[rules.BATCH] * bool(x.ndim))
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, spec))
