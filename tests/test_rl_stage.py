"""A stage `rl` from sound to parameters: its rollouts, and that a resumed one repeats them."""

import itertools

import numpy as np
import pytest
import workdirs

from seedasr_jax import config, inventory
from seedasr_jax.launch import prepare, stage
from seedasr_jax.train import loop
from seedasr_jax.workdir import read_rows as read

PARTS = ("encoder", "ctc_head", "converter", "decoder")


@pytest.fixture(scope="module")
def job(trained, tmp_path_factory):
    """job(name): a workdir that goes on from the trained one with six steps of `rl`."""

    def make(name):
        tree = config.to_dict(trained.graph())
        start = dict.fromkeys(PARTS, f"{trained.workdir}/sft")
        one = tree["stages"]["sft"] | dict(kind="rl", init=start, steps=6)
        one |= dict(trains=("converter",), vocab=one["vocab"])  # the least to compile
        one["vocab"] = dict(one["vocab"], path=str(trained.workdir / "vocab"))
        one["objective"] = dict(
            ce_weight=0.01, hypotheses=4, temperature=1.0, keyword_weight=3.0, unit="word"
        )
        test = f"manifest:{trained.test}?limit=9"  # two batches
        one["eval"] |= dict(tasks=(test,), decode="ctc", every=3)
        one["run"] |= dict(log_every=1, save_every=100, cache=str(trained.workdir / "cache"))
        tree["stages"] = {"rl": one}
        return prepare.job(config.build(tree, config.Graph), tmp_path_factory.mktemp(name))

    return make


def test_a_resumed_stage_is_the_one_never_stopped(job, capsys):
    whole, parts = job("whole"), job("parts")
    stage.run(whole, "rl", lambda: False)
    calls = itertools.count(1)
    with pytest.raises(loop.Stopped):  # 3 steps, and before the second batch that is scored
        stage.run(parts, "rl", lambda: next(calls) == 5)
    assert len(read(parts.folder("rl") / "metrics.jsonl")) == 2
    stage.run(parts, "rl", lambda: False)
    assert "rl: resumed at step 3" in capsys.readouterr().err
    for each in (whole, parts):  # step 3 was saved to be scored, and its row in its note
        assert inventory.steps(each.folder("rl")) == [6]
    one, other = (workdirs.everything(j.folder("rl")) for j in (whole, parts))
    assert one == other
    rows = [read(j.folder("rl") / "metrics.jsonl") for j in (whole, parts)]
    clean = [[{k: v for k, v in r.items() if "host/" not in k} for r in each] for each in rows]
    assert clean[0] == clean[1]
    assert [row["step"] for row in rows[0]] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in rows[0] if any("error_rate" in key for key in row)] == [3, 6]
    assert all(np.isfinite(row["loss"]) and row["grad_norm"] > 0 for row in rows[0])
    risk = [row["risk"] for row in rows[0]]
    assert max(risk) > 0 and min(risk) >= 0  # the words are nearly known, samples still err
