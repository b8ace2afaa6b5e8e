"""Small folders of other projects' models, in the form of transformers' save_pretrained.

Weights are a function of a tensor's name and shape alone, so that a folder made here, without
transformers, and one that transformers saved have the same ones.
"""

import hashlib
import json
import pathlib

import numpy as np
from safetensors.numpy import save_file
import tokenizers

HIDDEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|audio_start|>", "<|audio_end|>")
PAD = "<|audio_pad|>"
SHOWN = ("<asr_text>", "<think>")  # added, but not special, as in Qwen's files
VOCABULARY = 384  # rows of the embedding, of which the last have no piece
TEXTS = [
    "system user assistant language English Chinese None",
    "low mid high top",
    "the quick brown fox jumps",
]
CHAT = (
    "{%- for message in messages -%}{%- if loop.first and message.role != 'system' -%}"
    "{{ '<|im_start|>system\n<|im_end|>\n' }}{%- endif -%}"
    "{{ '<|im_start|>' + message.role + '\n' }}"
    "{%- for part in message.content -%}"
    "{%- if part.type == 'audio' -%}<|audio_start|><|audio_pad|><|audio_end|>"
    "{%- else -%}{{ part.text }}{%- endif -%}{%- endfor -%}"
    "{%- if not (loop.last and message.role == 'assistant') -%}{{ '<|im_end|>\n' }}{%- endif -%}"
    "{%- endfor -%}"
)


def weights(name: str, shape) -> np.ndarray:
    """Values of a tensor: float32, large enough that logits differ."""
    rng = np.random.default_rng(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
    if name.endswith(("norm.weight", "ln_post.weight")):
        return rng.normal(1, 0.2, shape).astype(np.float32)
    size = 0.3 if len(shape) < 2 else 1.5 * np.prod(shape[1:]) ** -0.5
    return rng.normal(0, size, shape).astype(np.float32)


def tokenizer(folder) -> None:
    """A byte-level BPE with the special tokens of Qwen3-ASR."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    options = dict(vocab_size=340, show_progress=False, initial_alphabet=alphabet)
    made.train_from_iterator(TEXTS * 20, tokenizers.trainers.BpeTrainer(**options))
    made.add_special_tokens([*HIDDEN, PAD])
    made.add_tokens([tokenizers.AddedToken(token, normalized=False) for token in SHOWN])
    folder = pathlib.Path(folder)
    (folder / "tokenizer.json").write_text(made.to_str())
    settings = {
        "tokenizer_class": "Qwen2TokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "audio_token": PAD,
        "audio_bos_token": "<|audio_start|>",
        "audio_eos_token": "<|audio_end|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def ids(folder) -> dict[str, int]:
    """The ids of the added tokens of a folder's tokenizer."""
    tree = json.loads((pathlib.Path(folder) / "tokenizer.json").read_text())
    return {token["content"]: token["id"] for token in tree["added_tokens"]}


def write(folder, config: dict, tensors: dict, *, shards=1, dtype=np.float32) -> pathlib.Path:
    """Writes config.json, tokenizer and weights {name: shape} in so many files."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer(folder)
    if config["architectures"][0].startswith("Qwen3ASR"):
        (folder / "chat_template.jinja").write_text(CHAT)
        extractor = dict(feature_extractor_type="Qwen3ASRFeatureExtractor", feature_size=128)
        processor = dict(processor_class="Qwen3ASRProcessor", feature_extractor=extractor)
        (folder / "processor_config.json").write_text(json.dumps(processor))
        ends = [ids(folder)["<|endoftext|>"], ids(folder)["<|im_end|>"]]
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    arrays = {name: weights(name, shape).astype(dtype) for name, shape in tensors.items()}
    save(folder, arrays, shards)
    return folder


def save(folder, arrays: dict, shards=1) -> None:
    """Writes tensors in one file, or in several with an index."""
    metadata = {"format": "pt"}
    if shards == 1:
        save_file(arrays, folder / "model.safetensors", metadata)
        return
    index = {}
    for number in range(shards):
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        part = dict(sorted(arrays.items())[number::shards])
        save_file(part, folder / file, metadata)
        index |= dict.fromkeys(part, file)
    text = json.dumps({"metadata": {}, "weight_map": index})
    (folder / "model.safetensors.index.json").write_text(text)


def text_config(**changes) -> dict:
    """Keys of a small Qwen3 decoder."""
    return dict(
        model_type="qwen3",
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=10,
        vocab_size=VOCABULARY,
        max_position_embeddings=2048,
        rms_norm_eps=1e-5,
        rope_parameters=dict(rope_type="default", rope_theta=1e4),
        tie_word_embeddings=True,
    ) | dict(changes)


def audio_config(**changes) -> dict:
    """Keys of a small AuT encoder."""
    return dict(
        model_type="qwen3_asr_encoder",
        num_mel_bins=128,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=40,
        d_model=24,
        output_dim=32,
        downsample_hidden_size=6,
    ) | dict(changes)


def wave(number: int) -> np.ndarray:
    """One of a few short sounds; they end inside a chunk of a second."""
    rng, size = np.random.default_rng(number), (24_321, 16_000, 7_000)[number]
    return rng.normal(0, 0.1, size).astype(np.float32) * np.hanning(size).astype(np.float32)


# (number of a wave, context, language), which a whole model is asked to transcribe.
ASKED = ((0, "", ""), (1, "", ""), (2, "low fox mid", ""), (0, "", "en"), (1, "fox", "zh"))
NAMES = {"": None, "en": "English", "zh": "Chinese"}


def config_of(kind: str, **changes):
    """A function of the tokenizer's ids that makes transformers' config of a decoder."""

    def make(ids):
        import transformers

        made = getattr(transformers, f"{kind}Config")(**text_config(**changes))
        made.architectures = [f"{kind}ForCausalLM"]
        return made

    return make


def qwen3_asr(ids):
    """Transformers' config of a small Qwen3-ASR."""
    import transformers

    made = transformers.Qwen3ASRConfig(
        audio_config=audio_config(),
        text_config=text_config(),
        audio_token_id=ids[PAD],
        eos_token_id=[ids["<|endoftext|>"], ids["<|im_end|>"]],
        pad_token_id=ids["<|endoftext|>"],
    )
    made.architectures = ["Qwen3ASRForConditionalGeneration"]
    return made


def whisper(ids):
    """Transformers' config of a small Whisper that reads 2 s."""
    import transformers

    del ids
    made = transformers.WhisperConfig(
        num_mel_bins=80,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=40,
        d_model=24,
        max_source_positions=100,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=8,
        vocab_size=VOCABULARY,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        decoder_start_token_id=0,
    )
    made.architectures = ["WhisperModel"]
    return made


def _scaled(kind, **options):
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=1e4, **options))


