"""A mistake in any stage is found before the first one trains."""

import json

import pytest
import recordings
import tones

from seedasr_jax import checkpoint
from seedasr_jax.errors import UserError
from seedasr_jax.launch import prepare, run, stage

MISTAKES = {  # in the last of three stages -> words of the line that says so
    "trains=('encodr',)": ("trains: ", "found 'encodr'", "Did you mean encoder"),
    "trains=()": ("nothing is left to train",),
    "trains=('encoder',)": ("neither trains nor has a source",),
    "init.converter=ctc": ("init.converter=ctc", "no part 'converter'"),
    "init.encoder=lm": ("init.encoder=lm", "no part 'encoder'"),
    "init.encoder=ctc@": ("init.encoder = 'ctc@'", "expected ctc@STEP"),
    "init.encoder=sft": ("starts from itself",),
    "init.lora=fresh": ("'lora'", "model.lora.rank = 0"),
    "init.encoder=gs://bucket/ctc": ("expected a local path",),
    "optim.rates={'decoder': 0.1}": ("optim.rates 'decoder'", "encoder, ctc_head, converter"),
    "data.buckets=((1e9, 4, 8),)": ("each device has", "mesh.fsdp"),
    "model.variant.transcript_position=9": ("transcript_position above", "found 9"),
    "model.encoder.ffn_dim=64": ("init.encoder=ctc", "ffn_dim: 128 -> 64"),
    "model.decoder.vocabulary=7": ("model.decoder.vocabulary: expected at least",),
    "mesh.tensor=3": ("mesh", "takes 3 devices"),
    "data.buckets=((0.8, 4, 6),)": ("6 utterances", "nearest that is: 8"),
    "data.min_seconds=5.0": ("no utterance fits a bucket", "shorter than 5 s"),
    "data.normalizer=basik@1": ("basik@1", "basic@1"),
    "data.contexts={'tokens': 2, 'plain': 0.5}": (
        "expected utterances in data.mixture with a context",
    ),
    "data.mixture=(('manifest:none.jsonl', 1.0),)": ("none.jsonl",),
    "eval.decode=beem4": ("decode 'beem4'", "beam4"),
    "eval={'tokens': 2147483647, 'tasks': ('manifest:none.jsonl',)}": (
        *("each device has", "eval.buckets and eval.tokens (0.8, 2147483647"),
    ),
    "eval.normalizer=basik@1": ("basik@1", "basic@1"),
    "eval.tasks=('manifest:none.jsonl',)": ("none.jsonl",),
    "objective.ctc_weight=-0.3": ("objective.ctc_weight: expected at least 0",),
}


def test_no_stage_trains_before_all_are_checked(tmp_path, monkeypatch):
    monkeypatch.setattr(run.stage, "run", lambda *_: pytest.fail("trains"))
    manifest = tones.write(tmp_path / "data", 40)
    for mistake, words in MISTAKES.items():
        key, _, value = mistake.partition("=")
        change = {f"stages__sft__{key.replace('.', '__')}": value}
        with pytest.raises(UserError) as raised:
            run.train(tones.graph(manifest, **change), tmp_path)
        text = str(raised.value)
        where = () if key in ("data.normalizer", "data.mixture") else ("stage 'sft'",)
        for word in (*words, *where):  # those two are read for the tokenizer, by no stage
            assert word in text, f"{mistake}: {text}"
        assert "\n" not in text
        assert not (tmp_path / "lm").exists() and not (tmp_path / "config.json").exists()


def test_meshes_are_checked_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "job", lambda *_: pytest.fail("reads"))
    graph = tones.graph(tones.write(tmp_path / "data", 2), stages__sft__mesh__tensor="3")
    with pytest.raises(UserError, match=r"stage 'sft': mesh .* takes 3 devices"):
        run.train(graph, tmp_path)
    with pytest.raises(pytest.fail.Exception):  # a stage that is not run may be for other devices
        run.train(graph, tmp_path, only="lm")


def test_contexts_of_a_stage_that_reads_none_are_refused(tmp_path):
    manifest = tones.write(tmp_path / "data", 40)
    contexts = dict(stages__ctc__data__contexts="{'tokens': 2, 'plain': 0.5}")
    with pytest.raises(UserError, match=r"'ctc': data\.contexts\.tokens: .* reads no context"):
        run.train(tones.graph(manifest, **contexts), tmp_path)


def test_a_context_has_room_before_clocked_speech(tmp_path):
    manifest = tones.write(tmp_path, 40)
    rows = [json.loads(line) | {"keywords": ["low"]} for line in manifest.open()]
    recordings.manifest(manifest, rows)
    changes = dict(stages__sft__data__contexts="{'tokens': 400, 'plain': 0.5}")
    with pytest.raises(UserError, match=r"'sft': data\.contexts\.tokens = 400: .* above 413"):
        run.train(tones.graph(manifest, **changes), tmp_path / "workdir")
    changes = dict(stages__lm__data__contexts="{'tokens': 5, 'plain': 0.5}")
    changes |= dict(stages__lm__data__buckets="((0.0, 1, 8),)")
    with pytest.raises(UserError, match=r"'sft': a parent stage was trained on contexts of 5"):
        run.train(tones.graph(manifest, **changes), tmp_path / "workdir")


def test_development_sets_share_one_room_for_contexts(tmp_path):
    """Another would be another program to compile."""
    manifest, tasks = tones.write(tmp_path / "data", 40), []
    for name, words in (("short", 3), ("long", 40), ("none", 0)):
        rows = [
            json.loads(line) | {"context": " ".join(["low"] * words)} for line in manifest.open()
        ]
        tasks.append(f"manifest:{recordings.manifest(manifest.parent / f'{name}.jsonl', rows)}")
    graph = tones.graph(manifest, stages__sft__eval__tasks=tuple(tasks))
    job = prepare.job(graph, tmp_path / "workdir")
    built = stage.build_stage(job, job.graph.stages["sft"])
    limits = checkpoint.Limits(1.0, 0.0, 64, 4, ())
    found = stage.evaluation(job, "sft", built, limits)
    assert [task.context_tokens for task in found.tasks] == [48, 48, 0]
