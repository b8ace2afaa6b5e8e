"""The programs that a stage runs on a pod: in training its step, scores and rollouts; in serving
its encoder, prefill and one decoding step.

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
from seedasr_jax.models import acllm, converters, decoders, encoders, layers, names
from seedasr_jax.models.parts import GREEDY, decodings
from seedasr_jax.parallel import compiler, layout, rules, sharding
from seedasr_jax.plan import fitting
from seedasr_jax.text.template import Around
from seedasr_jax.train import build


@dataclasses.dataclass(frozen=True)
class Program:
    """One jitted function with the shapes and shardings of its arguments."""

    name: str
    function: collections.abc.Callable
    arguments: tuple
    bytes: dict[str, int]  # on a device during execution: params, opt, kv
    flops: float  # useful, of one execution
    runs: int = 1  # executions for a batch
    not_arguments: int = 0  # part of `bytes` that is resident without being an argument
    temporary: int = 0  # part of `bytes` that the compiler counts among the temporaries
    max_trips: int = 0  # assumed trips of a loop whose end depends on the data


def train(built: build.Built, sizes: flops.Sizes, seconds: float) -> Program:
    """The training step of a stage, for batches of this content, each utterance of `seconds`."""
    stage = built.stage
    state = sharding.placed(built.abstract, built.sharding)
    useful = flops.train(stage, stage.vocab.size, built.needs.parts, sizes)
    arguments = (state, _batch(built, sizes, seconds, sizes.tokens, extra=built.needs.extra))
    resident = _resident(state, 0)
    return Program("train", built.train_step(), arguments, resident, sum(useful.values()))


def score(built: build.Built, sizes: flops.Sizes, seconds: float) -> list[Program]:
    """`score`: transcribes a batch of a development set during training, by `eval.decode` and to
    the last of `sizes.tokens`. Empty if the stage has no development set.
    """
    stage, parts, mesh = built.stage, built.needs.parts, built.mesh
    if not stage.eval.tasks:
        return []
    how = methods.parse(stage.eval.decode)
    if names.PROBE in parts:
        function, inputs = program.probe(built.graphdef, mesh), (np.int32,)
    else:
        plain = (Around((0,) * sizes.prompt, (0,) * sizes.suffix, 0),)
        function = program.transcribe(built.graphdef, mesh, plain, how.kind, how.search)
        inputs = (np.float32 if how.alpha else None,)
    contexts, width = how.prefixes(sizes.context)  # without a context one prefix is decoded
    inputs = tuple(kind and jax.ShapeDtypeStruct((), kind) for kind in inputs)
    return [_decoded("score", built, sizes, seconds, function, inputs, contexts, width)]


def rollout(built: build.Built, sizes: flops.Sizes, seconds: float) -> list[Program]:
    """`rollout`: decodes the hypotheses of a training batch, to the last token. Empty if the
    objective has no rollout.
    """
    function = built.objective.rollout(built.graphdef, built.mesh)
    if function is None:
        return []
    state = sharding.placed(built.abstract, built.sharding)
    more = (function, (state.rng, state.step), (sizes.context,), sizes.hypotheses)
    return [_decoded("rollout", built, sizes, seconds, *more)]


def _decoded(name, built, sizes, seconds, function, inputs, contexts, width):
    """A program that decodes in training, while the optimiser's state is resident.

    Its parameters are the training parameters and, if it fits, a gathered copy of the decoder.

    Args:
        contexts: tokens of the context in each prefix that is prefilled; () if no LLM decodes.
        width: hypotheses of each row.
    """
    stage, mesh = built.stage, built.mesh
    model = stage.model
    state = sharding.placed(built.abstract, built.sharding)
    batch = _batch(built, sizes, seconds, sizes.tokens)
    parts = {*built.needs.parts} - {names.DECODER} if contexts else (names.ENCODER, names.CTC_HEAD)
    useful = sum(flops.forward(model, stage.vocab.size, parts, sizes).values())
    speech = converters.tokens(model, encoders.clock(model).frames(sizes.samples))
    steps = sizes.tokens + 1
    for context in contexts:
        prefix = sizes.prompt + context + speech + sizes.suffix
        decoded = decoders.flops(model, prefix + steps) - decoders.flops(model, prefix)
        decoded += steps * decoders.logits_flops(model, stage.vocab.size)
        useful += sizes.utterances * (decoders.flops(model, prefix) + width * decoded)
    cached = gathering.cached(model, mesh, batch, sizes.tokens, contexts, width)
    params = nnx.merge_state(state.params, state.frozen)
    copied = 0
    if contexts and gathering.fits(params, mesh, model.dtype, cached):
        copied = gathering.copied(params, mesh, model.dtype)
    resident = _resident(state, cached)
    return Program(
        name,
        function,
        (params, batch, inputs),
        resident | {"params": resident["params"] + copied},
        useful,
        not_arguments=sharding.bytes_of(state.opt_state),
        temporary=cached + copied,
        max_trips=steps,
    )


def _resident(state, cached):
    """`Program.bytes` of a training state and a cache of so many bytes."""
    params = sharding.bytes_of(state.params) + sharding.bytes_of(state.frozen)
    return {"params": params, "opt": sharding.bytes_of(state.opt_state), "kv": cached}


def decoding(built: build.Built, sizes: flops.Sizes, seconds: float) -> list[Program]:
    """Greedy `encode`, `prefill` and `decode`. Empty if the stage's model does not transcribe.

    Weights are sharded as in training, all matrices in the model's type; for `decode` those of the
    decoder are gathered if they fit. A cache is sharded over (data, fsdp, expert) by example and
    over tensor by head. `decode` is the last step of a transcript.
    """
    stage, parts = built.stage, built.needs.parts
    if GREEDY not in decodings(parts):
        return []
    model, mesh = stage.model, built.mesh
    graphdef, shapes = nnx.split(
        nnx.eval_shape(
            lambda: acllm.make(
                model, fitting.TOKENS, stage.vocab.size, parts, remat="none", rngs=nnx.Rngs(0)
            )
        )
    )
    shapes = jax.eval_shape(lambda state: layers.as_used(state, model.dtype), shapes)
    state = sharding.placed(shapes, sharding.of_params(shapes, mesh))
    batch = _batch(built, sizes, seconds, 0)
    cached = gathering.cached(model, mesh, batch, sizes.tokens, (sizes.context,), 1)
    repeated, gathered = state, gathering.fits(state, mesh, model.dtype, cached)
    if gathered:
        repeated = nnx.merge_state(state, gathering.shapes(state, mesh, model.dtype))
    last = jax.ShapeDtypeStruct((sizes.utterances, 1), np.int32, sharding=sharding.of_batch(mesh))

    def encode(state, batch):
        with layout.over(mesh):
            return prefill.encode(nnx.merge(graphdef, state), batch)

    def fill(state, batch, speech):
        with layout.over(mesh):
            return prefill.fill(nnx.merge(graphdef, state), batch, speech, sizes.tokens + 1)

    def decode_step(state, stream, last):
        with layout.over(mesh, gathered=gathered):
            return prefill.decode_step(nnx.merge(graphdef, state), stream, last)

    def sharded(tree):
        return sharding.placed(tree, jax.tree.map(lambda x: _decoding_sharding(x, mesh), tree))

    speech = sharded(jax.eval_shape(encode, state, batch))
    stream = sharded(jax.eval_shape(fill, state, batch, speech))
    scores = sharded(jax.eval_shape(decode_step, repeated, stream, last)[0])
    resident = {"params": sharding.bytes_of(state), "opt": 0, "kv": 0}
    cache_bytes = sharding.bytes_of((stream.cache.prefix, stream.cache.k, stream.cache.v))
    filled = resident | {"kv": cache_bytes}
    rows, prefix = sizes.utterances, stream.cache.valid.shape[1]
    encoded = flops.forward(model, stage.vocab.size, {*parts} - {names.DECODER}, sizes)
    last_step = decoders.flops(model, prefix + sizes.tokens + 1)
    last_step += decoders.logits_flops(model, stage.vocab.size)
    last_step -= decoders.flops(model, prefix + sizes.tokens)

    def jitted(function, out, **more):
        places = jax.tree.map(lambda x: x.sharding, out)
        options = compiler.options(sharding.of_batch(mesh))
        # All weights stay resident, although no program reads all of them.
        more |= dict(out_shardings=places, compiler_options=options, keep_unused=True)
        return jax.jit(function, **more)

    return [
        Program("encode", jitted(encode, speech), (state, batch), resident, sum(encoded.values())),
        Program(
            "prefill",
            jitted(fill, stream),
            (state, batch, speech),
            filled,
            rows * decoders.flops(model, prefix),
        ),
        Program(
            "decode",
            jitted(decode_step, (scores, stream), donate_argnums=1),
            (repeated, stream, last),
            filled | {"params": sharding.bytes_of(repeated)},
            rows * last_step,
            runs=sizes.tokens + 1,
        ),
    ]


def _batch(built, sizes, seconds, tokens, extra=None):
    """`extra`: of `Needs`, or None."""
    lengths = (round(seconds * files.RATE), sizes.prompt, sizes.context, tokens)
    more = extra and extra(sizes.utterances, (seconds, tokens, sizes.utterances))
    batch = batches.abstract(sizes.utterances, *lengths, suffix=sizes.suffix, extra=more)
    return sharding.placed(batch, sharding.of_batch(built.mesh))


def _decoding_sharding(x, mesh):
    """The sharding of a decoding array: keys and values [L B ... G K], scalars or [B ...]."""
    if x.ndim < 5:
        return sharding.of_batch(mesh) if x.ndim else sharding.replicated(mesh)
    kv_heads = "tensor" if x.shape[-2] % mesh.shape["tensor"] == 0 else None
    spec = PartitionSpec(None, rules.BATCH, *(None,) * (x.ndim - 4), kv_heads, None)
    return NamedSharding(mesh, spec)
