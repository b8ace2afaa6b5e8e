"""`seedasr export`: writes a bundle and runs it again from disk.

Dims: B waves, S samples, T encoder frames, D encoder width.
"""

import functools
import importlib
import pathlib

from flax import nnx
import jax
import numpy as np

from seedasr_jax import checkpoint as checkpoints
from seedasr_jax import workdir as disk
from seedasr_jax.audio import files, logmel
from seedasr_jax.convert.bundle import export_bundle
from seedasr_jax.decode import recogniser as recognisers
from seedasr_jax.errors import UserError
from seedasr_jax.evaluate import transcribe
from seedasr_jax.text.vocab import open_vocabulary

SECONDS = (0.7, 1.5, 2.4)  # of the sounds that original and artefact are compared on
LARGEST = 1e-5  # difference that is allowed


def bundle(checkpoint, out: pathlib.Path) -> str:
    """Exports a checkpoint as a bundle.

    The bundle is opened from disk and must give the tokens of the original, and their
    log-probabilities to 1e-5, on seeded sounds. A stage that recognises nothing but has an encoder,
    as those of self-supervision, gives a bundle of the encoder: the same frames to 1e-5.

    Args:
        checkpoint: C.
        out: a folder that does not exist.

    Returns:
        A line for a person.

    Raises:
        UserError: the artefact disagrees with the original, or `out` holds something else.
    """
    opened = checkpoints.open_checkpoint(checkpoint)
    if not out.exists():
        disk.try_place(out, "--out")
    rng = np.random.default_rng(0)
    waves = [rng.normal(0, 0.1, round(s * files.RATE)).astype(np.float32) for s in SECONDS]
    if "encoder" in opened.parts() and not recognisers.methods(opened.parts()):
        written = export_bundle(opened, out, _same_frames(opened, waves), parts=("encoder",))
        return f"{written}: bundle of the encoder of {opened.label}, which recognises nothing yet"
    recogniser = transcribe.open_recogniser(opened)
    original = transcribe.Transcriber(recogniser, opened.label, opened.stage)
    expected = original.transcribe_many(waves)

    def check(folder):
        found = transcribe.load(folder).transcribe_many(waves)
        worst = 0.0
        for one, other in zip(expected, found, strict=True):
            if one.tokens != other.tokens:
                raise UserError(f"{folder}: the bundle decodes otherwise than {opened.label}")
            gaps = [abs(a - b) for a, b in zip(one.logprobs, other.logprobs)]
            worst = max([worst, *gaps])
        if worst > LARGEST:
            raise UserError(
                f"{folder}: log-probabilities are off by {worst:.1e}, at most {LARGEST:g}"
            )
        return {"waves": len(waves), "tokens_equal": True, "logprob_difference": worst}

    results = _results(pathlib.Path(opened.folder) / disk.EVAL, opened.label)
    written = export_bundle(opened, out, check, results=results)
    return f"{written}: bundle of {opened.label}"


def _same_frames(original, waves):
    """A check that a bundle's encoder hears what the original's does."""
    expected = _frames(original, waves)

    def check(folder):
        found = _frames(checkpoints.open_checkpoint(folder), waves)
        worst = float(np.abs(found - expected).max())
        if not worst <= LARGEST:
            raise UserError(f"{folder}: encoder frames are off by {worst:.1e}, at most {LARGEST:g}")
        return {"waves": len(waves), "frame_difference": worst}

    return check


def _frames(checkpoint, waves):
    """[B T D] that a checkpoint's encoder makes of waves [S]."""
    for module in checkpoint.imports:
        importlib.import_module(module)  # registers what the config names
    model, tokenizer = checkpoint.stage.model, open_vocabulary(checkpoint.vocab)
    graphdef, state = recognisers.abstract(model, tokenizer, ("encoder",))
    state = checkpoints.fill(state, checkpoint.load("encoder"))
    length = np.array([len(wave) for wave in waves], np.int32)
    padded = np.stack([np.pad(wave, (0, length.max() - len(wave))) for wave in waves])
    return np.asarray(_encode(graphdef, state, padded, length))


@functools.partial(jax.jit, static_argnums=0)
def _encode(graphdef, state, wave, length):
    model = nnx.merge(graphdef, state)
    return model.encoder(*logmel.log_mel(wave, length, model.config.features))[0]


def _results(folder, label):
    """Rows of the evaluations of this checkpoint, for the card."""
    paths = sorted(folder.glob(f"*/{disk.RESULTS}"))
    rows = (row for path in paths for row in disk.read_rows(path, "checkpoint"))
    return [row for row in rows if row["checkpoint"] == label]
