"""What frozen layers, and the labels of self-supervision, know of phones.

The alignment of synthesised speech says which phone stands at the middle of each encoder frame. A
linear classifier by least squares is fitted on one source and scored on another.

Dims: B batch, T encoder frames, D width, L layers, N frames of a source, P phones, K codes.
"""

import dataclasses

from flax import nnx
import jax
import numpy as np

from seedasr_jax import checkpoint as checkpoints
from seedasr_jax.data_pipelines import loader
from seedasr_jax.decode import recogniser
from seedasr_jax.launch import probe
from seedasr_jax.models import encoders, frontends
from seedasr_jax.models.acllm import AcLLM
from seedasr_jax.quantize.random_projection import stack
from seedasr_jax.train import objectives

BUCKETS = ((2.2, 200, 16), (5.6, 400, 8))
RIDGE = 10.0  # added to the diagonal; features have variance 1


@dataclasses.dataclass(frozen=True)
class Heard:
    """The frames of a source that carry a phone: what they are, and their place in each batch."""

    batches: tuple
    places: tuple[np.ndarray, ...]  # [n 2] row and frame of each, batch by batch
    phones: np.ndarray  # [N] str


def hear(source: str, vocab, stage, cache) -> Heard:
    """Opens a source with alignments."""
    options = dict(buckets=BUCKETS, data_folder=cache, prompted=False)
    options["normalizer"] = stage.data.normalizer
    seconds = encoders.clock(stage.model).seconds(1)
    batches, places, phones = [], [], []
    for batch, rows in loader.evaluation(source, vocab, **options):
        own = []
        for place, row in enumerate(rows):
            if row is None or row.alignment is None:
                continue
            starts = [start for start, _ in row.alignment.phones]
            for frame in range(int(row.seconds / seconds)):
                at = np.searchsorted(starts, (frame + 0.5) * seconds, "right") - 1
                if at >= 0:
                    own.append((place, frame))
                    phones.append(row.alignment.phones[at][1])
        batches.append(batch)
        places.append(np.array(own, int).reshape(-1, 2))
    return Heard(tuple(batches), tuple(places), np.array(phones))


def _gather(heard, function):
    """[... N D] of `function(batch)` [... B T D]."""
    found = [
        np.asarray(function(batch))[..., at[:, 0], at[:, 1], :]
        for batch, at in zip(heard.batches, heard.places)
    ]
    return np.concatenate(found, -2)


def _mel(model, batch):
    return frontends.make(model.encoder.frontend)(batch.wave, batch.wave_length)


def layers(encoder_of, heard: Heard) -> np.ndarray:
    """[L N D] of an encoder, by a pair (graphdef, state) of a model that has one."""
    graphdef, state = encoder_of

    @jax.jit
    def run(state, batch):
        model = nnx.merge(graphdef, state)
        return model.encoder.every_layer(*_mel(model.config, batch))[0]

    return _gather(heard, lambda batch: run(state, batch))


def inputs(stage, heard: Heard) -> np.ndarray:
    """[N D] what the encoder hears: the mel frames of each encoder frame."""
    size = encoders.clock(stage.model).stride
    run = jax.jit(lambda batch: stack(*_mel(stage.model, batch), size)[0])
    return _gather(heard, run)


def untrained(stage, vocab):
    """A model whose encoder is drawn from the stage's seed."""
    tokens, rngs = recogniser.special_tokens(vocab), nnx.Rngs(stage.seed)
    return nnx.split(AcLLM(stage.model, tokens, vocab.size, ("encoder",), remat="none", rngs=rngs))


def trained(checkpoint, vocab, parts=("encoder",)):
    """A model with parts of a checkpoint."""
    graphdef, state = recogniser.abstract(checkpoint.stage.model, vocab, parts)
    for part in parts:
        state = checkpoints.fill(state, checkpoint.load(part))
    return graphdef, state


def labels(workdir, name, vocab, heard: Heard) -> np.ndarray:
    """[N] what a stage of self-supervision would have predicted, of several labels the middle."""
    opened = checkpoints.open_checkpoint(workdir / name)
    stage = opened.stage
    if stage.kind == "ssl2" and not stage.model.quantizer.layer:
        best = probe.best_layer(checkpoints.open_checkpoint(workdir / "probe"))
        stage = stage.at_layer(best)
    objective = objectives.make(stage, recogniser.special_tokens(vocab), vocab.size)
    parts = tuple(part for part in objective.needs.parts if part not in ("encoder", "ssl_head"))
    graphdef, _ = recogniser.abstract(stage.model, vocab, parts)
    _, state = trained(opened, vocab, parts)

    @jax.jit
    def run(state, batch):
        model = nnx.merge(graphdef, state)
        found = objective.labels(model, *_mel(stage.model, batch))
        return found[:, stage.model.small.labels // 2 :: stage.model.small.labels, None]

    return _gather(heard, lambda batch: run(state, batch))[:, 0]


def accuracy(train, train_phones, test, test_phones) -> float:
    """Share of the test's frames [N D] that a linear classifier fitted on `train` [N D] names."""
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
    """Share of the test's frames that carry the commonest phone of `train`."""
    names, counts = np.unique(train_phones, return_counts=True)
    return float((test_phones == names[counts.argmax()]).mean())


def shared(codes, phones) -> float:
    """What codes tell of phones: mutual information over the phones' entropy (PNMI of HuBERT)."""
    _, a = np.unique(codes, return_inverse=True)
    names, b = np.unique(phones, return_inverse=True)
    joint = np.bincount(a * len(names) + b, minlength=(a.max() + 1) * len(names))
    joint = joint.reshape(-1, len(names)) / len(a)
    rows, columns = joint.sum(1), joint.sum(0)
    product = rows[:, None] * columns[None]
    real = joint > 0
    information = (joint[real] * np.log(joint[real] / product[real])).sum()
    return float(information / -(columns * np.log(columns)).sum())
