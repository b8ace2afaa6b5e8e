"""Limits of a checkpoint, and the reports where an input exceeds them."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
import recordings
import tiny
import tones

import seedasr_jax
from seedasr_jax import checkpoint, config
from seedasr_jax.audio import logmel
from seedasr_jax.checkpoint import Limits
from seedasr_jax.configs import commands, common
from seedasr_jax.data_pipelines import batching, loader
from seedasr_jax.errors import UserError
from seedasr_jax.launch import cli, evaluate
from seedasr_jax.losses import ctc
from seedasr_jax.text import counted, prompts, vocab
from seedasr_jax.train import objectives


def test_a_context_is_cut_from_the_left_by_names_then_by_words():
    def cut(text, letters):
        return prompts.cut(text, lambda rest: len(rest) <= letters)

    assert cut("ann, bob, eve b", 99) == ("", "ann, bob, eve b")
    assert cut("ann, bob, eve b", 12) == ("ann", "bob, eve b")
    assert cut("ann, bob, eve b", 11) == ("ann", "bob, eve b")
    assert cut("ann, bob, eve b", 5) == ("ann, bob", "eve b")
    assert cut("ann, bob, eve b", 4) == ("ann, bob, eve", "b")
    assert cut("ann", 2) == ("ann", "")
    assert cut("", 0) == ("", "")
    names = [f"n{n}" for n in range(5_000)]
    unread, rest = cut(", ".join(names), 100)
    assert [*unread.split(", "), *rest.split(", ")] == names and 90 < len(rest) <= 100


def test_limits_follow_from_the_lineage():
    stages = config.expand(commands.get_config()).stages
    found = {}
    for name in ("ssl1", "ctc", "lm", "sft", "context_sft", "rl"):
        sources = {part: found.get(source) for part, source in stages[name].init.items()}
        known = {part: limits for part, limits in sources.items() if limits}
        prompted = objectives.needs(stages[name]).prompted
        found[name] = checkpoint.derive(stages[name], known, prompted=prompted)
    seconds = round(5.6 / 1.15, 9)
    assert found["ssl1"] == Limits(0.0, 0.0, 0, 0, ())
    assert dataclasses.replace(found["ctc"], seconds=seconds) == Limits(seconds, 0.0, 0, 20, ())
    assert found["lm"] == Limits(0.0, 0.0, 36, 0, ())
    assert found["sft"].context_tokens == 36  # its decoder learned lists
    # rl has no tempo augmentation: its buckets take whole what theirs stretch
    assert [round(found[n].seconds, 2) for n in ("ctc", "sft", "rl")] == [4.87, 4.87, 5.6]
    assert checkpoint.derive(stages["lm"], {}, prompted=False).context_tokens == 0
    informed = found["context_sft"]  # an encoder or a CTC head alone reads no context
    for name, part, tokens in (
        ("ctc", "encoder", 0),
        ("sft", "encoder", 0),
        ("sft", "decoder", 36),
    ):
        assert (
            checkpoint.derive(stages[name], {part: informed}, prompted=True).context_tokens
            == tokens
        )
    data = dict(seconds=3.0, pause=0.1, languages=["fr", "", "de", "fr"], unknown=0.25)
    known = {"converter": Limits(4.0, 0.05, 0, 9, ("ar",), 0.125)}
    assert checkpoint.derive(stages["sft"], known, prompted=True, **data) == Limits(
        4.0, 0.1, 0, 20, ("ar", "de", "fr"), 0.25
    )
    assert checkpoint.derive(stages["sft"], known, prompted=True).unknown == 0.125


def test_languages_without_training_data():
    limits = Limits(1.0, 0.1, 0, 9, ("en-US", "zh", "xx"))
    tags = ["en-GB", "eng", "yue", "cmn", "XX", "de-AT", "", "ja", "ja"]
    assert limits.untrained(tags) == ["de-AT", "ja"]
    assert Limits(1.0, 0.1, 0, 9, ()).untrained(tags) == []  # none was stated


def test_a_stage_records_its_limits(trained):
    record = checkpoint.read(trained.workdir / "sft")
    rows = [json.loads(line) for line in trained.manifest.open()]
    longest = max(row["duration"] for row in rows)
    assert record.limits == Limits(pytest.approx(longest), 0.2, 16, 4, ("en",))
    assert checkpoint.read(trained.workdir / "lm").limits.context_tokens == 0


def test_a_record_without_limits_says_how_it_gets_them(trained, tmp_path):
    workdir = shutil.copytree(trained.workdir, tmp_path / "w")
    path = workdir / "sft/stage.json"
    tree = json.loads(path.read_text())
    path.write_text(json.dumps(tree | {"limits": None}))
    with pytest.raises(UserError, match=r"sft@60.*expected limits .*resume its training"):
        _ = checkpoint.open_checkpoint(workdir).limits


def test_a_context_that_is_too_long_is_cut_and_reported(trained, tmp_path, capsys):
    wave = tones.wave("low mid", 7)
    transcriber = seedasr_jax.load(trained.workdir)
    names = [*("low", "mid", "high", "top") * 4, "mid", "top"]
    context = " ".join(names)  # with commas they would be one unknown piece
    size = lambda text: len(transcriber.recogniser.vocab.encode(text))  # noqa: E731
    unread, rest = prompts.cut(context, lambda text: size(text) <= 16)
    assert size(rest) <= 16 < size(context) and unread
    found = transcriber.transcribe(wave, 16_000, context=context)
    short = transcriber.transcribe(wave, 16_000, context=rest)
    assert found.context_unread == unread and not short.context_unread
    assert dataclasses.replace(found, context_unread="") == short
    assert capsys.readouterr().err.count("at most 16 tokens: cut from the left") == 1

    transcriber.limits = dataclasses.replace(transcriber.limits, context_tokens=0)
    found = transcriber.transcribe(wave, 16_000, context=context)
    assert found.context_unread == context
    assert dataclasses.replace(found, context_unread="") == transcriber.transcribe(wave, 16_000)
    assert "the context is not used" in capsys.readouterr().err

    # The same from rows: greedy decoding with and without a context.
    rows = [json.loads(line) for line in trained.test.read_text().splitlines()[:4]]
    plain = recordings.manifest(trained.test.parent / "plain.jsonl", rows)
    given = [row | {"context": text} for row, text in zip(rows, ("top", context, "", "low"))]
    given = recordings.manifest(trained.test.parent / "context.jsonl", given)
    workdir = shutil.copytree(trained.workdir, tmp_path / "w")
    scores = {}
    for tokens, path in ((16, given), (0, given), (0, plain)):
        tones.learned_contexts(workdir / "sft", tokens)
        out = tmp_path / f"{tokens}{path.stem}"
        options = dict(decode="greedy", buckets=((2.0, 2, 4),), out=out)
        (row,), _ = evaluate.run(workdir, [f"manifest:{path}"], **options)
        said = [json.loads(line) for line in (out / "transcripts.jsonl").open()]
        scores[tokens, path.stem] = row, said
        capsys.readouterr()
    row, said = scores[16, "context"]
    assert row["contexts_cut"] == 1 and "contexts_unused" not in row
    assert [u["context_unread"] for u in said if u["context_unread"]] == [unread]
    row, said = scores[0, "context"]
    assert row["contexts_unused"] == 3 and "contexts_cut" not in row and "context" not in row
    assert [u["hypothesis"] for u in said] == [u["hypothesis"] for u in scores[0, "plain"][1]]
    assert not {"contexts_unused", "contexts_cut"} & set(scores[0, "plain"][0])
    # two tokens are decoded at most
    stopped = [u["cut"] for u in said]
    assert row.get("cut", 0) == sum(stopped) > 0
    assert all(len(u["hypothesis"].split()) == 2 for u in said if u["cut"])


def test_rows_that_ctc_cannot_align_weigh_nothing_and_are_named():
    """By the rule of the loss, with the encoder's frames at the slowest tempo."""
    rng, rows = np.random.default_rng(0), 64
    stage = tiny.stage("ctc", ("encoder", "ctc_head"), ("encoder", "ctc_head"))
    stage = dataclasses.replace(stage, augment=tiny.augment(tempo=(0.8, 1.0)))
    objective = objectives.make(stage, tiny.TOKENS, tiny.VOCABULARY)
    nothing = np.zeros(0, np.int32)
    examples = [
        dict(
            wave=np.ones(rng.integers(200, 6_000), np.int16),
            ids=rng.integers(4, 7, rng.integers(1, 11)).astype(np.int32),
            context_ids=nothing,
            language_row=0,
        )
        for _ in range(rows)
    ]
    reading = batching.PromptText(None)
    shape = (1.0, 12, rows), reading, 0
    batch, faults = batching.collate(examples, *shape, frames=objective.most_frames)
    whole, none = batching.collate(examples, *shape)
    assert not any(none)
    frames = -(-logmel.num_frames(whole.wave_length, 0.8) // 4)
    wanted = ctc.feasible(whole.ids, whole.ids_length, frames)
    np.testing.assert_array_equal(batch.weight, wanted)
    assert 0 < batch.weight.sum() < rows
    assert {fault.reason for fault in faults if fault} == {"more tokens than frames"}

    @jax.jit
    def drawn(batch, rng):
        return objective.weigh(batch, rng), objective.channel(batch, rng).tempo

    # What fits at the slowest tempo may not at the one that is drawn: counted, and said once.
    batch.ids_length[np.flatnonzero(batch.weight)[0]] = 0  # nothing to align is nothing left out
    (weights, tempo), said, seen = drawn(batch, jax.random.key(0)), [], None
    frames = -(-logmel.num_frames(batch.wave_length, np.asarray(tempo)) // 4)
    lost = (batch.weight > 0) & (batch.ids_length > 0)
    lost &= ~ctc.feasible(batch.ids, batch.ids_length, frames)
    assert weights["unaligned"] == lost.sum() > 0
    assert weights["utterances"] == batch.weight.sum()
    for _ in range(3):
        seen, line = objective.watch(seen, {"weights": jax.tree.map(np.asarray, weights)})
        said += [line] * bool(line)
    share = 100 * lost.sum() / batch.weight.sum()
    assert len(said) == 1 and f"leaves out {share:.0f} % of" in said[0]
    assert "augment.tempo" in said[0] and seen[0] == 3 * lost.sum()
    assert objective.watch(None, {"weights": {"unaligned": 0, "utterances": 64}})[1] == ""
    assert objective.needs.aligned
    for weight in (0.0, 0.3):
        own = tiny.stage("sft", (), (), objective=dict(ctc_weight=weight))
        assert objectives.needs(own).aligned == (weight > 0)


def test_unknown_tokens_are_counted_and_reported(tmp_path, capsys):
    manifest = tones.write(tmp_path, 30)
    rows = [json.loads(line) for line in manifest.open()]
    rows = [row | {"text": f"{row['text']} word{n:03}"} for n, row in enumerate(rows)]
    recordings.manifest(manifest, rows)
    command = [
        "data",
        "vocab",
        f"--source=manifest:{manifest}",
        f"--cache={tmp_path}",
        "--kind=word",
    ]
    for size, said in ((22, True), (60, False)):
        assert cli.main([*command, f"--out={tmp_path}/{size}", f"--size={size}"]) == 0
        err = capsys.readouterr().err
        assert ("% of the tokens are unknown" in err) == said
    tokenizer = vocab.open_vocabulary(tmp_path / "22")
    counts = counted.Counted(tokenizer)
    for row in rows:
        assert counts(row["text"]) == len(row["text"].split())
    words = [row["text"].split()[-1] for row in rows]
    lost = [word for word in words if tokenizer.decode(tokenizer.encode(word)) != word]
    assert counts.unknown == len(lost) > 20
    with loader.training(
        config.build(common.data(((f"manifest:{manifest}", 1.0),), ((2.0, 8, 4),)), config.Data),
        tokenizer,
        seed=0,
        start=0,
        data_folder=tmp_path,
        template=None,
    ) as stream:
        assert stream.known.unknown == counts.warning
        assert stream.known.unknown_share == counts.share == counts.unknown / counts.tokens > 0.2
