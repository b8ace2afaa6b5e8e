"""Reads another project's config.json strictly: each key is used, known to be inert, or refused."""

from collections.abc import Mapping

from seedasr_jax.errors import ConfigError

_REQUIRED = object()
# Keys of transformers' PreTrainedConfig that change neither shapes nor values of a forward pass.
INERT = (
    *("_attn_implementation_autoset", "_name_or_path", "architectures", "model_type"),
    *("dtype", "torch_dtype", "use_bfloat16"),  # tensors keep the type that they are stored in
    *("transformers_version", "use_cache", "tokenizer_class", "finetuning_task", "prefix"),
    # Special tokens are read from the tokenizer and from generation_config.json.
    *("bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "decoder_start_token_id"),
    *("id2label", "label2id", "problem_type", "task_specific_params"),
    *("output_attentions", "output_hidden_states", "output_scores", "return_dict"),
    *("return_dict_in_generate", "remove_invalid_values", "torchscript", "tf_legacy_loss"),
    *("pruned_heads", "chunk_size_feed_forward", "gradient_checkpointing"),
    # Initialisation and regularisation, which recipes state.
    *("initializer_range", "initializer_factor", "init_std", "dropout", "activation_dropout"),
    *("attention_dropout", "hidden_dropout", "layerdrop", "encoder_layerdrop"),
    # Generation, of which configs of transformers 4 contain the defaults.
    *("bad_words_ids", "begin_suppress_tokens", "diversity_penalty", "do_sample", "early_stopping"),
    *("encoder_no_repeat_ngram_size", "exponential_decay_length_penalty", "forced_bos_token_id"),
    *("forced_eos_token_id", "forced_decoder_ids", "length_penalty", "max_length", "min_length"),
    *("no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_return_sequences"),
    *("repetition_penalty", "suppress_tokens", "temperature", "top_k", "top_p", "typical_p"),
)
# Keys of PreTrainedConfig with the only value that is supported.
_ONLY = dict(
    add_cross_attention=False,
    cross_attention_hidden_size=None,
    is_decoder=False,
    tie_encoder_decoder=False,
)


class Keys:
    """The keys of one JSON object of a config that have not been read yet.

    Attributes:
        where: file and group of keys, for errors.
    """

    def __init__(self, tree: Mapping, where: str):
        self.where, self._left = where, dict(tree)

    def __contains__(self, name):
        return name in self._left

    def take(self, name: str, kind: type = int, default=_REQUIRED, also: str = ""):
        """Reads a key of a type; None counts as absent. `also`: its name in another generation.

        Raises:
            ConfigError: it is missing without a default, or has another type.
        """
        names = [one for one in (name, also) if one]
        found = [value for one in names if (value := self._left.pop(one, None)) is not None]
        if not found:
            if default is _REQUIRED:
                raise ConfigError(f"{self.where}: {' or '.join(names)} is missing")
            return default
        if len(found) == 2 and found[0] != found[1]:
            raise ConfigError(f"{self.where}: {name} = {found[0]!r}, but {also} = {found[1]!r}")
        value = found[0]
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ConfigError(f"{self.where}: {name}: expected {kind.__name__}, found {value!r}")
        return value

    def group(self, name: str, also: str = "") -> "Keys":
        """Reads a key that holds an object; {} if it is absent."""
        return Keys(self.take(name, dict, {}, also), f"{self.where}.{name}")

    def put(self, name: str, value) -> None:
        """Replaces a key that is to be read again."""
        self._left[name] = value

    def expect(self, name: str, supported, *, absent=None) -> None:
        """Reads a key of which a single value is supported; `absent`: its value where it is absent.

        Raises:
            ConfigError: it has another value.
        """
        value = self._left.pop(name, None)
        value = absent if value is None else value
        if value is not None and not _equal(value, supported):
            only = f"only {supported!r} is"
            raise ConfigError(f"{self.where}: {name} = {value!r} is not supported: {only}")

    def ignore(self, *names: str) -> None:
        """Drops keys that change nothing here."""
        for name in names:
            self._left.pop(name, None)

    def finish(self) -> None:
        """Raises a ConfigError that names each key that has not been read, with its value."""
        self.ignore(*INERT)
        for name, value in _ONLY.items():
            self.expect(name, value)
        left = {name: value for name, value in self._left.items() if value is not None}
        if left:
            named = ", ".join(f"{name} = {value!r}" for name, value in left.items())
            raise ConfigError(
                f"{self.where}: {named}: not known to this seedasr_jax, which would ignore it"
            )


def _equal(value, other):
    return value == other and isinstance(value, bool) == isinstance(other, bool)
