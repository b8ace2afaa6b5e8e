"""Decoders by kind, selected by their options; `config.imports` may add kinds.

    @config.register("mine", "my_models:Mine")  # decorates the options, a config.Decoder subclass

`Mine(options, vocabulary, *, lora, remat, dtype, rngs)` is a Decoder; models/decoder.py is an
example. `vocabulary` is the number of the tokenizer's pieces, `lora` the model's config.Lora.

Dims: B batch, N positions, W hypotheses, E width, V vocabulary.
"""

from flax import nnx

from seedasr_jax import config, errors


def _lacks(options, method):
    return errors.lacks("model.decoder", options, method, "models/decoder.py")


class Decoder(nnx.Module):
    """Base class of decoders: causal language models over embeddings at explicit positions."""

    def __init__(self, options: config.Decoder, vocabulary: int, dtype):
        self.config, self.dtype = options, dtype
        self.vocabulary = vocabulary  # pieces; further rows of a published embedding are masked
        self.rows = options.vocabulary or vocabulary

    def embed_tokens(self, ids, *, in_context=False):
        """Embeds consecutive tokens, of a context or not: [B N] int32 -> [B N E].

        A kind or a variant may embed a token by the previous ones; it then overrides `memory` and
        `embed_next` too.
        """
        raise _lacks(self.config, "embed_tokens")

    def memory(self, rows: int, count: int):
        """Initial memory of `embed_next`: a pytree of arrays [B W ...], here None."""
        del rows, count

    def embed_next(self, ids, memory):
        """Embeds the next tokens [B W], as `embed_tokens` would in the full sequence: [B W E].

        `memory`: from the previous step, initially `memory(B, W)`; the next one is returned.
        """
        return self.embed_tokens(ids), memory

    def __call__(self, x, positions, valid):
        """Embeddings [B N E] at `positions` [B N] int32 -> [B N E], the input of `logits`.

        Positions that are not `valid` [B N] bool are ignored. The moe.Routing [L ...] of all layers
        is returned too, None without experts; options of a decoder that returns it have a `moe`.
        """
        raise _lacks(self.config, "__call__")

    def prefill(self, x, positions, valid, count: int, room: int):
        """The cache.KVCache of a prefix [B N ...], for `count` hypotheses of `room` tokens each."""
        raise _lacks(self.config, "prefill")

    def decode_step(self, x, positions, cache):
        """One more token of each hypothesis: embeddings [B W E] at positions [B W] int32.

        Returns the input of `logits`, [B W E], and the new cache.
        """
        raise _lacks(self.config, "decode_step")

    def logits(self, x):
        """[... E] -> [... V] float32, shapes.NEVER at vocabulary padding."""
        raise _lacks(self.config, "logits")

    def nll(self, x, targets, valid):
        """[B N E], [B N] int32 -> [B N] float32, -log P of the targets where `valid` [B N]."""
        raise _lacks(self.config, "nll")

    @staticmethod
    def cache_sizes(options: config.Decoder) -> tuple[int, int, int]:
        """Sizes of a KVCache: layers, key-value heads and their width."""
        raise _lacks(options, "cache_sizes")

    @staticmethod
    def flops(options: config.Decoder, tokens: int) -> float:
        """FLOPs of a forward pass over one sequence of `tokens` tokens, without logits."""
        raise _lacks(options, "flops")

    @staticmethod
    def logits_flops(options: config.Decoder, vocabulary: int) -> float:
        """FLOPs of the logits of one token."""
        return 2.0 * options.width * (options.vocabulary or vocabulary)


def make(model: config.Model, vocabulary: int, **options) -> Decoder:
    """Builds the decoder of a model; `options` are remat, dtype and rngs."""
    return model.decoder.maker()(model.decoder, vocabulary, lora=model.lora, **options)


def cache_sizes(model: config.Model) -> tuple[int, int, int]:
    """As `Decoder.cache_sizes`."""
    return model.decoder.maker().cache_sizes(model.decoder)


def flops(model: config.Model, tokens: int) -> float:
    """As `Decoder.flops`."""
    return model.decoder.maker().flops(model.decoder, tokens)


def logits_flops(model: config.Model, vocabulary: int) -> float:
    """As `Decoder.logits_flops`."""
    return model.decoder.maker().logits_flops(model.decoder, vocabulary)