_LLAMA3 = dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)
_EXPERTS = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16)
MODELS = {
    "qwen3": config_of("Qwen3"),
    "qwen3_untied": config_of(
        "Qwen3",
        tie_word_embeddings=False,
        **_scaled("yarn", factor=4.0, original_max_position_embeddings=32),
    ),
    "qwen3_moe": config_of("Qwen3Moe", norm_topk_prob=True, tie_word_embeddings=False, **_EXPERTS),
    "llama": config_of(
        "Llama",
        tie_word_embeddings=False,
        **_scaled("llama3", original_max_position_embeddings=64, **_LLAMA3),
    ),
    "llama_linear": config_of("Llama", **_scaled("linear", factor=2.0)),
    "qwen3_asr": qwen3_asr,
    "whisper": whisper,
}


def reference(folder) -> dict:
    """What transformers computes from a folder: logits, answers to ASKED, or encoder frames."""
    import torch
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder)
    if config.model_type == "whisper":
        extractor = transformers.WhisperFeatureExtractor(chunk_length=2)
        net = transformers.WhisperModel.from_pretrained(folder).encoder.eval()
        features = extractor([wave(0), wave(2)], sampling_rate=16_000, return_tensors="pt")
        with torch.no_grad():
            frames = net(features["input_features"]).last_hidden_state.numpy()
        return dict(features=features["input_features"].numpy()[:, ::7], frames=frames[:, ::9])
    if config.model_type != "qwen3_asr":
        net = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
        given = np.random.default_rng(0).integers(0, VOCABULARY, (2, 40))
        with torch.no_grad():
            logits = net(torch.tensor(given)).logits[:, -6:].numpy()
        return dict(ids=given.astype(np.int32), logits=logits)
    net = transformers.Qwen3ASRForConditionalGeneration.from_pretrained(folder).eval()
    processor = transformers.AutoProcessor.from_pretrained(folder)
    found = {}
    for number, (sound, context, language) in enumerate(ASKED):
        asked = dict(prompt=context or None, language=NAMES[language])
        inputs = processor.apply_transcription_request(audio=wave(sound), **asked)
        without_piece = list(range(len(processor.tokenizer), VOCABULARY))
        options = dict(max_new_tokens=8, do_sample=False, suppress_tokens=without_piece)
        options["output_scores"] = True
        out = net.generate(**inputs, **options, return_dict_in_generate=True)
        scores = torch.stack(out.scores).numpy()[:, 0]
        top = np.sort(scores, -1)
        assert (top[:, -1] - top[:, -2]).min() > 1e-2, (number, top[:, -2:])
        found[f"input_{number}"] = inputs["input_ids"][0].numpy().astype(np.int32)
        found[f"tokens_{number}"] = out.sequences[0, -len(scores) :].numpy().astype(np.int32)
        found[f"scores_{number}"] = scores
    return found
