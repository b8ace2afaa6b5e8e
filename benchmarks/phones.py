"""Phone information in frozen encoder layers and in the labels of self-supervision.

The alignment of synthesised speech gives the phone at the middle of each encoder frame. A linear
classifier is fitted by least squares on one source and scored on another.

Dims: B batch, T encoder frames, D width, L layers, N frames of a source, P phones, K codes.
"""

import dataclasses

from flax import nnx
import jax
import numpy as np

from seedasr_jax import checkpoint as checkpoints
from seedasr_jax.data_pipelines import loader
from seedasr_jax.decode import recogniser
from seedasr_jax.evaluate import probe
from seedasr_jax.models import acllm, encoders, frontends
from seedasr_jax.quantize.random_projection import stack
from seedasr_jax.train import objectives

BUCKETS = ((2.2, 200, 16), (5.6, 400, 8))
RIDGE = 10.0  # added to the diagonal; features have variance 1


@dataclasses.dataclass(frozen=True)
class Aligned:
    """The frames of a source that have a phone."""

    batches: tuple
    places: tuple[np.ndarray, ...]  # per batch [n 2], row and frame of each
    phones: np.ndarray  # [N] str


def align(source: str, vocab, stage, cache) -> Aligned:
    """Reads a source with alignments."""
    options = dict(buckets=BUCKETS, data_folder=cache, template=None)
    options["normalizer"] = stage.data.normalizer
    seconds = encoders.clock(stage.model).seconds(1)
    batches, places, phones = [], [], []
    for batch, rows in loader.evaluation(source, vocab, **options):
        found = []
        for place, row in enumerate(rows):
            if row is None or row.alignment is None:
                continue
            starts = [start for start, _ in row.alignment.phones]
            for frame in range(int(row.seconds / seconds)):
                at = np.searchsorted(starts, (frame + 0.5) * seconds, "right") - 1
                if at >= 0:
                    found.append((place, frame))
                    phones.append(row.alignment.phones[at][1])
        batches.append(batch)
        places.append(np.array(found, int).reshape(-1, 2))
    return Aligned(tuple(batches), tuple(places), np.array(phones))


def _gather(aligned, function):
    """[... N D]: `function(batch)`, [... B T D], at the aligned frames of all batches."""
    found = [
        np.asarray(function(batch))[..., place[:, 0], place[:, 1], :]
        for batch, place in zip(aligned.batches, aligned.places)
    ]
    return np.concatenate(found, -2)


def _mel(model, batch):
    return frontends.make(model.encoder.frontend)(batch.wave, batch.wave_length)


def layers(split_model, aligned: Aligned) -> np.ndarray:
    """[L N D] outputs of all encoder layers of a model, given as (graphdef, state)."""
    graphdef, state = split_model

    @jax.jit
    def run(state, batch):
        model = nnx.merge(graphdef, state)
        return model.encoder.every_layer(*_mel(model.config, batch))[0]

    return _gather(aligned, lambda batch: run(state, batch))


def inputs(stage, aligned: Aligned) -> np.ndarray:
    """[N D] inputs of the encoder: the stacked mel frames of each encoder frame."""
    size = encoders.clock(stage.model).stride
    run = jax.jit(lambda batch: stack(*_mel(stage.model, batch), size)[0])
    return _gather(aligned, run)


def untrained(stage, vocab):
    """A model, (graphdef, state), whose encoder is drawn from the stage's seed."""
    tokens, rngs = recogniser.special_tokens(vocab, stage.model.prompt), nnx.Rngs(stage.seed)
    options = dict(remat="none", rngs=rngs)
    return nnx.split(acllm.make(stage.model, tokens, vocab.size, ("encoder",), **options))


def trained(checkpoint, vocab, parts=("encoder",)):
    """A model, (graphdef, state), with parts of a checkpoint."""
    graphdef, state = recogniser.abstract(checkpoint.stage.model, vocab, parts)
    for part in parts:
        state = checkpoints.fill(state, checkpoint.load(part))
    return graphdef, state


def labels(workdir, name, vocab, aligned: Aligned) -> np.ndarray:
    """[N] labels of a stage of self-supervision; of several labels per frame, the middle one."""
    opened = checkpoints.open_checkpoint(workdir / name)
    stage = opened.stage
    if stage.kind == "ssl2" and not stage.model.quantizer.layer:
        best = probe.best_layer(checkpoints.open_checkpoint(workdir / "probe"))
        stage = stage.at_layer(best)
    tokens = recogniser.special_tokens(vocab, stage.model.prompt)
    objective = objectives.make(stage, tokens, vocab.size)
    parts = tuple(part for part in objective.needs.parts if part not in ("encoder", "ssl_head"))
    graphdef, _ = recogniser.abstract(stage.model, vocab, parts)
    _, state = trained(opened, vocab, parts)

    @jax.jit
    def run(state, batch):
        model = nnx.merge(graphdef, state)
        found = objective.labels(model, *_mel(stage.model, batch))
        return found[:, stage.model.variant.labels // 2 :: stage.model.variant.labels, None]

    return _gather(aligned, lambda batch: run(state, batch))[:, 0]


def accuracy(train, train_phones, test, test_phones) -> float:
    """Accuracy on `test` [N D] of a linear classifier that is fitted on `train` [N D]."""
    names, wanted = np.unique(train_phones, return_inverse=True)
    mean, deviation = train.mean(0), train.std(0) + 1e-3

    def features(x):
        x = (x.astype(np.float64) - mean[None]) / deviation[None]
        return np.concatenate([x, np.ones((len(x), 1))], 1)

    x = features(train)
    normal = x.T @ x + RIDGE * np.eye(x.shape[1])
    weights = np.linalg.solve(normal, x.T @ np.eye(len(names))[wanted])
    return float((names[(features(test) @ weights).argmax(1)] == test_phones).mean())


def majority(train_phones, test_phones) -> float:
    """Accuracy of always predicting the most frequent phone of `train`."""
    names, counts = np.unique(train_phones, return_counts=True)
    return float((test_phones == names[counts.argmax()]).mean())


def information(codes, phones) -> float:
    """Mutual information of codes and phones over the phones' entropy (PNMI of HuBERT)."""
    _, a = np.unique(codes, return_inverse=True)
    names, b = np.unique(phones, return_inverse=True)
    joint = np.bincount(a * len(names) + b, minlength=(a.max() + 1) * len(names))
    joint = joint.reshape(-1, len(names)) / len(a)
    rows, columns = joint.sum(1), joint.sum(0)
    product = rows[:, None] * columns[None]
    occurring = joint > 0
    mutual = (joint[occurring] * np.log(joint[occurring] / product[occurring])).sum()
    return float(mutual / -(columns * np.log(columns)).sum())
