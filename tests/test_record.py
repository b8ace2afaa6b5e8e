"""stage.json: read as it was written, replaced atomically; errors name the key."""

import dataclasses
import json

import jax
import pytest
import tiny

from seedasr_jax import checkpoint, config
from seedasr_jax.checkpoint import record
from seedasr_jax.errors import UserError


def a_record():
    stage = tiny.stage("ctc", ("encoder", "ctc_head"), ("encoder", "ctc_head"), **{"run.accum": 2})
    parents = {"encoder": {"checkpoint": "ssl@10", "hash": "ab"}}
    rest = dict(frozen={}, vocabulary="v", reads={"synth:a": "c0"})
    return stage, checkpoint.new_record(stage, "ff", parents=parents, **rest)


def test_record_round_trip(tmp_path):
    stage, started = a_record()
    checkpoint.write(tmp_path / "ctc", started)
    found = checkpoint.read(tmp_path / "ctc")
    assert found == started
    assert found.stage == stage  # recipe and run settings together
    assert config.to_dict(found.recipe) == config.to_dict(stage, recipe_only=True)
    assert found.run["mesh"] == config.to_dict(stage.mesh)
    assert [p.name for p in (tmp_path / "ctc").iterdir()] == ["stage.json"]
    keys = {"format_version", "state", "kind", "recipe", "recipe_hash", "parents", "vocabulary"}
    keys |= {"step", "position", "hours", "versions", "frozen"}
    assert keys <= json.loads((tmp_path / "ctc/stage.json").read_text()).keys()
    assert found.versions["jax"] == jax.__version__


def test_a_record_is_replaced_atomically(tmp_path, monkeypatch):
    _, started = a_record()
    checkpoint.write(tmp_path, started)

    def dies(file):
        raise KeyboardInterrupt

    monkeypatch.setattr(record.os, "fsync", dies)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.write(tmp_path, dataclasses.replace(started, step=9))
    assert checkpoint.read(tmp_path) == started
    monkeypatch.undo()
    with (tmp_path / "stage.json").open() as reader:  # an open file keeps the old content
        checkpoint.write(tmp_path, dataclasses.replace(started, step=9))
        assert json.load(reader)["step"] == 0
    assert checkpoint.read(tmp_path).step == 9


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda r: r | {"format_version": 99}, r"reads 4; install a newer one"),
        (lambda r: r | {"format_version": 1}, r"reads it is c03a92d.* new --workdir"),
        (lambda r: {k: v for k, v in r.items() if k != "step"}, r"stage\.json\.step is missing"),
        (lambda r: r | {"step": "9"}, r"stage\.json\.step: expected int, found '9'"),
        (lambda r: [r], r"expected a JSON object, found a list"),
    ],
)
def test_damaged_records(tmp_path, spoil, message):
    _, started = a_record()
    checkpoint.write(tmp_path, started)
    path = tmp_path / "stage.json"
    path.write_text(json.dumps(spoil(json.loads(path.read_text()))))
    with pytest.raises(UserError, match=message):
        checkpoint.read(tmp_path)
    path.write_text("{")
    with pytest.raises(UserError, match="expected a JSON object"):
        checkpoint.read(tmp_path)


def test_unknown_keys_are_ignored(tmp_path):
    _, started = a_record()
    checkpoint.write(tmp_path, started)
    path = tmp_path / "stage.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"later": 1}))
    assert checkpoint.read(tmp_path) == started
