"""What a stage keeps on disk while it trains."""

import workdirs

from seedasr_jax import checkpoint, config, skipped
from seedasr_jax import workdir as disk
from seedasr_jax.train.keeper import Keeper


class Stream:
    """Stands for a stream that has given out some batches."""

    def __init__(self):
        self.skipped, self.samples, self.judged = [], {"task": 0}, []

    def see(self, step):
        bad = {"id": "u", "reason": "bad", "detail": "why", "recording": "u"}
        self.skipped.append({"step": step, "position": 0} | bad)
        if step % 2:
            cut = {"reason": skipped.CONTEXT_CUT, "utterances": step}
            self.skipped.append({"step": step, "position": 0} | cut)
        self.samples["task"] += 16_000

    def judge(self, rows):
        self.judged += [row["step"] for row in rows]


def test_skipped_rows_are_listed_once_whatever_was_killed(tmp_path):
    """A state of step N has seen the batches 0 to N - 1."""
    workdirs.finish(tmp_path, "ctc", workdirs.params())
    folder = tmp_path / "ctc"
    begun = config.build({**disk.read_stage(folder), "step": 0}, checkpoint.StageRecord)
    stream = Stream()
    keeper = Keeper(folder, begun, 1, stream)
    stream.see(0)
    stream.see(1)
    keeper.list_skipped()
    stream.see(2)
    keeper.list_skipped()  # and killed: only step 2 is on disk
    after = config.build({**disk.read_stage(folder), "step": 2}, checkpoint.StageRecord)
    stream = Stream()
    with Keeper(folder, after, 1, stream) as keeper:
        assert stream.judged == [0, 1, 1]  # as they were, killed or not
        stream.see(2)
        stream.see(3)
    assert [row["step"] for row in disk.read_rows(folder / "skipped.jsonl")] == [0, 1, 1, 2, 3, 3]
    assert keeper.cut == 1 + 3
