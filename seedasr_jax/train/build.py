"""Builds a stage's model, objective, optimiser and shardings, for training and planning."""

from collections.abc import Callable
import dataclasses
import itertools
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp

from seedasr_jax import config, errors
from seedasr_jax.errors import ConfigError
from seedasr_jax.models import acllm, layers, names
from seedasr_jax.models import parts as registry
from seedasr_jax.models.acllm import AcLLM, Tokens
from seedasr_jax.parallel import mesh as meshes
from seedasr_jax.parallel import sharding
from seedasr_jax.train import objectives, optim
from seedasr_jax.train.step import TrainState, make_train_step


@dataclasses.dataclass(frozen=True)
class Built:
    """Everything a stage computes with; no array is allocated yet."""

    stage: config.Stage
    mesh: jax.sharding.Mesh
    objective: Any
    saved: tuple[str, ...]  # parts saved with the stage: those that train or are drawn once
    graphdef: Any
    tx: Any
    abstract: TrainState  # its shapes
    sharding: TrainState  # its shardings
    make_model: Callable[[nnx.Rngs], AcLLM]

    @property
    def needs(self) -> objectives.Needs:
        return self.objective.needs

    def train_step(self):
        """The jitted step."""
        rates = optim.rates(self.stage.optim, self.stage.steps, self.stage.trains)
        how = self.sharding, sharding.of_batch(self.mesh), self.stage.run.accum
        return make_train_step(self.graphdef, self.objective, self.tx, rates, *how)

    def fresh(self) -> TrainState:
        """A state drawn from the stage's seed; each device creates its own shards."""
        return self.drawn(self.abstract)

    def drawn(self, state: TrainState) -> TrainState:
        """Replaces the shapes in `state` by arrays of `fresh`; nothing else is drawn."""
        leaves, structure = jax.tree.flatten(state)
        missing = [isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves]
        if not any(missing):
            return state

        def create():
            model = self.make_model(nnx.Rngs(params=_keys(self.stage)[0]))
            _, params, frozen = _split(model, self.saved)
            drawn = _state(params, frozen, self.tx, self.stage)
            return list(itertools.compress(jax.tree.leaves(drawn), missing))

        shardings = list(itertools.compress(jax.tree.leaves(self.sharding), missing))
        drawn = iter(jax.jit(create, out_shardings=shardings)())
        filled = (next(drawn) if empty else leaf for leaf, empty in zip(leaves, missing))
        return jax.tree.unflatten(structure, filled)


def _keys(stage):
    """Keys of the initialisation and of the steps; each step folds its number into the latter."""
    return jax.random.split(jax.random.key(stage.seed))


def _split(model, saved):
    """The model's graphdef, and the parameters of the saved and of the other parts."""
    return nnx.split(model, lambda path, value: optim.part_of(path, value) in saved, ...)


def _state(params, frozen, tx, stage):
    """The TrainState of step 0: float32 masters train, frozen parameters have the types of use."""
    frozen = layers.as_used(frozen, stage.model.dtype)
    zero = jnp.zeros((), jnp.int32)
    return TrainState(zero, zero, params, frozen, tx.init(params), _keys(stage)[1])


def _check_named(stage, parts):
    """Checks the parts that `trains`, `optim.rates` and `init.lora` name."""
    known = registry.with_inner(parts)
    if not stage.model.lora.rank:
        known = tuple(part for part in known if part != names.LORA)
    named = [("trains", part) for part in stage.trains]
    named += [("optim.rates", part) for part in stage.optim.rates]
    named += [("init", names.LORA)] if names.LORA in stage.init else []
    for key, part in named:
        if part not in known:
            adapter = part == names.LORA and names.DECODER in parts
            rank = " with model.lora.rank = 0" if adapter else ""
            raise errors.unknown(f"{key}: part of kind {stage.kind!r}{rank}", part, known)
        if part not in stage.trains and key == "optim.rates":
            raise ConfigError(
                f"optim.rates {part!r}: expected a part that trains, one of"
                f" {', '.join(stage.trains)}: a frozen one has no rate"
            )


def mesh_of(stage: config.Stage, devices=None) -> jax.sharding.Mesh:
    """The mesh of a stage; a ConfigError if it does not fit devices (default all) or buckets."""
    mesh = meshes.make(stage.mesh, devices)
    for _, _, utterances in stage.data.buckets:
        sharding.check_batch(utterances, mesh, stage.run.accum)
    return mesh


def build(stage: config.Stage, tokens: Tokens, vocabulary: int, devices=None) -> Built:
    """Builds a stage without allocating anything.

    `tokens`, `vocabulary`: the tokenizer's special ids and number of pieces. Raises a ConfigError
    if a part does not exist, or the mesh does not fit devices (default all), parameters or buckets.
    """
    mesh = mesh_of(stage, devices)
    objective = objectives.make(stage, tokens, vocabulary)
    needs = objective.needs
    if needs.reads and not stage.data.has_text:
        raise ConfigError(
            f"data.buckets: kind {stage.kind!r} learns from text: expected a bucket with tokens,"
            f" found {stage.data.buckets}"
        )
    _check_named(stage, needs.parts)
    rows = stage.model.decoder.vocabulary
    if names.DECODER in needs.parts and 0 < rows < vocabulary:
        raise ConfigError(
            f"model.decoder.vocabulary: expected at least {vocabulary}, the size of the tokenizer,"
            f" or 0 for the same, found {rows}"
        )

    def make_model(rngs):
        parts = needs.parts
        return acllm.make(stage.model, tokens, vocabulary, parts, remat=stage.run.remat, rngs=rngs)

    tx = optim.make(stage.optim, stage.steps, apart=needs.apart)
    model = nnx.eval_shape(lambda: make_model(nnx.Rngs(0)))
    if not jax.tree.leaves(_split(model, stage.trains)[1]):
        raise ConfigError(f"trains {stage.trains}: nothing is left to train; name a part")
    # Parts drawn once get zero gradients and no decay: their names are not in layers.MATRICES.
    drawn = [part for part in needs.drawn if stage.init.get(part) == "fresh"]
    saved = (*stage.trains, *drawn)
    graphdef, params, frozen = _split(model, saved)
    abstract = jax.eval_shape(lambda p, f: _state(p, f, tx, stage), params, frozen)
    param_shardings = sharding.of_params(params, mesh)
    everywhere = sharding.replicated(mesh)
    shardings = TrainState(
        step=everywhere,
        skipped=everywhere,
        params=param_shardings,
        frozen=sharding.of_params(frozen, mesh),
        opt_state=sharding.like_params(abstract.opt_state, params, param_shardings, mesh),
        rng=everywhere,
    )
    return Built(stage, mesh, objective, saved, graphdef, tx, abstract, shardings, make_model)
