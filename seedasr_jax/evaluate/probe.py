"""Scores of a probe: each layer is decoded by its own head; the best has the lowest error rate."""

import functools

import numpy as np

from seedasr_jax import checkpoint as checkpoints
from seedasr_jax import workdir as disk
from seedasr_jax.decode import program
from seedasr_jax.decode.recogniser import Recogniser
from seedasr_jax.errors import ConfigError
from seedasr_jax.models import names


class _LayerRecogniser(Recogniser):
    """A recogniser of one layer; all layers share the program `ctc(state, batch, (layer,))`."""

    def __init__(self, graphdef, vocab, model, mesh, ctc, layer):
        super().__init__(graphdef, None, vocab, model, (names.ENCODER, names.CTC_HEAD), mesh)
        self._ctc, self._layer = ctc, np.int32(layer)

    def _hypotheses(self, batch, method, alpha):
        return self._ctc(self.state, batch, (self._layer,))


def recognisers(graphdef, vocab, model, parts, mesh) -> list[Recogniser]:
    """One recogniser per layer, the lowest first; none if the model has no probe."""
    if names.PROBE not in parts:
        return []
    ctc = program.probe(graphdef, mesh)
    make = functools.partial(_LayerRecogniser, graphdef, vocab, model, mesh, ctc)
    return [make(layer) for layer in range(model.encoder.layers)]


def report(layers: list[dict[str, float]]) -> dict:
    """Terms to log, from each layer's error rates by task: error rate by layer, and the best layer.

    The best has the lowest mean over tasks. Layers are counted from 1, as in the paper.
    """
    curves = {
        task: {"layers": {f"{n:02}": rates[task] for n, rates in enumerate(layers, 1)}}
        for task in layers[0]
    }
    means = [np.mean(list(rates.values())) for rates in layers]
    return {"eval": curves, "best_layer": int(np.argmin(means)) + 1}


def best_layer(source: checkpoints.Checkpoint) -> int:
    """The best layer of a probe by its metrics; ConfigError: none up to the checkpoint's step."""
    rows = disk.read_rows(source.folder / disk.METRICS, "step")
    logged = [row.get("best_layer") for row in rows if row["step"] <= source.step]
    found = [best for best in logged if best in range(1, source.stage.model.encoder.layers + 1)]
    if not found:
        cure = "give that stage eval.tasks, or set model.quantizer.layer to a number"
        raise ConfigError(f"init.probe={source.label}: it never scored its layers: {cure}")
    return int(found[-1])
