"""Docs state what is there: links, file names, the picture of the stages."""

import dataclasses
import importlib.util
import pathlib
import re

import jax
import numpy as np
import pytest
import test_imports
import tones

from seedasr_jax import config
from seedasr_jax.config import code
from seedasr_jax.launch import recipes
from seedasr_jax.plan import fitting, programs
from seedasr_jax.text import languages
from seedasr_jax.train import build

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def test_the_picture_is_that_of_the_stage_graph():
    spec = importlib.util.spec_from_file_location("stages", ROOT / "docs/stages.py")
    stages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stages)
    drawn = stages.draw(recipes.expand(stages.RECIPE, []))
    assert drawn == stages.OUT.read_text("utf-8"), "python docs/stages.py draws it anew"
    shorter = recipes.expand("digits:train.jsonl", [])
    assert stages.handed_over(shorter)["lm", "sft"] == ["decoder"]
    assert {stages.places(shorter)[name][0] for name in ("lm", "ctc")} == {0}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text("utf-8")
    links = re.findall(r"\]\(([^)#]+)\)|src=\"([^\"]+)\"", text)
    for link in map("".join, links):
        if "://" not in link:
            assert (page.parent / link).exists(), link


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


def test_the_architecture_names_files_that_exist():
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    for name in re.findall(r"`([\w/]+\.py)`", text):
        assert (ROOT / name).exists() or (ROOT / "seedasr_jax" / name).exists(), name
    steps = re.findall(r"^\d+\. `([\w/]+\.py)`:", text, re.M)
    assert 0 < len(steps) <= 12
    (table,) = re.findall(r"^\| row \|.*\n\|---\|---\|\n((?:\|.*\n)+)", text, re.M)
    rows = [tuple(re.findall(r"`([\w.]+)`", row.split("|")[1])) for row in table.splitlines()]
    assert rows == list(test_imports.ROWS)


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes the modules of a page, each named by its first line; returns the recipe's path."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(page):
        text = (ROOT / "docs" / page).read_text("utf-8")
        for name, body in re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", text, re.M | re.S):
            (tmp_path / name).write_text(body)
        return str(tmp_path / "my_recipe.py")

    return write


def traced(stage):
    """Terms of a training step of a stage, from shapes alone, and the FLOPs that it is planned for.

    One micro-batch on one device.
    """
    one = dataclasses.replace(stage, mesh=config.Mesh(1, 1, 1, 1))
    built = build.build(one, fitting.TOKENS, one.vocab.size, jax.devices()[:1])
    bucket = fitting.buckets(one)[0]
    program = programs.train(built, fitting.sizes(one, bucket), bucket[0])
    return jax.eval_shape(program.function, *program.arguments)[1], program.flops, built


def test_add_an_encoder(written):
    stages = recipes.expand(f"{written('add_an_encoder.md')}:train.jsonl", []).stages
    terms, flops, built = traced(stages["ctc"])
    assert built.abstract.params["encoder"]["project"]["kernel"].shape == (8 * 40, 256)
    assert "loss" in terms and flops > 0


def test_add_an_objective(written):
    stages = recipes.expand(f"{written('add_an_objective.md')}:train.jsonl", []).stages
    terms, _, built = traced(stages["ctc"])
    assert {"loss", "ctc", "z"} <= terms.keys() and "frames" in terms["weights"]
    assert built.objective.options.z_weight == 1e-4


def test_add_a_dataset(written, tmp_path, monkeypatch):
    import streams  # late: imports TensorFlow

    from seedasr_jax.data_pipelines import named

    monkeypatch.setenv("MY_CALLS", str(tmp_path / "calls"))
    for speaker in ("ann", "bob"):
        (tmp_path / "calls" / speaker).mkdir(parents=True)
        path = tmp_path / "calls" / speaker / "one.wav"
        tones.files.write(path, tones.wave("low mid"), tones.files.RATE)
        path.with_suffix(".txt").write_text("one\n")
    graph = recipes.expand(written("add_a_dataset.md"), [])
    ((source, _),) = graph.stages["sft"].data.mixture
    rows = named.open_named(source, tmp_path).rows()
    assert [(row.id, row.text, row.speaker) for row in rows] == [
        ("ann-one", "one", "ann"),
        ("bob-one", "one", "bob"),
    ]
    assert not any(row.fault for row in rows) and rows[0].seconds > 0
    with streams.opening(streams.tokenizer(tmp_path / "vocab")) as open_stream:
        batch, info = next(open_stream((source, 1.0)))
    assert batch.weight.all() and {row.id for row in info.rows} == {"ann-one", "bob-one"}
    assert np.abs(batch.wave).max() > 0 and batch.ids_length.min() > 0


def test_add_a_language(written, monkeypatch):
    for table in ("LANGUAGES", "_BY_LOWER", "_BY_NAME"):
        monkeypatch.setattr(languages, table, dict(getattr(languages, table)))
    written("add_a_language.md")
    code.import_all(["my_languages"])
    assert languages.lookup("cy-GB").name == "Welsh"
    assert languages.lookup("cy-x-north").parent == "cy"
