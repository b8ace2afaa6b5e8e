"""Parts that the variant `small` replaces, and those that it adds."""

import dataclasses
import functools

from seedasr_jax.models import encoders, names, parts
from seedasr_jax.models.clock import Strided
from seedasr_jax.small.models.decoder import ReadingDecoder
from seedasr_jax.small.models.devices import SplitHead

KIND = "small"  # of model.variant
PHONE_HEAD = "phone_head"


@functools.lru_cache(maxsize=4)
def texts(vocab) -> tuple[str, ...]:
    """Spelling of each piece of a tokenizer; () without a tokenizer."""
    return () if vocab is None else tuple(vocab.decode([piece]) for piece in range(vocab.size))


def _decoder(model, vocabulary, *, tokens, **options):
    spelled = texts(tokens.vocab) if model.variant.spelled else ()
    more = dict(lora=model.lora, variant=model.variant, texts=spelled)
    return ReadingDecoder(model.decoder, vocabulary, **more, **options)


def label_clock(model) -> Strided:
    """The clock of the labels of self-supervision, `model.variant.labels` per encoder frame."""
    clock = encoders.strided_clock(model)
    return dataclasses.replace(clock, stride=clock.stride // model.variant.labels)


def _phone_head(model, _vocabulary, *, dtype, rngs, **_):
    options = dict(each=2, dtype=dtype, rngs=rngs)
    return SplitHead(model.encoder.width, model.variant.phones, **options)


def _ssl_head(model, _vocabulary, *, dtype, rngs, **_):
    options = dict(each=model.variant.labels, dtype=dtype, rngs=rngs)
    return SplitHead(model.encoder.width, model.quantizer.codes, **options)


def _quantizer(model, _vocabulary, *, rngs, **_):
    return parts.quantizer(model, label_clock(model), rngs)


def _quantizer_flops(model, _vocabulary, sizes, _parts):
    return parts.quantizer_flops(model, sizes, label_clock(model))


def _ssl_head_flops(model, vocabulary, sizes, running):
    one = parts.lookup(names.SSL_HEAD).flops(model, vocabulary, sizes, running)
    return one * model.variant.labels


def _register(name, **changes):
    parts.register(dataclasses.replace(parts.lookup(name), **changes), KIND)


_register(names.DECODER, make=_decoder)
_register(names.SSL_HEAD, make=_ssl_head, flops=_ssl_head_flops)
_register(names.QUANTIZER, make=_quantizer, flops=_quantizer_flops)
_phones = parts.by_frame(lambda model, vocabulary: 2 * model.variant.phones)
parts.register(parts.Part(PHONE_HEAD, _phone_head, _phones, follows=(names.ENCODER,)))
