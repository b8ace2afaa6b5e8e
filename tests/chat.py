"""A chat template in Qwen's form, and a small tokenizer that has its special tokens."""

import json
import pathlib

import tokenizers

from seedasr_jax.text import vocab

SPECIAL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|audio_bos|>", "<|audio_eos|>")
_ASKED = "{speech}<|audio_eos|>Transcribe {language}.<|im_end|>\n<|im_start|>assistant\n"
PROMPT = dict(
    plain=(f"<|im_start|>user\n<|audio_bos|>{_ASKED}",),
    context=(f"<|im_start|>user\nHints: {{context}}. Listen.<|audio_bos|>{_ASKED}",),
    answer="{text}",
    ends=("<|im_end|>", "<|endoftext|>"),
)
TEXTS = [
    "user Hints: low mid high top. Listen. Transcribe English. assistant",
    "low mid",
    "high top",
]


def tokenizer(folder) -> vocab.HuggingFaceVocabulary:
    """A byte-level BPE with a few merges."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    options = dict(vocab_size=340, special_tokens=list(SPECIAL), show_progress=False)
    trainer = tokenizers.trainers.BpeTrainer(initial_alphabet=sorted(alphabet), **options)
    made.train_from_iterator(TEXTS * 20, trainer)
    folder = pathlib.Path(folder)
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(made.to_str())
    settings = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return vocab.open_vocabulary(folder)
