"""A small folder as the quickstart leaves it, every section of the page filled: figures made up."""

import json

import numpy as np

from seedasr_jax.audio import files

TAGS = ("en", "es", "pt", "zh", "yue")
DIALECTS = ("en-GB-scotland", "en-US", "es-MX", "pt-BR", "yue", "zh")


def _rates(rate):
    by = {key: {t: rate + n for n, t in enumerate(tags)} for key, tags in _BY.items()}
    rates = {"all": rate, **by}
    return {
        "error_rate": rates,
        "error_rate_ci": {"all": [rate - 0.8, rate + 0.9]}
        | {k: {t: [v - 2.0, v + 2.5] for t, v in own.items()} for k, own in by.items()}
        | {"by_dialect": {t: [None, None] for t in DIALECTS}},
        "utterances": {"all": 700} | {k: dict.fromkeys(own, 140) for k, own in by.items()},
    }


_BY = {"by_language": TAGS, "by_dialect": DIALECTS}


def _figures(recall, **more):
    own = {"recall": recall, "error_rate": 6.25, "siblings": 3.0} | more
    return own | {"by_language": {t: own | {"recall": recall + n} for n, t in enumerate(TAGS)}}


def _context(recall):
    return {
        "none": _figures(7.0),
        "right_3": _figures(recall),
        "distractors_3": _figures(
            5.0, cost=0.4, false_insertions=2.5, homophones=_figures(5.0, false_insertions=12.5)
        ),
        "wrong": _figures(9.0, follow=76.0),
        "unseen_names": _figures(50.0, none=_figures(1.0), false_insertions=30.0),
        "pruning": {s: {"false_insertions": v} for s, v in (("on", 11.0), ("off", 33.0))},
    }


def _trained(steps, **more):
    own = {"steps": steps, "seconds": 61.5, "cpu_seconds": 100.0, "parent": {"encoder": "ctc@9"}}
    return own | {"loss_first": 7.5, "loss_last": 0.125} | more


def summary() -> dict:
    """All that summary.json may hold."""
    contexts, after = _context(62.0), _context(63.5)
    contexts["matcher"] = {
        "threshold": dict.fromkeys(TAGS, 0.3),
        "right_3": _figures(80.0),
        "distractors_3": contexts["distractors_3"],
        "unseen_names": _figures(70.0, false_insertions=32.0),
    }
    paired = {"test": {"difference": -0.5, "ci": [-0.9, -0.1]}}
    paired["none"] = {"difference": 0.25, "ci": [-0.75, 1.25]}
    paired["unseen_none"] = {"difference": 2.0, "ci": [None, None]}  # of too few
    rl = _trained(100, context=after, paired=paired, **_rates(4.75))
    rl |= {"keyword_recall_before": 62.0, "keyword_recall_after": 63.5}
    rl |= {"expected_errors": [[n, 0.3 / n] for n in range(10, 101, 10)]}
    data = {"hours": 5.67, "overlap_sentences": 0}
    data["languages"] = {
        tag: {
            "utterances": 2000 + n,
            "distinct_words": 210,
            "train_sentences": 1500,
            "train_voices": 44,
            "test_voices": 12,
            "test_share_with_unseen_pair": 0.55,
        }
        for n, tag in enumerate(TAGS)
    }
    return {
        "stages": {
            "ssl1": _trained(600),
            "probe": _trained(300, layers={"1": 60.0, "2": 30.5, "3": 41.0}, best_layer=2),
            "ctc": _trained(5000, labels="clock", **_rates(7.25)),
            "context_sft": _trained(300, context=contexts, **_rates(5.0)),
            "rl": rl,
        },
        "data": data,
        "totals": {
            "seconds": 600.0,
            "install_seconds": 90.0,
            "cpu_seconds": 1_000.0,
            "peak_rss_gib": 3.2,
        },
        "transcript": {"audio": "a.wav", "reference": "a", "hypothesis": "<b>a</b>"},
        "versions": {"python": "3.11.2", "jax": "0.10.2"},
    }


SAMPLES = (
    ("en-US", "word", "call <b>ann</b> now", {"ctc": "call an now please", "rl": "call ann now"}),
    ("zh", "char", "打开灯", {"ctc": "打灯", "rl": "打开灯"}),
)


def write(folder):
    """Writes summary.json, metrics.jsonl of two stages, and samples.jsonl with tones."""
    (folder / "summary.json").write_text(json.dumps(summary()))
    for stage in ("ssl1", "ctc"):
        (folder / stage).mkdir()
        losses = [
            {"step": step, "loss": 7.5 * 0.7 ** (step / 450)} for step in range(50, 5_001, 450)
        ]
        lines = "".join(json.dumps(row) + "\n" for row in losses)
        (folder / stage / "metrics.jsonl").write_text(lines)
    rows = []
    for number, (tag, unit, reference, hypotheses) in enumerate(SAMPLES, 1):
        time = np.arange(number * files.RATE // 4) / files.RATE
        wave = 8_000 * np.sin(2 * np.pi * 300 * number * time)
        files.write(folder / f"{number}.wav", wave.astype(np.int16), files.RATE)
        rows.append(
            {
                "audio": f"{number}.wav",
                "language": tag,
                "unit": unit,
                "reference": reference,
                "hypotheses": hypotheses,
            }
        )
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "samples.jsonl").write_text(lines)
    return folder
