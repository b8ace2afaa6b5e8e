"""A small imported Qwen3-ASR, tuned by the stages of the shipped recipe."""

import dataclasses
import json
import pathlib
import re
import shlex

import foreign
import numpy as np
import pytest
import recordings
import test_import
import tones

import seedasr_jax
from seedasr_jax import checkpoint as checkpoints
from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import loader
from seedasr_jax.launch import cli, recipes, run
from seedasr_jax.text import vocab as vocabularies
from seedasr_jax.text.template import Template

ROOT = pathlib.Path(__file__).resolve().parent.parent
RECIPE = str(pathlib.Path(__file__).parent / "qwen3_asr_recipe.py")


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """(manifest, bundle): a few tones with keywords, and an imported model."""
    folder = tmp_path_factory.mktemp("tuning")
    manifest = tones.write(folder, 12)
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    rows = [row | {"context": "Low, Mid", "keywords": row["text"].split()[:1]} for row in rows]
    recordings.manifest(manifest, rows)
    test_import.imported(folder, "qwen3_asr")
    return manifest, folder / "bundle"


@pytest.mark.parametrize("adapters", [False, True])
def test_an_imported_model_is_tuned_and_answers(material, tmp_path, adapters):
    manifest, bundle = material
    graph = recipes.expand(f"{RECIPE}:{manifest},{bundle}{',lora' * adapters}", [])
    with tones.on_one_device():
        assert run.train(graph, tmp_path / "run") == 0
    source = checkpoints.open_checkpoint(bundle)
    tuned = checkpoints.open_checkpoint(tmp_path / "run")
    assert tuned.name == "rl" and tuned.limits.seconds == 30
    for part in source.parts():
        same = tuned.part_hash(part) == source.part_hash(part)
        assert same == (adapters or part == "decoder"), part
    rows = (tmp_path / "run/rl/metrics.jsonl").read_text().splitlines()
    assert len(rows) == 3 and all(np.isfinite(json.loads(row)["loss"]) for row in rows)
    transcriber = seedasr_jax.load(tmp_path / "run")
    found = transcriber.transcribe(tones.wave("low mid"), files.RATE, language="en", context="Low")
    assert found.language == "en" and "<asr_text>" not in found.text


def test_the_target_is_the_answer_with_its_language(material):
    """`language NAME<asr_text>TEXT`, and the prompt ends before it."""
    manifest, bundle = material
    recipe = recipes.load(f"{RECIPE}:{manifest},{bundle}")
    tokenizer = vocabularies.open_vocabulary(bundle)
    graph = recipes.expand(f"{RECIPE}:{manifest},{bundle}", [])
    template = Template(graph.stages["context_sft"].model.prompt, tokenizer)
    ((batch, _),) = loader.evaluation(
        f"manifest:{manifest}?language=en&limit=2",
        tokenizer,
        buckets=((0.8, 40, 2),),
        data_folder=manifest.parent,
        template=template,
        normalizer="none@1",
    )
    for row in range(2):
        ids = batch.ids[row, : batch.ids_length[row]].tolist()
        text = json.loads(manifest.read_text().splitlines()[row])["text"]
        assert tokenizer.decode(ids) == f"language English<asr_text>{text}"
        assert batch.start[row] == tokenizer.encode("\n")[0]
    assert recipe.stages.context_sft.objective.ctc_weight == 0
    # Buckets count the whole answer: an utterance whose text alone fits is not a bad row.
    data = graph.stages["context_sft"].data
    sizes = [len(tokenizer.encode(json.loads(row)["text"])) for row in manifest.open()]
    data = dataclasses.replace(data, buckets=((0.8, max(sizes), 4), (0.81, 60, 4)))
    options = dict(seed=0, start=0, data_folder=manifest.parent, template=template)
    with loader.training(data, tokenizer, **options) as stream:
        for _ in range(3):
            batch, _ = next(stream)
            assert batch.ids.shape[1] == 60 and batch.weight.all()


def test_the_page_on_own_models_runs(tmp_path, monkeypatch):
    """Its commands, on small folders of these names; plan and train as far as their recipe."""
    monkeypatch.chdir(tmp_path)
    names = {"Qwen3-ASR-1.7B": "qwen3_asr", "Qwen3-8B": "qwen3", "whisper-base": "whisper"}
    for name, model in names.items():
        foreign.write(tmp_path / name, *test_import.about(model))
    files.write(tmp_path / "one.wav", tones.wave("low mid"), files.RATE)
    tones.write(tmp_path, 3, name="test.jsonl")
    text = (ROOT / "docs/own_models.md").read_text("utf-8")
    commands = [
        shlex.split(line)[1:]
        for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
        for line in block.splitlines()
    ]
    assert {command[0] for command in commands} == {
        *["import", "transcribe", "eval", "plan", "train"]
    }
    with tones.on_one_device():
        for command in commands:
            if command[0] in ("plan", "train"):
                options = cli.parser().parse_args(command)
                assert list(recipes.expand(options.config, []).stages) == ["context_sft", "rl"]
            else:
                assert cli.main(command) == 0, command
    assert (tmp_path / "runs/scores/results.jsonl").exists()
