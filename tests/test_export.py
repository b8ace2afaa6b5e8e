"""A bundle is the workdir's recogniser in one folder that needs nothing beside it."""

import json
import shutil

import pytest
import tones

import seedasr_jax
from seedasr_jax import checkpoint
from seedasr_jax.audio import files
from seedasr_jax.errors import UserError
from seedasr_jax.launch import cli, evaluate, export


@pytest.fixture(scope="module")
def bundle(trained, tmp_path_factory):
    """The trained workdir as a bundle, far from it, with an evaluation on its card."""
    folder = tmp_path_factory.mktemp("bundle")
    workdir = shutil.copytree(trained.workdir, folder / "workdir")
    rows, _ = evaluate.run(workdir, [f"manifest:{trained.test}?limit=8"])
    export.bundle(workdir, folder / "made")
    shutil.rmtree(workdir)  # a bundle stands alone
    return folder / "made", rows[0]


def test_a_bundle_transcribes_as_the_workdir(trained, bundle):
    one, other = seedasr_jax.load(trained.workdir), seedasr_jax.load(bundle[0])
    for text in ("low", "top mid", "high low mid"):
        wave = tones.wave(text, 9)
        assert one.transcribe(wave, files.RATE) == other.transcribe(wave, files.RATE)
    assert one.label == other.label


def test_the_artefact_was_run_again_from_disk(bundle):
    parity = json.loads((bundle[0] / "parity.json").read_text())
    assert parity["tokens_equal"] is True
    assert parity["waves"] == len(export.SECONDS)
    assert 0 <= parity["logprob_difference"] <= 1e-5


def test_the_card_has_lineage_hours_and_error_rate(bundle, trained):
    card = (bundle[0] / "CARD.md").read_text()
    (hours,) = checkpoint.read(trained.workdir / "ctc").hours.values()
    assert f"| 1 | {hours:.2f} | not stated |" in card  # its licence
    row = bundle[1]
    assert f"{row['error_rate']:.2f}" in card
    for label in (row["checkpoint"], "ctc@40#", "lm@60#"):
        assert label in card


def test_a_bundle_is_a_checkpoint_for_eval(trained, bundle, tmp_path):
    rows, _ = evaluate.run(bundle[0], [f"manifest:{trained.test}?limit=8"], out=tmp_path)
    assert rows[0] == bundle[1]


def test_the_command_says_what_it_wrote_and_refuses_other_folders(trained, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("not yours")
    command = ["export", f"--checkpoint={trained.workdir}/ctc", f"--out={tmp_path}/mine"]
    assert cli.main(command) == 1
    assert "exists and is not a bundle" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_an_artefact_that_decodes_otherwise_is_not_kept(trained, tmp_path, monkeypatch):
    load = export.transcribe.load

    def other(folder, mesh):
        transcriber = load(folder, mesh)
        if folder == trained.workdir / "ctc":  # the original
            return transcriber
        transcriber.recogniser.state["ctc_head"]["project"]["bias"][...] += 3.0 * (
            transcriber.recogniser.state["ctc_head"]["project"]["kernel"][...][0] > 0
        )
        return transcriber

    monkeypatch.setattr(export.transcribe, "load", other)
    with pytest.raises(UserError, match=r"tokens differ|log-probabilities differ"):
        export.bundle(trained.workdir / "ctc", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_stage_without_audio_is_no_recogniser(trained, tmp_path):
    with pytest.raises(UserError, match="transcribe nothing"):
        export.bundle(trained.workdir / "lm", tmp_path / "bundle")
