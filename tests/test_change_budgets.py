"""What a change costs that needs no fork: modules outside the package, named in `config.imports`.

A dataset: test_tasks.py, as a SeqIO task.
"""

import dataclasses
import json
import shutil
import sys

import jax
import pytest
import recordings
import tones

from seedasr_jax import checkpoint, config, flops
from seedasr_jax import workdir as disk
from seedasr_jax.errors import ConfigError
from seedasr_jax.launch import evaluate, export, run
from seedasr_jax.plan import fitting, programs
from seedasr_jax.text import languages
from seedasr_jax.train import build

OBJECTIVE = """
from seedasr_jax.train import objectives
from seedasr_jax.train.objectives.ctc import Ctc


@objectives.register("double_ctc")
class DoubleCtc(Ctc):
    def loss(self, model, batch, weights, rng):
        loss, terms = super().loss(model, batch, weights, rng)
        return 2 * loss, terms | {"double": 2 * loss}
"""
ENCODER = """
import tones_recipe


def get_config(manifest):
    c = tones_recipe.get_config(manifest).unlock()
    c.imports = ("own_objective", "outside_encoder_options")
    for name in ("lm", "sft"):
        del c.stages[name]
    c.stages.ctc.kind = "double_ctc"
    c.stages.ctc.steps, c.stages.ctc.optim.warmup = 4, 2
    frontend = dict(kind="energies", hop=80, width=8)
    c.model.encoder = dict(kind="thirteen", frontend=frontend, layers=1, width=32, patch=16)
    return c.lock()
"""


@pytest.mark.usefixtures("one_device")
def test_an_encoder_and_an_objective(trained, tmp_path, monkeypatch):
    """Another front end, hop and rounding: two modules, and it trains, decodes, exports, plans."""
    (tmp_path / "own_objective.py").write_text(OBJECTIVE)
    (tmp_path / "recipe.py").write_text(ENCODER)
    spec = f"{tmp_path}/recipe.py:{trained.manifest}"
    with pytest.raises(ConfigError, match="own_objective"):
        tones.recipes.expand(spec, [])
    monkeypatch.syspath_prepend(tmp_path)
    graph, workdir = tones.recipes.expand(spec, []), tmp_path / "workdir"
    assert run.train(graph, workdir) == 0
    row = disk.read_rows(workdir / "ctc/metrics.jsonl")[-1]
    assert row["double"] == pytest.approx(2 * row["loss"])
    found = checkpoint.open_checkpoint(workdir)
    assert found.imports == ("own_objective", "outside_encoder_options")
    assert set(found.shapes("encoder")) == {"encoder.project.kernel"}
    assert any(key.startswith("eval/") for key in row)  # decoded
    export.bundle(workdir, tmp_path / "bundle")  # decodes as the original, or raises
    planned = dataclasses.replace(graph.stages["ctc"], mesh=config.Mesh(1, 1, 1, 1))
    built = build.build(planned, fitting.TOKENS, planned.vocab.size, jax.devices()[:1])
    bucket = fitting.buckets(planned)[-1]
    sizes = fitting.sizes(planned, bucket)
    program = programs.train(built, sizes, bucket[0])
    assert program.function.lower(*program.arguments).cost_analysis()["flops"] > program.flops > 0


PART = """
import tones_recipe


def get_config(manifest):
    c = tones_recipe.get_config(manifest).unlock()
    c.imports = (*c.imports, "outside_part")
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
    (tmp_path / "recipe.py").write_text(PART)
    graph = tones.recipes.expand(f"{tmp_path}/recipe.py:{trained.manifest}", [])
    assert run.train(graph, tmp_path / "workdir") == 0
    (row,) = disk.read_rows(tmp_path / "workdir/ctc/metrics.jsonl", "step")
    assert row["loss"] == pytest.approx(row["ctc"] + 0.5 * row["loudness"])
    found = checkpoint.open_checkpoint(tmp_path / "workdir")
    assert found.imports[-1] == "outside_part"
    assert set(found.shapes("loudness_head")) == {"loudness_head.project.kernel"}
    sizes = flops.Sizes(2, 16_000, 0, 0, 4)
    counted = flops.forward(found.stage.model, 20, ("encoder", "loudness_head"), sizes)
    assert counted["loudness_head"] == 2 * 2 * 25 * 32


def test_a_language_is_scored_in_its_own_unit(trained, tmp_path, monkeypatch):
    """As its row says: by character, where the tones' own language counts words."""
    for table in ("LANGUAGES", "_BY_LOWER", "_BY_NAME"):  # other tests have the table as it is
        monkeypatch.setattr(languages, table, dict(getattr(languages, table)))
    monkeypatch.delitem(sys.modules, "outside_language", raising=False)
    rows = [json.loads(line) for line in trained.test.read_text().splitlines()]
    for row in rows:
        row |= {"lang": "tlh"}
    manifest = recordings.manifest(trained.test.with_name("klingon.jsonl"), rows)
    workdir = shutil.copytree(trained.workdir, tmp_path / "workdir")
    graph = disk.read_json(workdir / disk.CONFIG)
    imports = [*graph["imports"], "outside_language"]
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
