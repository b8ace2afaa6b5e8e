"""Seed-ASR (ML) at full size: English and seven more languages; sft -> context_sft -> rl.

    seedasr plan --config=seed_asr_ml:8b --topology=v5p:4x4x8
    seedasr train --config=seed_asr_ml:8b --workdir=runs/seed_asr_ml

A LUISE encoder of 2B (`luise_ssl:2b`) and a decoder: 8b (Qwen3-8B) or 30b_a3b (Qwen3-30B-A3B, 128
experts). Reads data/TAG/paired.jsonl, runs/luise_ssl and runs/llm. Planned only, never trained.
"""

from seedasr_jax.configs import pods

TAGS = ("en", "ar", "es", "fr", "id", "ja", "ko", "pt")  # which 8 is our choice


def get_config(size="8b"):
    """`size`: of the decoder."""
    return pods.seed_asr("seed_asr_ml", TAGS, size, normalizer="basic@2", unit="mixed")
