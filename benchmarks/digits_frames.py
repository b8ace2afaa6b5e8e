"""The recipe of benchmarks/study_digits.py, a separate file that imports none of its neighbours."""

from seedasr_jax.configs import common, digits


def get_config(manifest):
    """The recipe `digits`, plus copies of its stages lm and sft with unclocked positions."""
    c = digits.get_config(manifest).unlock()
    for name in ("lm", "sft"):
        stage = c.stages[f"{name}_frames"] = common.copy(c.stages[name])
        stage.model = dict(variant=dict(speech_positions="frames"))
    c.stages.sft_frames.init.decoder = "lm_frames"
    return c.lock()
