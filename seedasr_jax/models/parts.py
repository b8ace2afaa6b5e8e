"""The registry of parts: modules that stages build, train and hand over.

The model, FLOPs, the hand-over between stages, decoding methods, the optimiser and the command line
read it. Modules in `config.imports` may add parts.
"""

from collections.abc import Callable, Iterable
import dataclasses

from flax import nnx

from seedasr_jax import config, errors
from seedasr_jax.config import code
from seedasr_jax.models import converters, decoders, encoders, names
from seedasr_jax.models.clock import Strided
from seedasr_jax.models.head import Head
from seedasr_jax.models.probe import Probe
from seedasr_jax.quantize.kmeans import KMeans
from seedasr_jax.quantize.random_projection import RandomProjection

GREEDY, BEAM, CTC = "greedy", "beam", "ctc"  # kinds of decoding: all that decode/ implements


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of a batch without padding; all but `utterances` are per utterance."""

    utterances: int
    samples: int
    prompt: int
    context: int
    tokens: int
    hypotheses: int = 0
    suffix: int = 0


@dataclasses.dataclass(frozen=True)
class Part:
    """A part: `make(model, vocabulary, *, tokens, remat, dtype, rngs)` builds its module.

    `flops(model, vocabulary, sizes, parts)` counts a forward pass over a batch; `parts` run in it.
    """

    name: str
    make: Callable[..., nnx.Module] | None  # None: another part's module contains it
    flops: Callable[[config.Model, int, Sizes, tuple[str, ...]], float]
    follows: tuple[str, ...] = ()  # parts whose output it reads, with gradients
    groups: tuple[str, ...] = ()  # groups of config.Model that determine its shapes or values
    deep: bool = False  # many layers, between which gradients of activations pass
    pieces: bool = False  # its rows are the vocabulary's pieces
    inside: str = ""  # the part whose module contains it
    needs: tuple[str, ...] = ()  # parts that its decoding requires
    decodes: tuple[str, ...] = ()  # kinds of decoding that it enables: GREEDY, BEAM, CTC
    informed: bool = False  # may learn to read contexts


_PARTS: dict[str, Part] = {}
_VARIANTS: dict[tuple[str, str], Part] = {}  # by (variant, name); override _PARTS


def register(part: Part, variant: str = "") -> None:
    """Adds or replaces the part of that name; `variant`: only for models of that variant.

    A built-in part never replaces another module's: the built-in module may be imported later. A
    ConfigError is raised if modules of two users register one.
    """
    table, key = (_VARIANTS, (variant, part.name)) if variant else (_PARTS, part.name)
    if code.replaces(f"part {part.name!r}" + f" of variant {variant!r}" * bool(variant)):
        table[key] = part


def lookup(name: str, variant: str = "") -> Part:
    """The part of that name in models of a variant.

    Raises:
        ConfigError: there is none; names the nearest.
    """
    config.import_all_later()
    found = _VARIANTS.get((variant, name)) or _PARTS.get(name)
    if found is None:
        raise errors.unregistered("part", name, _PARTS)
    return found


def known() -> tuple[str, ...]:
    """Names of all parts."""
    config.import_all_later()
    return tuple(_PARTS)


def with_inner(parts: Iterable[str]) -> tuple[str, ...]:
    """The parts and those inside one of them."""
    parts = tuple(parts)
    return parts + tuple(name for name, part in _PARTS.items() if part.inside in parts)


def holder(name: str) -> str:
    """The part whose module contains a part: itself, unless it is inside another one."""
    return lookup(name).inside or name


def of_group(group: str) -> tuple[str, ...]:
    """Parts that depend on a group of config.Model."""
    return tuple(name for name, part in _PARTS.items() if group in part.groups)


def decodings(parts: Iterable[str]) -> tuple[str, ...]:
    """Kinds of decoding that a model with these parts supports, in the order GREEDY, BEAM, CTC."""
    parts = tuple(parts)
    able = [lookup(name) for name in parts if set(lookup(name).needs) <= set(parts)]
    return tuple(k for k in (GREEDY, BEAM, CTC) if any(k in part.decodes for part in able))


def _frames(model, sizes):
    """Encoder frames per utterance."""
    return encoders.clock(model).frames(sizes.samples)


def by_frame(outputs):
    """`Part.flops` of a linear layer over encoder frames, `outputs(model, vocabulary)` wide."""

    def flops(model, vocabulary, sizes, _parts):
        rows = sizes.utterances * _frames(model, sizes)
        return 2.0 * rows * model.encoder.width * outputs(model, vocabulary)

    return flops


def _encoder_flops(model, _vocabulary, sizes, _parts):
    return encoders.flops(model, sizes.samples, sizes.utterances)


def _teacher_flops(model, _vocabulary, sizes, _parts):
    return encoders.flops(model, sizes.samples, sizes.utterances, model.quantizer.layer)


def _quantizer_flops(model, _vocabulary, sizes, _parts):
    return quantizer_flops(model, sizes, encoders.strided_clock(model))


def quantizer_flops(model: config.Model, sizes: Sizes, clock: Strided) -> float:
    """FLOPs of computing one label for each frame of a clock."""
    width = model.quantizer.width
    labels, inputs = clock.frames(sizes.samples), clock.stride * model.encoder.frontend.width
    return 2.0 * sizes.utterances * labels * (inputs + model.quantizer.codes) * width


def _decoder_flops(model, vocabulary, sizes, parts):
    outputs = sizes.tokens + 1
    inputs = sizes.prompt + sizes.context + sizes.suffix + outputs
    if names.CONVERTER in parts:
        inputs += converters.tokens(model, _frames(model, sizes))
    logits = decoders.logits_flops(model, vocabulary) * outputs
    transcripts = sizes.utterances * (sizes.hypotheses + 1)
    return transcripts * (decoders.flops(model, inputs) + logits)


def _encoder(model, _vocabulary, *, remat, dtype, rngs, **_):
    return encoders.make(model, remat=remat, dtype=dtype, rngs=rngs)


def _ctc_head(model, vocabulary, *, dtype, rngs, **_):
    return Head(model.encoder.width, vocabulary, dtype=dtype, rngs=rngs)


def _converter(model, _vocabulary, *, dtype, rngs, **_):
    return converters.make(model, dtype=dtype, rngs=rngs)


def _decoder(model, vocabulary, *, remat, dtype, rngs, **_):
    return decoders.make(model, vocabulary, remat=remat, dtype=dtype, rngs=rngs)


def _ssl_head(model, _vocabulary, *, dtype, rngs, **_):
    return Head(model.encoder.width, model.quantizer.codes, dtype=dtype, rngs=rngs)


def _quantizer(model, _vocabulary, *, rngs, **_):
    return quantizer(model, encoders.strided_clock(model), rngs)


def quantizer(model: config.Model, clock: Strided, rngs) -> RandomProjection:
    """The quantizer that computes one label for each frame of a clock."""
    labels = model.quantizer
    shape = dict(size=clock.stride, codes=labels.codes, width=labels.width)
    return RandomProjection(model.encoder.frontend.width, **shape, rngs=rngs)


def _codebook(model, _vocabulary, **_):
    return KMeans(model.encoder.width, codes=model.quantizer.codes)


def _probe(model, vocabulary, *, remat, dtype, rngs, **_):
    options = dict(remat=remat, dtype=dtype, rngs=rngs)
    return Probe(model.encoder.layers, model.encoder.width, vocabulary, **options)


_after_encoder = dict(follows=(names.ENCODER,))
_codes = by_frame(lambda model, vocabulary: model.quantizer.codes)
_pieces = by_frame(lambda model, vocabulary: vocabulary)
_pieces_by_layer = by_frame(lambda model, vocabulary: model.encoder.layers * vocabulary)
_embeddings = by_frame(lambda model, vocabulary: model.decoder.width)

register(Part(names.ENCODER, _encoder, _encoder_flops, groups=("encoder",), deep=True))
register(Part(names.CTC_HEAD, _ctc_head, _pieces, pieces=True, decodes=(CTC,), **_after_encoder))
_options = dict(groups=("converter",), informed=True)
register(Part(names.CONVERTER, _converter, _embeddings, **_options, **_after_encoder))
register(
    Part(
        names.DECODER,
        _decoder,
        _decoder_flops,
        follows=(names.ENCODER, names.CTC_HEAD, names.CONVERTER),
        groups=("decoder", "lora", "prompt"),
        deep=True,
        pieces=True,
        needs=(names.ENCODER,),
        decodes=(GREEDY, BEAM),
        informed=True,
    )
)
register(Part(names.LORA, None, lambda *_: 0.0, inside=names.DECODER, informed=True))
register(Part(names.SSL_HEAD, _ssl_head, _codes, groups=("quantizer",), **_after_encoder))
register(Part(names.QUANTIZER, _quantizer, _quantizer_flops, groups=("quantizer",)))
register(Part(names.TEACHER, _encoder, _teacher_flops, groups=("encoder", "quantizer")))
register(Part(names.CODEBOOK, _codebook, _codes, groups=("quantizer",)))
register(Part(names.PROBE, _probe, _pieces_by_layer, pieces=True))
