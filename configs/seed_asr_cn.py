"""Seed-ASR (CN) at full size: Mandarin and 13 Chinese dialects; sft -> context_sft -> rl.

    seedasr plan --config=seed_asr_cn:8b --topology=v5p:4x4x8
    seedasr train --config=seed_asr_cn:8b --workdir=runs/seed_asr_cn

A LUISE encoder of 2B (`luise_ssl:2b`) and a decoder: 8b (Qwen3-8B) or 30b_a3b (Qwen3-30B-A3B, 128
experts). Reads data/TAG/paired.jsonl, runs/luise_ssl and runs/llm. Planned only, never trained.
"""

from seedasr_jax.configs import pods

MANDARIN = ("dongbei", "henan", "hubei", "shaanxi", "shandong", "sichuan")
OTHERS = ("cjy", "gan", "hak", "hsn", "nan", "wuu", "yue")  # which 13 is our choice
TAGS = ("zh", *(f"zh-x-{name}" for name in MANDARIN), *OTHERS)


def get_config(size="8b"):
    """`size`: of the decoder."""
    return pods.seed_asr("seed_asr_cn", TAGS, size, normalizer="zh@2", unit="char")
