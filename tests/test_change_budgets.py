"""What a change costs that needs no fork: modules outside the package, named in `config.imports`.

A dataset: test_tasks.py, as a SeqIO task.
"""

import contextlib
import dataclasses
import json
import math
import shutil
import sys

import jax
import pytest
import recordings
import tones

from seedasr_jax import checkpoint, config, flops
from seedasr_jax import workdir as disk
from seedasr_jax.errors import ConfigError
from seedasr_jax.evaluate import opening
from seedasr_jax.launch import decide, evaluate, export, run
from seedasr_jax.models import parts
from seedasr_jax.plan import fitting, programs
from seedasr_jax.text import languages, vocab
from seedasr_jax.train import build

RECIPE = """
import tones_recipe


def get_config(manifest):
    c = tones_recipe.get_config(manifest).unlock()
    c.imports = ("outside_part", "outside_encoder_options", "outside_decoder")
    del c.stages.sft
    c.model.variant = dict(kind="paper")
    c.model.decoder.update(kind="capped", cap=0.01)
    s = c.stages.lm
    s.kind, s.objective, s.steps, s.optim.warmup = "lm", dict(), 1, 0
    s = c.stages.ctc
    s.kind, s.steps, s.optim.warmup = "ctc_and_loudness", 4, 2
    s.objective = dict(loudness_weight=0.5)
    s.init.loudness_head, s.trains = "fresh", (*s.trains, "loudness_head")
    frontend = dict(kind="energies", hop=80, width=8)
    c.model.encoder = dict(kind="thirteen", frontend=frontend, layers=1, width=32, patch=16)
    return c.lock()
"""


@pytest.fixture
def registries(monkeypatch):
    """Other tests find what these modules register as it was before."""
    for module, table in (
        (parts, "_PARTS"),
        (languages, "LANGUAGES"),
        (languages, "_BY_LOWER"),
        (languages, "_BY_NAME"),
    ):
        monkeypatch.setattr(module, table, dict(getattr(module, table)))
    for name in ("outside_part", "outside_language"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("one_device", "registries")
def test_an_encoder_a_part_an_objective_and_a_decoder(trained, tmp_path):
    """Another front end, hop and rounding, and a loss term with a part of its own.

    An encoder is two modules, a part with its objective one; they train, decode, export and plan.
    A decoder is one module.
    """
    (tmp_path / "recipe.py").write_text(RECIPE)
    graph = tones.recipes.expand(f"{tmp_path}/recipe.py:{trained.manifest}", [])
    workdir = tmp_path / "workdir"
    assert run.train(graph, workdir) == 0
    row = disk.read_rows(workdir / "ctc/metrics.jsonl", "step")[-1]
    assert row["loss"] == pytest.approx(row["ctc"] + 0.5 * row["loudness"])
    assert any(key.startswith("eval/") for key in row)  # decoded
    text = disk.read_rows(workdir / "lm/metrics.jsonl", "step")[-1]
    found = checkpoint.open_checkpoint(workdir)
    pieces = vocab.open_vocabulary(found.vocab).size
    assert text["loss"] == pytest.approx(math.log(pieces), abs=2 * 0.01)  # logits are capped
    assert found.imports == ("outside_part", "outside_encoder_options", "outside_decoder")
    assert set(found.shapes("encoder")) == {"encoder.project.kernel"}
    assert set(found.shapes("loudness_head")) == {"loudness_head.project.kernel"}
    sizes = flops.Sizes(2, 16_000, 0, 0, 4)
    counted = flops.forward(found.stage.model, 20, ("encoder", "loudness_head"), sizes)
    assert counted["loudness_head"] == 2 * 2 * 13 * 32
    assert flops.forward(found.stage.model, 20, ("decoder",), sizes)["decoder"] > 0
    export.bundle(workdir, tmp_path / "bundle")  # decodes as the original, or raises
    del parts._PARTS["loudness_head"], sys.modules["outside_part"]  # as in another process
    opening.open_recogniser(checkpoint.open_checkpoint(tmp_path / "bundle"))
    planned = dataclasses.replace(graph.stages["ctc"], mesh=config.Mesh(1, 1, 1, 1))
    built = build.build(planned, fitting.TOKENS, planned.vocab.size, jax.devices()[:1])
    bucket = fitting.buckets(planned)[-1]
    program = programs.train(built, fitting.sizes(planned, bucket), bucket[0])
    assert program.function.lower(*program.arguments).cost_analysis()["flops"] > program.flops > 0


def test_a_module_that_is_not_there_is_named(trained, tmp_path):
    (tmp_path / "recipe.py").write_text(RECIPE.replace("outside_part", "outside_prat"))
    with pytest.raises(ConfigError, match="outside_prat"):
        tones.recipes.expand(f"{tmp_path}/recipe.py:{trained.manifest}", [])


@pytest.mark.usefixtures("registries")
def test_a_language_is_scored_in_its_own_unit(trained, tmp_path):
    """As its row says: by character, where the tones' own language counts words."""
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


@pytest.mark.usefixtures("registries")
def test_a_checkpoint_brings_no_modules_into_a_job(trained, tmp_path):
    """Else the process that checks, or a first start, would know more than the others."""
    source = shutil.copytree(trained.workdir, tmp_path / "source")
    graph = disk.read_json(source / disk.CONFIG)
    both = [*graph["imports"], "outside_language"]
    disk.write_json(source / disk.CONFIG, graph | {"imports": both})

    def decided(**more):
        begun = trained.graph(stages__ctc__init__encoder=f"'{source}/ctc'", **more)
        with contextlib.ExitStack() as resources:
            decide.decide(begun, tmp_path / "workdir", "ctc", "", resources)

    with pytest.raises(ConfigError, match=r"'ctc': init\.encoder: .*lacks: add outside_lang"):
        decided()
    assert "tlh" not in languages.LANGUAGES
    decided(imports="('outside_language',)")
    assert "tlh" in languages.LANGUAGES


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            dict(parent="enn"),
            "'xx': expected a parent that has a row, found 'enn'. Did you mean en",
        ),
        (dict(unit="letter"), "'xx': unit: expected one of word, char, found 'letter'"),
    ],
)
def test_an_invalid_language_is_refused(changes, message):
    row = dict(tag="xx", name="X", parent="", script="Latn", unit="word", normalizer="basic@2")
    with pytest.raises(ConfigError, match=message):
        languages.add(languages.Language(**(row | changes)))
