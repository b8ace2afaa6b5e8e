"""Hand-over of a part from one stage to the next: compared first, then loaded."""

from seedasr_jax import config
from seedasr_jax.checkpoint import opened, trees
from seedasr_jax.errors import ConfigError, nearest
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

    Returns nested dicts {MODULE: {...}}, for `fill`. Each shard is read directly onto its device in
    the stage's type, so no host or device needs more memory.

    Args:
        part, source_part: the part's name in the stage, and in `source`; default the same.
        abstract: the stage's parameters: params, frozen, or both; arrays or shapes.
        shardings: a tree with at least those of the part; None: NumPy arrays.
        model: the stage's config.Model, to name the key that differs.
        vocabulary: hash of the stage's tokenizer, compared if the part depends on the vocabulary.

    Raises:
        ConfigError: a parameter is missing, unexpected or of another shape; nothing was loaded.
    """
    source_part = source_part or part
    options = dict(source_part=source_part, model=model, vocabulary=vocabulary)
    check_part(source, part, abstract, **options)
    wanted = trees.with_shardings(trees.select(abstract, part), shardings)
    wanted = {trees.renamed(name, part, source_part): x for name, x in wanted.items()}
    leaves = source.read(source_part, wanted)
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
    shapes = source.shapes(source_part)
    compare(where, part, abstract, shapes, source_part, model, source.stage.model)


def compare(where: str, part, abstract, found: dict, source_part, model=None, source_model=None):
    """Raises a ConfigError if a stage and its source have different parameters of a part.

    Args:
        where: begins the error: part and source, such as init.encoder=ctc.
        part, source_part: the part's name in the stage and in the source.
        abstract: the stage's parameters, a tree or {name: shape}.
        found: {name: array or shape} of the source; may contain other parts.
        model, source_model: config.Model of both, to name the key that differs; or None.
    """
    cure = f"; make the models equal or set init.{part}=fresh"
    if model is not None:
        keys = config.difference(config.to_dict(source_model), config.to_dict(model))
        keys = [key for key in keys if key.startswith(f"{part}.")] or keys
        cure = f" (model.{'; model.'.join(keys[:3])}){cure}" if keys else cure
    wanted = trees.select(abstract, part)
    known = trees.parts(found)
    found = trees.select(found, source_part)
    if not found:
        near = nearest(source_part, known)
        listed = f": found {', '.join(known)}; correct it or set init.{part}=fresh.{near}"
        raise ConfigError(f"{where}: there is no part {source_part!r}{listed}")
    found = {trees.renamed(name, source_part, part): x for name, x in found.items()}
    for name, leaf in wanted.items():
        if name not in found:
            raise ConfigError(f"{where}: expected {name} {list(leaf.shape)}, not found{cure}")
        expected, stored = list(leaf.shape), list(found[name].shape)
        if stored != expected:
            raise ConfigError(f"{where}: {name}: expected {expected}, found {stored}{cure}")
    for name, leaf in found.items():
        if name not in wanted:
            raise ConfigError(f"{where}: found {name} {list(leaf.shape)}, not expected{cure}")
