"""Analytic FLOPs: products of matrices, 2 for a multiplication and its addition.

Only work that the method asks for counts: no padding of a vocabulary, no score that a causal mask
throws away, nothing that is computed again for lack of memory. Norms, softmax, the log-mel front
and losses are left out, together less than a hundredth of a full-size model.

Dims: B utterances, T mel frames, R subsampling, D encoder width, P prompt, C context, U speech and
L transcript tokens, N hypotheses, E decoder width, V vocabulary, K codes.
"""

import collections.abc
import dataclasses

from seedasr_jax import config

# Part -> those whose output it reads with gradients.
_BEFORE = dict.fromkeys(("ctc_head", "phone_head", "ssl_head", "converter"), ("encoder",))
_BEFORE["decoder"] = ("encoder", "ctc_head", "converter")
_DEEP = ("encoder", "decoder")  # of many layers: gradients pass between them


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What a batch holds, all of it real."""

    utterances: int
    frames: int  # of 10 ms, of each
    prompt: int
    context: int
    tokens: int
    hypotheses: int = 0


def forward(
    model: config.Model, vocabulary: int, parts: collections.abc.Iterable[str], sizes: Sizes
) -> dict[str, float]:
    """FLOPs of one forward pass over a batch, by part.

    Args:
        model: sizes of the parts.
        vocabulary: pieces of the tokenizer.
        parts: those that run.
        sizes: of the batch.
    """
    heard = -(-sizes.frames // model.encoder.subsampling)  # encoder frames of an utterance
    spoken = -(-heard // model.converter.splice)
    width, rows, codes = model.encoder.width, sizes.utterances, model.quantizer.codes

    def frames(outputs):
        return 2.0 * rows * heard * width * outputs

    def quantizer():
        size = model.encoder.subsampling // model.small.labels
        labels, wide = -(-sizes.frames // size), model.quantizer.width
        return 2.0 * rows * labels * (size * model.features.width + codes) * wide

    def language_model():
        before = sizes.prompt + sizes.context + (spoken if "converter" in parts else 0)
        lists = rows * (sizes.hypotheses + 1)
        of_one = decoder(model.decoder, before + sizes.tokens + 1)
        return lists * (of_one + logits(model.decoder, vocabulary) * (sizes.tokens + 1))

    of = {
        "encoder": lambda: encoder(model, sizes.frames, rows),
        "teacher": lambda: encoder(model, sizes.frames, rows, model.quantizer.layer),
        "quantizer": quantizer,
        "codebook": lambda: frames(codes),
        "ssl_head": lambda: frames(codes * model.small.labels),
        "ctc_head": lambda: frames(vocabulary),
        "phone_head": lambda: frames(2 * model.small.phones),
        "probe": lambda: model.encoder.layers * frames(vocabulary),
        "converter": lambda: frames(model.decoder.width),
        "decoder": language_model,
    }
    return {part: of[part]() for part in parts}


def encoder(model: config.Model, frames: int, utterances: int = 1, lowest: int = 0) -> float:
    """Of utterances of that many mel frames; what a distance is to a head, once for all of them.

    `lowest`: so many layers run, the lowest; 0: all.
    """
    e, time, bins = model.encoder, frames, model.features.width
    if e.front == "stack":
        time = -(-frames // e.subsampling)
        total = 2.0 * time * e.subsampling * bins * e.width
    else:
        total, inputs = 0.0, 1
        for _ in range(e.subsampling.bit_length() - 1):
            time, bins = -(-time // 2), -(-bins // 2)
            total += 2.0 * time * bins * 9 * inputs * e.channels
            inputs = e.channels
        total += 2.0 * time * bins * e.channels * e.width
    feedforward = 2 * 2 * e.width * e.ffn_dim
    convolution = (3 * e.width + e.kernel) * e.width
    projections = 4 * e.width * e.width
    scores = 3 * time * e.width  # by content, by distance, and the values
    layers = lowest or e.layers
    attending = max(0, layers - (e.layers - (e.attending or e.layers)))
    distances = 0 if e.clip else 2 * time * e.width * e.width
    total += layers * 2.0 * time * (feedforward + convolution)
    total += attending * 2.0 * time * (projections + scores)
    return utterances * total + attending * 2.0 * distances


def decoder(d: config.Decoder, tokens: int) -> float:
    """Of one sequence of that many tokens, no logits; a token sees itself and those before."""
    queries, keys = d.heads * d.head_dim, d.kv_heads * d.head_dim
    layer = 2 * d.width * (queries + keys)
    layer += 3 * d.width * d.ffn_dim * (d.moe.active if d.moe.experts else 1)
    layer += d.width * d.moe.experts  # the router
    scores = 2 * queries * (tokens + 1) / 2
    return d.layers * 2.0 * tokens * (layer + scores)


def logits(d: config.Decoder, vocabulary: int) -> float:
    """Of one token."""
    return 2.0 * d.width * (d.vocabulary or vocabulary)


def train(stage: config.Stage, vocabulary: int, parts, sizes: Sizes) -> dict[str, float]:
    """FLOPs of a training step, by part: see `passes`.

    Args:
        stage: what trains, and its model.
        vocabulary, parts, sizes: as of `forward`.
    """
    trains = {"decoder" if part == "lora" else part for part in stage.trains}
    adapted = "lora" in stage.trains and "decoder" not in stage.trains
    return {
        part: amount * (passes(part, trains) - (adapted and part == "decoder"))
        for part, amount in forward(stage.model, vocabulary, parts, sizes).items()
    }


def passes(part: str, trains: collections.abc.Container[str]) -> int:
    """1 forward; 1 more for gradients of activations, 1 more for those of weights.

    A frozen part behind one that trains passes gradients on; one with nothing that trains before
    it needs none, and a single layer that trains has no use for them either.
    """
    own, before = part in trains, any(other in trains for other in _BEFORE.get(part, ()))
    return 1 + own + (before or (own and part in _DEEP))
