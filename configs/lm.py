"""Pretraining of an LLM of published shape on text alone.

    seedasr plan --config=lm:qwen3_8b --topology=v5p:4x4x8
    seedasr train --config=lm:qwen3_8b --workdir=runs/llm

qwen3_8b or qwen3_30b_a3b (128 experts), sequences of 2,048 tokens. Reads data/TAG/text.jsonl.
Planned only, never trained.
"""

from seedasr_jax.configs import common, pods

TAGS = ("en", "zh")
DECODERS = {f"qwen3_{size}": decoder for size, decoder in pods.DECODERS.items()}
ROWS = 128


def get_config(shape="qwen3_8b"):
    """`shape`: of the decoder."""
    decoder, expert = common.pick(DECODERS, shape)
    tokenizer = dict(path="", kind="unigram", size=151_669)
    c = pods.graph("lm", tensor=4, expert=expert, vocab=tokenizer)
    c.model.decoder = decoder()
    s = c.stages.lm = common.stage("lm", 100_000)
    s.init, s.trains = dict(decoder="fresh"), ("decoder",)
    s.optim = common.adamw(3e-4, warmup=2_000)
    s.data = common.data(pods.speech(TAGS, "text"), ((0.0, 2_047, ROWS),))
    return c.lock()
