"""Evaluations: every utterance once, in buckets of their own; long ones are cut."""

import shutil

import numpy as np
import pytest
import recordings
from streams import COUNT, evaluate
import tiny
import tones

from seedasr_jax import checkpoint, config
from seedasr_jax.audio import files
from seedasr_jax.batch import CONTINUED
from seedasr_jax.data_pipelines import loader
from seedasr_jax.decode import scoring
from seedasr_jax.errors import ConfigError, DataError
from seedasr_jax.parallel import mesh as meshes
from seedasr_jax.parallel import sharding
from seedasr_jax.plan import fitting


def test_evaluation_has_every_utterance_once(corpus, tokenizer):
    found = evaluate(f"manifest:{corpus}", tokenizer)
    assert [row.id for row in found.examples] == [row["id"] for row in recordings.rows(COUNT)]
    for _ in range(2):  # it can be run again
        seen = []
        for batch, rows in found:
            assert batch.weight.tolist() == [float(row is not None) for row in rows]
            assert batch.wave.shape[0] == len(rows) in (2, 4)
            for place, row in enumerate(rows):
                if row is not None:
                    seen.append(row.id)
                    assert batch.wave[place, 0] * 32_768 == int(row.id[1:]) + 1
                    assert batch.prompt_length[place] > 0
        assert sorted(seen) == [row.id for row in found.examples]


def test_an_evaluation_has_shapes_of_its_own(corpus, tokenizer):
    """Rows fill what shares a batch, processes have their parts, no reference is too long."""
    options = dict(buckets=((0.5, 1, 3),), data_folder="unused", normalizer="basic@1")
    options |= dict(template=tiny.template(tokenizer), multiple=4)
    spec = f"manifest:{corpus}?limit=6"
    whole = list(loader.evaluation(spec, tokenizer, **options))
    assert [batch.weight.tolist() for batch, _ in whole] == [[1] * 4, [1, 1, 0, 0]]
    assert {batch.ids.shape for batch, _ in whole} == {(4, 1)}
    parts = [list(loader.evaluation(spec, tokenizer, **options, share=(n, 2))) for n in (0, 1)]
    for (batch, rows), *shares in zip(whole, *parts, strict=True):
        assert all(own == rows for _, own in shares)
        together = np.concatenate([share.wave for share, _ in shares])
        np.testing.assert_array_equal(together, batch.wave)
    with pytest.raises(ConfigError, match=r"buckets: expected seconds above 0, at most"):
        evaluate(spec, tokenizer, ((0.5, 0, 3),))


def test_processes_share_the_pieces_of_a_long_utterance(tokenizer, tmp_path):
    waves = {"a": tones.wave("low", 0), "long": np.tile(tones.wave("top", 1), 9)}
    waves |= {"silent": np.zeros(8_000, np.int16), "b": tones.wave("mid", 2)}
    rows = [{"id": name, "audio": f"{name}.wav", "text": "one"} for name in waves]
    rows[-1]["text"] = "one quux"  # which the tokenizer does not know
    for name, wave in waves.items():
        files.write(tmp_path / f"{name}.wav", wave, files.RATE)
    spec = f"manifest:{recordings.manifest(tmp_path / 'four.jsonl', rows)}"
    options = dict(buckets=((0.8, 6, 4),), data_folder="", normalizer="basic@1", template=None)
    options |= dict(limit=(0.8, 0.2))
    whole = list(loader.evaluation(spec, tokenizer, **options))
    named = [getattr(row, "id", row) for _, examples in whole for row in examples]
    assert named == ["a", "long", *[CONTINUED] * 4, "silent", "b"]
    assert [w for batch, _ in whole for w in batch.weight] == [1] * 6 + [0, 1]
    segments = [w[:n] for batch, _ in whole for w, n in zip(batch.wave, batch.wave_length)]
    np.testing.assert_array_equal(np.concatenate(segments[1:6]), files.to_float(waves["long"]))
    parts = [loader.evaluation(spec, tokenizer, **options, share=(n, 2)) for n in (0, 1)]
    assert parts[0].unknown == 1
    with pytest.raises(ConfigError, match=r"longest segment to decode has 2 s.*found 0\.8 s"):
        loader.evaluation(spec, tokenizer, **options | dict(limit=(2.0, 0.2)))
    for (batch, examples), *shares in zip(whole, *parts, strict=True):
        assert all(own == examples for _, own in shares)
        together = np.concatenate([share.wave for share, _ in shares])
        np.testing.assert_array_equal(together, batch.wave)


