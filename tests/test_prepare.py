"""A job of a graph: absolute paths, and the tokenizer."""

import pathlib
import shutil

from refusals import refusal
import tones

from seedasr_jax.errors import ConfigError, UserError
from seedasr_jax.launch import prepare, run


def test_a_job_goes_on_from_any_folder(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(trained.manifest.parent)
    relative = tones.graph(trained.manifest.name, **trained.changes)
    changed = prepare.anchored(relative)
    spec = f"manifest:{trained.manifest}"
    assert [s for s, _ in changed.stages["ctc"].data.mixture] == [spec]
    assert changed.stages["ctc"].eval.tasks == (f"{spec}?limit=8",)
    assert changed.stages["sft"].init == relative.stages["sft"].init  # stages, no paths
    assert changed.stages["sft"].vocab.path == "" and changed.stages["sft"].run.cache == ""
    own = tones.graph("m.jsonl", stages__lm__init__decoder="./runs/lm")
    init = prepare.anchored(own).stages["lm"].init
    assert init["decoder"] == str(pathlib.Path("runs/lm").resolve())
    monkeypatch.setenv("HOME", str(tmp_path))  # no shell expands it behind manifest:
    home = tones.graph("~/m.jsonl", stages__lm__init__decoder="~/lm")
    home = prepare.anchored(home).stages
    assert home["ctc"].data.mixture[0][0] == f"manifest:{tmp_path}/m.jsonl"
    assert home["lm"].init["decoder"] == f"{tmp_path}/lm"
    monkeypatch.chdir(tmp_path)
    assert prepare.anchored(changed) == changed


def test_another_tokenizer_needs_another_workdir(trained, workdir, tmp_path):
    text = refusal(ConfigError, trained.graph(vocab__kind="char"), workdir)
    assert "config.vocab" in text
    assert "--workdir" in text
    assert not (workdir / "vocab.partial").exists()
    assert run.train(trained.graph(vocab__size=50), workdir) == 0  # there are not more words
    copied = shutil.copytree(workdir / "vocab", tmp_path / "tokenizer")
    assert run.train(trained.graph(vocab__path=copied), workdir) == 0


def test_a_checkpoint_is_a_tokenizer_too(trained, tmp_path):
    expected = (trained.workdir / "vocab/spm.model").read_bytes()
    names = (trained.workdir, trained.workdir / "lm", f"{trained.workdir}/lm@60")
    for number, place in enumerate(names):
        prepare.job(trained.graph(vocab__path=place), tmp_path / str(number))
        assert (tmp_path / str(number) / "vocab/spm.model").read_bytes() == expected
    refusal(UserError, trained.graph(vocab__path=f"{trained.workdir}/lm@7"), tmp_path / "other")
    text = refusal(ConfigError, trained.graph(vocab__path=tmp_path / "none"), tmp_path / "other")
    assert "no vocabulary at" in text


def test_a_tokenizer_that_a_kill_left_half_made_is_made_again(trained, tmp_path):
    (tmp_path / "vocab.partial").mkdir()
    (tmp_path / "vocab.partial/spm.model.partial").write_bytes(b"half")
    job = prepare.job(trained.graph(), tmp_path)
    expected = prepare.job(trained.graph(), trained.workdir)
    assert job.vocab.hash == expected.vocab.hash
    assert job.recipes["sft"].hash == expected.recipes["sft"].hash
