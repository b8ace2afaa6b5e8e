"""The recipe of benchmarks/study_digits.py; a file of its own, which imports nothing beside it."""

from seedasr_jax.configs import common, digits


def get_config(manifest):
    """The recipe `digits` and, beside its lm and sft, the same with unclocked positions."""
    c = digits.get_config(manifest).unlock()
    for name in ("lm", "sft"):
        stage = c.stages[f"{name}_frames"] = common.copy(c.stages[name])
        stage.model = dict(small=dict(speech_positions="frames"))
    c.stages.sft_frames.init.decoder = "lm_frames"
    return c.lock()
