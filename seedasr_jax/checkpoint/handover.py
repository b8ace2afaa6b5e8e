"""Hand-over: a part of one stage to the next, compared before it is loaded."""

import jax

from seedasr_jax import config
from seedasr_jax.checkpoint import opened, trees
from seedasr_jax.errors import ConfigError
from seedasr_jax.models import names, parts


def hand_over(
    source: opened.Checkpoint,
    part: str,
    abstract,
    shardings=None,
    *,
    there="",
    model=None,
    vocabulary=None,
):
    """Loads a part for a stage, after comparing names and shapes with what the stage expects.

    Args:
        source: where the part comes from.
        part: such as encoder, or lora.
        abstract: the stage's tree of parameters (params, frozen, or both; arrays or shapes).
        shardings: a tree that has those of the part; None: NumPy arrays.
        there: the part's name in `source`, if that is another.
        model: the stage's config.Model, to name the key that differs.
        vocabulary: hash of the stage's tokenizer, which the part must share if it knows pieces.

    Returns:
        Nested dicts {MODULE: {...}} in the stage's types, for `fill`. Each device's share is read
        in its type: no device and no host holds more.

    Raises:
        ConfigError: a parameter is missing, left over or of another shape; nothing was loaded then.
    """
    there = there or part
    check_part(source, part, abstract, there=there, model=model, vocabulary=vocabulary)
    wanted = trees.select(abstract, part)
    places = {} if shardings is None else trees.select(shardings, part)
    like = {
        trees.renamed(name, part, there): jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=places.get(name)
        )
        for name, leaf in wanted.items()
    }
    leaves = source.read(there, like)
    return trees.nest({trees.renamed(name, there, part): x for name, x in leaves.items()})


def check_part(source, part: str, abstract, *, there="", model=None, vocabulary=None):
    """Checks that a part of a checkpoint fits; arguments and errors as of `hand_over`."""
    there = there or part
    where = f"init.{part}={source.label}" + (f":{there}" if there != part else "")
    known = source.record.vocabulary
    if vocabulary not in (None, known) and parts.lookup(part).pieces:
        raise ConfigError(
            f"{where}: the vocabulary differs (hash {known}, this stage's is"
            f" {vocabulary}): set vocab.path={source.vocab} or init.{part}=fresh"
        )
    if model is not None and part == names.CODEBOOK:
        layer, fitted = model.quantizer.layer, source.stage.model.quantizer.layer
        if layer != fitted:
            raise ConfigError(
                f"{where}: it was fitted with model.quantizer.layer={fitted}, this stage has"
                f" {layer}: set them alike"
            )
    compare(where, part, abstract, source.shapes(there), there, model, source.stage.model)


def compare(where: str, part: str, abstract, found: dict, there: str, model=None, theirs=None):
    """Compares the parameters of a part with those of the place that it is to come from.

    Args:
        where: says both, such as init.encoder=ctc.
        part: such as encoder, or lora.
        abstract: what the stage expects, as a tree or by name.
        found: {name: array or shape} of what is there, other parts too.
        there: the part's name there.
        model, theirs: config.Model of both, to name the key that differs; or None.

    Raises:
        ConfigError: a parameter is missing, left over or of another shape.
    """
    cure = f"; make the models equal or set init.{part}=fresh"
    if model is not None:
        keys = config.difference(config.to_dict(theirs), config.to_dict(model))
        keys = [key for key in keys if key.startswith(f"{part}.")] or keys
        cure = f" (model.{'; model.'.join(keys[:3])}){cure}" if keys else cure
    wanted = trees.select(abstract, part)
    found = {trees.renamed(n, there, part): x for n, x in trees.select(found, there).items()}
    if not found:
        raise ConfigError(f"{where}: there is no part {there!r}{cure}")
    for name, leaf in wanted.items():
        if name not in found:
            raise ConfigError(f"{where}: it has no {name} {list(leaf.shape)}{cure}")
        expected, stored = list(leaf.shape), list(found[name].shape)
        if stored != expected:
            raise ConfigError(f"{where}: {name}: expected {expected}, found {stored}{cure}")
    for name, leaf in found.items():
        if name not in wanted:
            raise ConfigError(f"{where}: {name} {list(leaf.shape)} is left over{cure}")
