"""Settings of all full-size recipes. Each plans in minutes: `seedasr plan --config=NAME`."""

from seedasr_jax.configs import common

SPAN = 30.72  # seconds of the longest bucket: 768 frames of 40 ms, a multiple of a TPU's 128 lanes
ROWS = 1024  # utterances of it: 8.7 hours a step; a multiple of data x fsdp x expert

# Every bucket (seconds, tokens, utterances) has equal hours per step.
HEARD = ((SPAN / 4, 0, 4 * ROWS), (SPAN / 2, 0, 2 * ROWS), (SPAN, 0, ROWS))
SPOKEN = ((SPAN / 4, 64, 4 * ROWS), (SPAN / 2, 128, 2 * ROWS), (SPAN, 240, ROWS))

FSDP = 32  # fsdp x expert: devices over which parameters are sharded; data is the rest of a pod
DECODERS = {"8b": (common.qwen3_8b, 1), "30b_a3b": (common.qwen3_30b_a3b, 4)}  # with mesh.expert


def graph(name, *, tensor=1, expert=1, **changes):
    """A graph in bfloat16 that rematerialises each layer's activations."""
    c = common.graph(name, **changes)
    c.mesh = dict(data=-1, fsdp=FSDP // expert, tensor=tensor, expert=expert)
    c.model.dtype = "bfloat16"
    c.run.update(remat="block", save_every=1000, keep=3)
    return c


def speech(tags, kind):
    """A manifest per language or dialect, `data/TAG/KIND.jsonl`, at equal rates."""
    return tuple((f"manifest:data/{tag}/{kind}.jsonl", 1.0) for tag in tags)


def seed_asr(name, tags, size, *, normalizer, unit):
    """sft -> context_sft -> rl of Seed-ASR from the encoder of `luise_ssl` and a pretrained LLM.

    The LLM is frozen in sft and context_sft (Seed-ASR sections 3.3 to 3.5), and here in rl, for
    which the paper does not say. `normalizer`, `unit`: of utterances that state no language.
    """
    decoder, expert = common.pick(DECODERS, size)
    tokenizer = dict(path="runs/llm", kind="bpe", size=151_669)
    c = graph(name, expert=expert, vocab=tokenizer)
    c.model.encoder, c.model.decoder = common.luise("2b"), decoder()
    c.eval.update(tokens=SPOKEN[-1][1], normalizer=normalizer, unit=unit)
    trains = ("encoder", "converter")

    def stage(kind, steps, lr, init, **objective):
        s = c.stages[kind] = common.stage(kind, steps)
        s.init, s.trains = init, trains
        s.optim = common.adamw(lr, warmup=steps // 50)
        s.objective.update(objective)
        s.data = common.data(speech(tags, "paired"), SPOKEN)
        s.eval = dict(tasks=tuple(spec for spec, _ in speech(tags, "dev")), every=steps // 10)
        return s

    init = dict(encoder="runs/luise_ssl/ssl2", converter="fresh", decoder="runs/llm")
    s = stage("sft", 60_000, 1e-4, init, ctc_weight=0.0)
    s.run = dict(remat="dots")
    s.augment = common.no_augment(frequency_masks=2, time_masks=2)
    informed = dict(tokens=256, plain=0.5, irrelevant=0.15, distractors=20)
    init = dict.fromkeys(init, "sft")
    s = stage("context_sft", 20_000, 5e-5, init, ctc_weight=0.0)
    s.data.contexts.update(informed)
    s.augment, s.run = c.stages.sft.augment, c.stages.sft.run
    init = dict.fromkeys(init, "context_sft")
    mwer = dict(ce_weight=0.01, hypotheses=4, temperature=0.0, keyword_weight=3.0, unit=unit)
    s = stage("rl", 2_000, 1e-5, init, **mwer)
    s.data.contexts.update(informed)
    return c.lock()
