"""Imports another project's model as a bundle: the parameters as stored, bit for bit.

Tensors are read, laid out and written one slice of a stacked parameter at a time, so host memory
holds a few copies of the largest tensor of the source, never the model.
"""

import pathlib
import re

from etils import epath
import jax
import numpy as np

from seedasr_jax import config, inventory
from seedasr_jax import workdir as disk
from seedasr_jax.checkpoint import location, record, trees
from seedasr_jax.convert import bundle, safetensors
from seedasr_jax.convert.families import FAMILIES, Read
from seedasr_jax.convert.layout import Table
from seedasr_jax.convert.source import CONFIG, Source
from seedasr_jax.decode import recogniser
from seedasr_jax.errors import ConfigError, UserError

STAGE = "imported"  # name and kind of the stage that an imported bundle stands for


def import_source(source: Source, vocab, read: Read, stage: config.Stage, out):
    """Writes a bundle of parts of a source to `out`; returns the path, which appears complete.

    Args:
        source: the opened folder.
        vocab: its tokenizer; None for an encoder alone.
        read: its config, by `FAMILIES`.
        stage: of kind STAGE, with the model of `read`; its `init` names the parts to import.

    Raises:
        ConfigError: a tokenizer that does not match the embedding.
        UserError: a tensor is missing, unknown, of another shape or of mixed types; `out` exists
            and is not this import.
    """
    out, where = epath.Path(out), str(source.folder)
    if vocab is not None and vocab.size > read.rows:
        raise ConfigError(
            f"{where}: expected a tokenizer of at most {read.rows} pieces, the rows of the"
            f" embedding (vocab_size), found {vocab.size}: it is another model's"
        )
    table, shapes = _planned(source, stage.model, vocab, tuple(stage.init))
    settings = _settings(source, read, stage, vocab)
    folder = bundle.begin(out, settings)
    if folder is None:
        return out
    if vocab is not None:
        vocab.save(folder)
    kept = folder / disk.SOURCE
    kept.mkdir()
    for path in (source.folder / CONFIG, *source.kept):
        (kept / path.name).write_bytes(path.read_bytes())

    def slices(path):
        return table.pieces(path, lambda name: source.tensors[name].load())

    hashes = safetensors.write_slices(folder, shapes, slices)
    disk.write_json(folder / disk.CONFIG, settings | {"hashes": hashes})
    bundle.complete(folder, out)
    return out


def _planned(source, model, vocab, parts):
    """The table of the parts, and {path: ShapeDtypeStruct} of the parameters as they are stored."""
    family = FAMILIES[source.architecture]
    _, params = recogniser.abstract(model, vocab, parts)
    shapes = {name: tuple(leaf.shape) for name, leaf in trees.flat(params).items()}
    chosen, others = [], []
    for entry in family.entries(model, source):
        (chosen if trees.part_of(entry.ours) in parts else others).append(entry)
    table = Table(chosen, shapes)
    left_out = [re.sub(r"\\{\w+\\}", r"\\d+", re.escape(entry.theirs)) for entry in others]
    found = {name: tensor.shape for name, tensor in source.tensors.items()}
    head, embedding = family.tied(source) if family.tied else ("", "")
    if model.decoder.tied and head in found and embedding in found:
        _check_equal(source, head, embedding)
        del found[head]
    table.check(found, str(source.folder), (*family.ignored, *left_out))
    planned = {}
    for path, shape in shapes.items():
        entry = table.entries[path]
        types = {source.tensors[name].dtype for _, name in entry.names(shape)}
        if len(types) > 1:
            listed = " and ".join(sorted(map(str, types)))
            raise UserError(
                f"{source.folder}: {entry.theirs}: expected one type in all layers, found {listed}:"
                " convert them to one"
            )
        planned[path] = jax.ShapeDtypeStruct(shape, *types)
    return table, planned


def _check_equal(source, name, other):
    one, two = source.tensors[name], source.tensors[other]
    if one.struct != two.struct or not np.array_equal(one.load(), two.load()):
        raise UserError(
            f"{source.folder}: {name}: expected the values of {other}, as tie_word_embeddings is"
            " true, found others"
        )


def _settings(source, read, stage, vocab):
    """config.json of the bundle, without hashes of the parameters."""
    marks = {path.name: inventory.mark(pathlib.Path(path)) for path in source.files}
    about = dict(architecture=source.architecture, folder=source.folder.name, files=marks)
    recipe = config.digest([config.to_dict(stage, recipe_only=True), about])
    new = record.new(
        stage, recipe, parents={}, frozen={}, vocabulary=vocab.hash if vocab else "", reads={}
    )
    origin = f"{source.folder.name}#{config.digest(marks)[:8]}"
    entry = dict(checkpoint=f"{STAGE}@0#{recipe[:8]}", kind=STAGE, step=0, hours={}, mixture=[])
    return {
        "format": location.BUNDLE_FORMAT,
        "stage": STAGE,
        "imports": [],
        "lineage": [entry | {"parents": dict.fromkeys(stage.init, origin)}],
        "source": about,
        **config.to_dict(new),
        "state": "finished",
        "limits": config.to_dict(read.limits),
    }
