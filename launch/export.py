"""`seedasr export`: writes a bundle and verifies it from disk.

Dims: B waves, S samples, T encoder frames, D encoder width.
"""

import pathlib

import numpy as np

from seedasr_jax import batch as batches
from seedasr_jax import checkpoint as checkpoints
from seedasr_jax import filesystem
from seedasr_jax import workdir as disk
from seedasr_jax.audio import files
from seedasr_jax.convert.bundle import export_bundle
from seedasr_jax.decode import program
from seedasr_jax.errors import UserError
from seedasr_jax.evaluate import opening, transcribe
from seedasr_jax.models import names
from seedasr_jax.models.parts import decodings
from seedasr_jax.parallel import sharding

SECONDS = (0.7, 1.5, 2.4)  # of the noise on which checkpoint and bundle are compared
LARGEST = 1e-5  # allowed difference


def bundle(checkpoint, out: pathlib.Path, mesh=None) -> str:
    """Exports a checkpoint C as a bundle to a new folder `out`; returns a line that names it.

    The bundle is opened from disk and must give the checkpoint's tokens on seeded noise, and their
    log-probabilities to 1e-5. A stage that has an encoder but cannot transcribe, such as a
    self-supervised one, gives a bundle of the encoder: the same frames to 1e-5.
    `mesh` is for checkpoint and bundle, one after the other; see evaluate/opening.py.

    Raises:
        UserError: the bundle disagrees with the checkpoint, or `out` exists and is no bundle.
    """
    opened = checkpoints.open_checkpoint(checkpoint)
    opening.check_complete(opened)
    if not out.exists():
        filesystem.check_writable(out, "--out")
    elif not (out / disk.PARITY).exists():  # an earlier export is compared with this one later
        raise UserError(f"{out} exists and is not a bundle: choose another --out or remove it")
    rng = np.random.default_rng(0)
    waves = [rng.normal(0, 0.1, round(s * files.RATE)).astype(np.float32) for s in SECONDS]
    if names.ENCODER in opened.parts() and not decodings(opened.parts()):
        check = _same_frames(opened, waves, mesh)
        written = export_bundle(opened, out, check, parts=(names.ENCODER,))
        return f"{written}: bundle of the encoder of {opened.label}, which cannot transcribe yet"
    # The checkpoint's parameters are freed before the bundle's are loaded.
    expected = transcribe.Transcriber(
        opening.open_recogniser(opened, mesh), opened
    ).transcribe_many(waves)

    def check(folder):
        found = transcribe.load(folder, mesh).transcribe_many(waves)
        worst = 0.0
        for one, other in zip(expected, found, strict=True):
            if one.tokens != other.tokens:
                raise UserError(f"{folder}: the bundle's tokens differ from {opened.label}'s")
            gaps = [abs(a - b) for a, b in zip(one.logprobs, other.logprobs)]
            worst = max([worst, *gaps])
        if worst > LARGEST:
            raise UserError(
                f"{folder}: log-probabilities differ by {worst:.1e}, more than {LARGEST:g}"
            )
        return {"waves": len(waves), "tokens_equal": True, "logprob_difference": worst}

    results = _results(pathlib.Path(opened.folder) / disk.EVAL, opened.label)
    written = export_bundle(opened, out, check, results=results)
    return f"{written}: bundle of {opened.label}"


def _same_frames(original, waves, mesh):
    """Returns a check that a bundle's encoder gives the frames of the original's."""
    expected = _frames(original, waves, mesh)

    def check(folder):
        found = _frames(checkpoints.open_checkpoint(folder), waves, mesh)
        worst = float(np.abs(found - expected).max())
        if not worst <= LARGEST:
            raise UserError(
                f"{folder}: encoder frames differ by {worst:.1e}, more than {LARGEST:g}"
            )
        return {"waves": len(waves), "frame_difference": worst}

    return check


def _frames(checkpoint, waves, mesh):
    """Frames [B T D] of a checkpoint's encoder for B waves [S]."""
    graphdef, state, _, mesh = opening.open_model(checkpoint, mesh, (names.ENCODER,))
    rows, samples = sharding.padded_rows(len(waves), mesh), max(map(len, waves))
    batch = batches.zeros(rows, samples, 0, 0, 0)
    for row, wave in enumerate(waves):
        batch.wave[row, : len(wave)], batch.wave_length[row] = wave, len(wave)
    encode = program.program(graphdef, mesh, _encode, prefixes=None)
    return np.asarray(encode(state, sharding.put_batch(batch, mesh), ()))[: len(waves)]


def _encode(model, batch):
    return model.encode(batch.wave, batch.wave_length)[0]


def _results(folder, label):
    """Rows of this checkpoint's evaluations, for the bundle's card."""
    paths = sorted(folder.glob(f"*/{disk.RESULTS}"))
    shown = ("checkpoint", "task", "decode", "utterances", "error_rate", "ci_low", "ci_high")
    rows = (row for path in paths for row in disk.read_rows(path, *shown))
    return [row for row in rows if row["checkpoint"] == label]