@pytest.mark.parametrize("decode", ["ctc", "ctc,long=direct"])
def test_the_shapes_that_run_are_those_that_are_planned(decode, tokenizer, tmp_path):
    """Of a stage whose buckets have 0.8 s; only as one segment 3 s take a longer shape."""
    rows = [{"id": name, "audio": f"{name}.wav", "text": "one"} for name in ("short", "long")]
    for row, repeats in zip(rows, (1, 9)):
        files.write(tmp_path / row["audio"], np.tile(tones.wave("top", 1), repeats), files.RATE)
    spec = f"manifest:{recordings.manifest(tmp_path / 'two.jsonl', rows)}"
    parts, changes = ("encoder", "ctc_head"), {"eval.decode": decode, "eval.tokens": 6}
    stage = tiny.stage("ctc", parts, parts, seconds=0.8, **changes)
    mesh = meshes.make(config.Mesh(8, 1, 1, 1))
    how = scoring.of(decode, stage.scored, checkpoint.derive(stage, {}, prompted=False))
    planned = fitting.score_buckets(how, mesh, "all")
    options = dict(data_folder="", template=None, normalizer="basic@2")
    options |= dict(buckets=how.buckets, limit=how.limit, multiple=sharding.padded_rows(1, mesh))
    ran = {
        (batch.wave.shape[1] / files.RATE, batch.ids.shape[1], len(batch.weight))
        for batch, _ in loader.evaluation(spec, tokenizer, **options)
    }
    if decode == "ctc":
        assert ran == set(planned) == {(0.8, 6, 8)}
    else:
        assert ran == {(0.8, 6, 8), (3.2, 24, 8)} < set(planned)
    assert fitting.score_buckets(how, mesh) == planned[-1:]


def test_buckets_go_on_to_five_minutes():
    assert config.longer(((40.0, 64, 3),))[1:] == ((80.0, 128, 1), (160.0, 256, 1), (320.0, 512, 1))
    assert config.longer(((400.0, 64, 3),)) == ((400.0, 64, 3),)
    assert config.longer(((0.0, 64, 3),)) == ((0.0, 64, 3),)


def test_a_joined_evaluation_is_fixed(corpus, tokenizer):
    spec = f"manifest:{corpus}?join=3-6&seed=0"
    one, other = (evaluate(spec, tokenizer, ((4.0, 80, 4),)) for _ in range(2))
    assert one.examples == other.examples and len(one.examples[0].segments) >= 3
    assert one.name.startswith("manifest:corpus.jsonl?join=3-6&seed=0#")
    assert sum(batch.weight.sum() for batch, _ in one) == len(one.examples)
    changed = evaluate(f"manifest:{corpus}?join=3-6&seed=1", tokenizer, ((4.0, 80, 4),))
    assert changed.examples != one.examples


def test_an_evaluation_never_shrinks(corpus, tokenizer, tmp_path):
    with pytest.raises(DataError, match=r"utterances fit no bucket: .*longer than 0.2 s.*enlarge"):
        evaluate(f"manifest:{corpus}", tokenizer, ((0.2, 20, 4),))
    shutil.copytree(corpus.parent, tmp_path / "copy")
    rows = recordings.rows(COUNT)
    copy = tmp_path / "copy" / corpus.name
    (tmp_path / "copy" / rows[3]["audio"]).unlink()
    with pytest.raises(DataError, match=r"r003: missing audio: .*excludes nothing"):
        list(evaluate(f"manifest:{copy}", tokenizer))
    recordings.manifest(copy, [rows[0], rows[1] | {"text": ""}])
    ((batch, found),) = evaluate(f"manifest:{copy}", tokenizer)  # nothing is said there
    lengths = {row.id: n for row, n in zip(found, batch.ids_length.tolist()) if row}
    assert lengths["r001"] == 0 and lengths["r000"] > 0 and batch.weight.sum() == 2
    recordings.manifest(copy, [rows[0], rows[1] | {"text": None}])
    with pytest.raises(DataError, match=r"line 2 \(r001\): no text"):
        evaluate(f"manifest:{copy}", tokenizer)
