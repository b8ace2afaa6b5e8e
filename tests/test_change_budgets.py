"""What a change costs that needs no fork: modules outside the package, named in `config.imports`.

An encoder: test_stages.py and own_encoder.py. A dataset: test_tasks.py, as a SeqIO task.
"""

import json
import shutil
import sys

import pytest
import recordings
import tones

from seedasr_jax import checkpoint, flops
from seedasr_jax import workdir as disk
from seedasr_jax.errors import ConfigError
from seedasr_jax.launch import evaluate, run
from seedasr_jax.text import languages

RECIPE = """
import tones_recipe


def get_config(manifest):
    c = tones_recipe.get_config(manifest).unlock()
    c.imports = (*c.imports, "own_part")
    for name in ("lm", "sft"):
        del c.stages[name]
    s = c.stages.ctc
    s.kind, s.steps, s.optim.warmup = "ctc_and_loudness", 4, 2
    s.objective = dict(loudness_weight=0.5)
    s.init.loudness_head, s.trains = "fresh", (*s.trains, "loudness_head")
    return c.lock()
"""


@pytest.mark.usefixtures("one_device")
def test_a_part_and_an_objective_with_a_loss_term_of_its_own(trained, tmp_path):
    (tmp_path / "recipe.py").write_text(RECIPE)
    graph = tones.recipes.expand(f"{tmp_path}/recipe.py:{trained.manifest}", [])
    assert run.train(graph, tmp_path / "workdir") == 0
    (row,) = disk.read_rows(tmp_path / "workdir/ctc/metrics.jsonl", "step")
    assert row["loss"] == pytest.approx(row["ctc"] + 0.5 * row["loudness"])
    found = checkpoint.open_checkpoint(tmp_path / "workdir")
    assert found.imports[-1] == "own_part"
    assert set(found.shapes("loudness_head")) == {"loudness_head.project.kernel"}
    sizes = flops.Sizes(2, 16_000, 0, 0, 4)
    counted = flops.forward(found.stage.model, 20, ("encoder", "loudness_head"), sizes)
    assert counted["loudness_head"] == 2 * 2 * 25 * 32


def test_a_language_is_scored_in_its_own_unit(trained, tmp_path, monkeypatch):
    """As its row says: by character, where the tones' own language counts words."""
    for table in ("LANGUAGES", "_BY_LOWER", "_BY_NAME"):  # other tests have the table as it is
        monkeypatch.setattr(languages, table, dict(getattr(languages, table)))
    monkeypatch.delitem(sys.modules, "own_language", raising=False)
    rows = [json.loads(line) for line in trained.test.read_text().splitlines()]
    for row in rows:
        row |= {"lang": "tlh"}
    manifest = recordings.manifest(trained.test.with_name("klingon.jsonl"), rows)
    workdir = shutil.copytree(trained.workdir, tmp_path / "workdir")
    graph = disk.read_json(workdir / disk.CONFIG)
    imports = [*graph["imports"], "own_language"]
    disk.write_json(workdir / disk.CONFIG, graph | {"imports": imports})
    evaluate.run(
        workdir / "ctc", [f"manifest:{manifest}", f"manifest:{trained.test}"], out=tmp_path
    )
    by_char, by_word = disk.read_rows(tmp_path / disk.RESULTS, "ref_len")
    assert by_word["ref_len"] == sum(len(row["text"].split()) for row in rows)
    assert by_char["ref_len"] == sum(len(row["text"].replace(" ", "")) for row in rows)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            dict(parent="enn"),
            "'xx': expected a parent that has a row, found 'enn'. Did you mean en",
        ),
        (dict(unit="letter"), "'xx': expected a unit of word, char, found 'letter'"),
    ],
)
def test_a_row_that_cannot_be(changes, message):
    row = dict(tag="xx", name="X", parent="", script="Latn", unit="word", normalizer="basic@2")
    with pytest.raises(ConfigError, match=message):
        languages.add(languages.Language(**(row | changes)))
