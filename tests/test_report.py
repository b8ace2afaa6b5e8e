"""report.html: holds what the files say, escaped, and asks for nothing outside itself."""

import html.parser
import json

import numpy as np
import pytest

from seedasr_jax.audio import files
from seedasr_jax.launch import report

SUMMARY = {
    "stages": {
        "ctc": {
            "steps": 4,
            "seconds": 12.3,
            "error_rate": {"all": 7.25, "by_language": {"en": 6.5, "zh": 8.0}},
            "error_rate_ci": {"all": [6.0, 9.5], "by_language": {"en": [5.0, 8.0]}},
        },
        "probe": {"layers": {"1": 60.0, "2": 30.5, "3": 41.0}, "best_layer": 2},
        "context_sft": {
            "context": {
                "none": {"recall": 7.0},
                "right_3": {"recall": 62.0},
                "distractors_3": {"recall": 5.0},
                "wrong": {"recall": 9.0, "follow": 76.0},
                "unseen_names": {"recall": 50.0},
            }
        },
    },
    "data": {
        "hours": 5.67,
        "overlap_sentences": 0,
        "languages": {"en": {"utterances": 10, "test_share_with_unseen_pair": 0.52}},
    },
    "totals": {"seconds": 600.0, "cpu_seconds": 1_000.0, "peak_rss_gib": 3.2},
    "transcript": {"audio": "a.wav", "reference": "a", "hypothesis": "<script>alert(1)</script>"},
}


class Page(html.parser.HTMLParser):
    """What a browser would see: balanced tags, texts, and everything that it would fetch."""

    VOID = ("meta", "link", "line", "circle", "path")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.fetched, self.texts = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self.fetched += [value for name, value in attrs if name in ("src", "href")]

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture
def out(tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps(SUMMARY))
    (tmp_path / "ctc").mkdir()
    losses = [{"step": step, "loss": 2.0 / step} for step in (1, 2, 3, 4)]
    (tmp_path / "ctc/metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in losses))
    files.write(tmp_path / "one.wav", np.arange(1_600, dtype=np.int16), files.RATE)
    sample = {
        "audio": "one.wav",
        "language": "en",
        "unit": "word",
        "reference": "call <b>ann</b> now",
        "hypotheses": {"ctc": "call an now please", "rl": "call <b>ann</b> now"},
    }
    chinese = sample | {"language": "zh", "unit": "char", "reference": "打开灯"}
    chinese["hypotheses"] = {"ctc": "打灯"}
    lines = [json.dumps(row) + "\n" for row in (sample, chinese)]
    (tmp_path / "samples.jsonl").write_text("".join(lines))
    return tmp_path


def test_the_page_shows_what_the_files_say(out):
    path = report.write(out)
    text = path.read_text()
    page = Page(text)
    said = " ".join(page.texts)
    for figure in ("7.2", "6.0 to 9.5", "5.0 to 8.0", "62.0", "76.0", "50.0", "5.67", "0.52"):
        assert figure in said, figure
    assert page.tags.count("svg") == 2 and page.tags.count("circle") == 3
    assert page.tags.count("audio") == 2
    assert "script" not in page.tags and "b" not in page.tags  # a transcript is text
    assert all(source.startswith("data:") for source in page.fetched)
    assert "<del>an" not in text and "<ins>please</ins>" in text
    assert "打<del>开</del>灯" in text


def test_the_same_files_give_the_same_page(out):
    first = report.write(out).read_bytes()
    assert report.write(out).read_bytes() == first


def test_what_is_missing_is_left_out(out):
    for name in ("samples.jsonl", "ctc/metrics.jsonl"):
        (out / name).unlink()
    summary = {key: SUMMARY[key] for key in ("totals",)} | {"stages": {"lm": {"steps": 1}}}
    (out / "summary.json").write_text(json.dumps(summary))
    page = Page(report.write(out).read_text())
    assert "svg" not in page.tags and "table" not in page.tags and "audio" not in page.tags


@pytest.mark.parametrize(
    "reference, hypothesis, expected",
    [
        ("a b", "a b", "a b"),
        ("a b c", "a c", "a <del>b</del> c"),
        ("a", "a b", "a <ins>b</ins>"),
        ("a b", "a x", "a <del>b</del> <ins>x</ins>"),
        ("a", "", "<del>a</del>"),
    ],
)
def test_differences(reference, hypothesis, expected):
    assert report._diff(reference, hypothesis, " ") == expected
