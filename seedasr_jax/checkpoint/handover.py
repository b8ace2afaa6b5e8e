"""Hand-over of a part from one stage to the next: compared first, then loaded."""

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
    source_part="",
    model=None,
    vocabulary=None,
):
    """Loads a part for a stage, after comparing names and shapes with what the stage expects.

    Args:
        source: the checkpoint that the part comes from.
        part: its name in the stage, such as encoder, or lora.
        abstract: the stage's parameters: params, frozen, or both; arrays or shapes.
        shardings: a tree with at least those of the part; None: NumPy arrays.
        source_part: the part's name in `source`; default the same.
        model: the stage's config.Model, to name the key that differs.
        vocabulary: hash of the stage's tokenizer, compared if the part depends on the vocabulary.

    Returns:
        Nested dicts {MODULE: {...}} in the stage's types, for `fill`. Each shard is read directly
        onto its device, in its type: no device and no host holds more.

    Raises:
        ConfigError: a parameter is missing, unexpected or of another shape; nothing was loaded.
    """
    source_part = source_part or part
    options = dict(source_part=source_part, model=model, vocabulary=vocabulary)
    check_part(source, part, abstract, **options)
    wanted = trees.select(abstract, part)
    places = {} if shardings is None else trees.select(shardings, part)
    like = {
        trees.renamed(name, part, source_part): jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=places.get(name)
        )
        for name, leaf in wanted.items()
    }
    leaves = source.read(source_part, like)
    return trees.nest({trees.renamed(name, source_part, part): x for name, x in leaves.items()})


def check_part(source, part: str, abstract, *, source_part="", model=None, vocabulary=None):
    """Checks that a part of a checkpoint fits a stage; arguments and errors as for `hand_over`."""
    source_part = source_part or part
    where = f"init.{part}={source.label}" + (f":{source_part}" if source_part != part else "")
    known = source.record.vocabulary
    if vocabulary not in (None, known) and parts.lookup(part).pieces:
        raise ConfigError(
            f"{where}: the vocabulary differs: expected hash {vocabulary}, this stage's, found"
            f" {known}: set vocab.path={source.vocab} or init.{part}=fresh"
        )
    if model is not None and part == names.CODEBOOK:
        layer, fitted = model.quantizer.layer, source.stage.model.quantizer.layer
        if layer != fitted:
            raise ConfigError(
                f"{where}: the codebook was fitted with model.quantizer.layer={fitted}, this stage"
                f" has {layer}: set both to the same layer"
            )
    found, theirs = source.shapes(source_part), source.stage.model
    compare(where, part, abstract, found, source_part, model, theirs)


def compare(
    where: str, part: str, abstract, found: dict, source_part: str, model=None, source_model=None
):
    """Compares the parameters of a part in a stage with those of its source.

    Args:
        where: begins the error: part and source, such as init.encoder=ctc.
        part: its name in the stage, such as encoder, or lora.
        abstract: the stage's parameters, a tree or {name: shape}.
        found: {name: array or shape} of the source; may contain other parts.
        source_part: the part's name in the source.
        model, source_model: config.Model of both, to name the key that differs; or None.

    Raises:
        ConfigError: a parameter is missing, unexpected or of another shape.
    """
    cure = f"; make the models equal or set init.{part}=fresh"
    if model is not None:
        keys = config.difference(config.to_dict(source_model), config.to_dict(model))
        keys = [key for key in keys if key.startswith(f"{part}.")] or keys
        cure = f" (model.{'; model.'.join(keys[:3])}){cure}" if keys else cure
    wanted = trees.select(abstract, part)
    found = trees.select(found, source_part)
    found = {trees.renamed(name, source_part, part): x for name, x in found.items()}
    if not found:
        raise ConfigError(f"{where}: there is no part {source_part!r}{cure}")
    for name, leaf in wanted.items():
        if name not in found:
            raise ConfigError(f"{where}: expected {name} {list(leaf.shape)}, not found{cure}")
        expected, stored = list(leaf.shape), list(found[name].shape)
        if stored != expected:
            raise ConfigError(f"{where}: {name}: expected {expected}, found {stored}{cure}")
    for name, leaf in found.items():
        if name not in wanted:
            raise ConfigError(f"{where}: found {name} {list(leaf.shape)}, not expected{cure}")
