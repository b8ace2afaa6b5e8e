"""Docs state what is there: links, file names, the picture of the stages."""

import importlib.util
import pathlib
import re

import pytest

from seedasr_jax.launch import recipes

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
