"""`seedasr export`: writes a bundle and runs it again from disk."""

import json
import pathlib

import numpy as np

from seedasr_jax import checkpoint as checkpoints
from seedasr_jax.audio import files
from seedasr_jax.convert.bundle import export_bundle
from seedasr_jax.errors import UserError
from seedasr_jax.evaluate import transcribe
from seedasr_jax.launch import evaluate

SECONDS = (0.7, 1.5, 2.4)  # of the sounds that original and artefact are compared on


def bundle(checkpoint, out: pathlib.Path) -> str:
    """Exports a checkpoint as a bundle.

    The bundle is opened from disk and must give the tokens of the original, and their
    log-probabilities to 1e-5, on seeded sounds.

    Args:
        checkpoint: C.
        out: a folder that does not exist.

    Returns:
        A line for a person.

    Raises:
        UserError: the artefact disagrees with the original, or `out` holds something else.
    """
    opened = checkpoints.open_checkpoint(checkpoint)
    recogniser, normalizer = transcribe.open_recogniser(opened), opened.stage.data.normalizer
    original = transcribe.Transcriber(recogniser, opened.label, normalizer)
    rng = np.random.default_rng(0)
    waves = [rng.normal(0, 0.1, round(s * files.RATE)).astype(np.float32) for s in SECONDS]
    expected = original.transcribe_many(waves)

    def check(folder):
        found = transcribe.load(folder).transcribe_many(waves)
        worst = 0.0
        for one, other in zip(expected, found, strict=True):
            if one.tokens != other.tokens:
                raise UserError(f"{folder}: the bundle decodes otherwise than {opened.label}")
            gaps = [abs(a - b) for a, b in zip(one.logprobs, other.logprobs)]
            worst = max([worst, *gaps])
        if worst > 1e-5:
            raise UserError(f"{folder}: log-probabilities are off by {worst:.1e}, at most 1e-5")
        return {"waves": len(waves), "tokens_equal": True, "logprob_difference": worst}

    results = _results(pathlib.Path(opened.folder) / evaluate.FOLDER, opened.label)
    written = export_bundle(opened, out, check, results=results)
    return f"{written}: bundle of {opened.label}"


def _results(folder, label):
    """Rows of the evaluations of this checkpoint, for the card."""
    paths = sorted(folder.glob("*/results.jsonl"))
    rows = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    return [row for row in rows if row["checkpoint"] == label]
