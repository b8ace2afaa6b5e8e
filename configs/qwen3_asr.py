"""Qwen3-ASR, tuned in its own class: context_sft -> rl from an imported model.

    seedasr import --from=Qwen3-ASR-1.7B --out=runs/qwen3_asr
    seedasr train --config=qwen3_asr:1.7b --workdir=runs/tuned

The argument is a size, 0.6b or 1.7b; "SIZE,lora" trains adapters of the LLM instead of encoder and
converter. Reads data/paired.jsonl, data/dev.jsonl and runs/qwen3_asr. Planned only, never trained
at full size.
"""

from seedasr_jax.configs import common, pods
from seedasr_jax.errors import ConfigError

IMPORTED = "runs/qwen3_asr"
ADAPTERS = "lora"
RANK = 16  # ours: the model's authors state none
TOKENS = 151_705  # pieces of its tokenizer, for plans


def get_config(argument="1.7b"):
    """`argument`: SIZE or SIZE,lora."""
    size, _, adapters = argument.partition(",")
    if adapters not in ("", ADAPTERS):
        raise ConfigError(f"expected SIZE or SIZE,{ADAPTERS}, found {argument!r}")
    tokenizer = dict(path=IMPORTED, kind="bpe", size=TOKENS)
    return tuned(pods.graph("qwen3_asr", vocab=tokenizer), common.qwen3_asr(size), bool(adapters))


def tuned(c, model, adapters):
    """Adds the stages to a graph; `model`: changes to its model, `adapters`: whether they train."""
    c.model = c.model.to_dict() | model
    rows = pods.ROWS // 8  # the authors' models are small, and so are the pods that tune them
    buckets = tuple((seconds, tokens, n * rows // pods.ROWS) for seconds, tokens, n in pods.SPOKEN)
    parts = dict.fromkeys(("encoder", "converter", "decoder"), c.vocab.path)
    trains, fresh = ("encoder", "converter"), {}
    if adapters:
        c.model.lora = dict(rank=RANK, alpha=2.0 * RANK)
        trains, fresh = (ADAPTERS,), {ADAPTERS: "fresh"}
    c.eval.update(tokens=buckets[-1][1])

    def stage(kind, steps, lr, init, **objective):
        s = c.stages[kind] = common.stage(kind, steps)
        s.init, s.trains, s.optim = init, trains, common.adamw(lr, warmup=steps // 50)
        s.objective.update(objective)
        # Transcripts as they are: the model writes cased and punctuated text.
        s.data = common.data((("manifest:data/paired.jsonl", 1.0),), buckets, normalizer="none@1")
        s.data.contexts.update(tokens=256, plain=0.5, irrelevant=0.15, distractors=20)
        s.eval = dict(tasks=("manifest:data/dev.jsonl",), every=steps // 10)

    init = parts | fresh
    stage("context_sft", 10_000, 2e-5, init, ctc_weight=0.0)
    mwer = dict(ce_weight=0.01, hypotheses=4, temperature=0.0, keyword_weight=3.0, unit="mixed")
    stage("rl", 2_000, 5e-6, dict.fromkeys(init, "context_sft"), **mwer)
    return c.lock()
