"""report.html: holds what the files say, escaped, and asks for nothing outside itself."""

import html
import html.parser
import json

import pytest
import shown

from seedasr_jax.launch.quickstart import report
from seedasr_jax.launch.quickstart.report import chart, listen


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
    return shown.write(tmp_path)


def test_the_page_shows_what_the_files_say(out):
    text = report.write(out).read_text()
    page = Page(text)
    said = " ".join(page.texts)
    figures = ["7.2", "6.5 to 8.2", "n = 700", "n = 140", "62.0", "76.0", "50.0", "5.67", "55 %"]
    figures += ["80.0", "33.0", "11.0", "12.5", "0.4", "10.0 min", "1.5 min", "7.5 → 0.125"]
    figures += ["-0.50", "fewer errors", "no difference shown", "too few for one"]
    figures += ["best: layer 2", "Scottish English"]
    for figure in figures:
        assert figure in said, figure
    assert "ctc</code> was trained with the synthesiser's clock" in html.unescape(text)
    # Two losses, the probe with its three layers, the errors that rl expects.
    assert page.tags.count("svg") == 4 and page.tags.count("circle") == 3
    assert page.tags.count("audio") == 2
    assert "script" not in page.tags and "b" not in page.tags  # a transcript is text
    assert all(source.startswith("data:") for source in page.fetched)
    assert "<ins>please</ins>" in text and "打<del>开</del>灯" in text


def test_the_clock_is_named_only_where_it_labelled_anything(out):
    path = out / "summary.json"
    made = json.loads(path.read_text())
    del made["stages"]["ctc"]["labels"]
    path.write_text(json.dumps(made))
    text = report.write(out).read_text()
    assert "with the synthesiser's clock" not in html.unescape(text)


def test_every_line_of_a_table_is_as_long_as_its_head(out):
    class Tables(html.parser.HTMLParser):
        def __init__(self, text):
            super().__init__()
            self.tables = []
            self.feed(text)

        def handle_starttag(self, tag, attrs):
            if tag == "table":
                self.tables.append([])
            elif tag == "tr":
                self.tables[-1].append(0)
            elif tag in ("td", "th"):
                self.tables[-1][-1] += int(dict(attrs).get("colspan", 1))

    tables = Tables(report.write(out).read_text()).tables
    assert len(tables) == 8
    for lines in tables:
        assert len(set(lines)) == 1 and len(lines) > 1, lines


def test_the_same_files_give_the_same_page(out):
    first = report.write(out).read_bytes()
    assert report.write(out).read_bytes() == first


def test_what_is_missing_is_left_out(out):
    (out / "samples.jsonl").unlink()
    made = {"totals": shown.summary()["totals"], "stages": {"lm": {"steps": 1}}}
    (out / "summary.json").write_text(json.dumps(made))
    page = Page(report.write(out).read_text())
    assert not {"svg", "table", "audio"} & set(page.tags)


@pytest.mark.parametrize("lacking", ["by_language", "by_dialect"])
def test_a_graph_of_one_language(out, lacking):
    made = shown.summary()
    stage = {"ctc": made["stages"]["ctc"]}
    for key in ("error_rate", "error_rate_ci", "utterances"):
        del stage["ctc"][key][lacking]
    (out / "summary.json").write_text(json.dumps(made | {"stages": stage}))
    assert "7.2" in " ".join(Page(report.write(out).read_text()).texts)


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
    assert listen.diff(reference, hypothesis, " ") == expected


@pytest.mark.parametrize(
    "low, high, whole, expected",
    [
        (0, 1, False, [0, 0.5, 1]),
        (0, 60.0, False, [0, 20, 40, 60]),
        (0, 7.6, False, [0, 2, 4, 6, 8]),
        (-1.3, 2.4, False, [-2, -1, 0, 1, 2, 3]),
        (1, 4, True, [1, 2, 3, 4]),
        (0, 0, False, [0, 0.5]),
        (5000, 5000, True, [4000, 6000]),
    ],
)
def test_ticks_are_round_and_hold_all(low, high, whole, expected):
    found = chart.ticks(low, high, whole=whole)
    assert found[0] <= low and found[-1] >= high and len(found) <= 6
    assert found == expected


def test_a_chart_names_its_axes_and_leaves_out_what_is_not_finite():
    points = [(1, 4.0), (2, float("nan")), (3, 2.0)]
    drawn = chart.line("probe <1>", points, "layer", "error rate, %", dots=True)
    page = Page(drawn)
    assert {"layer", "error rate, %", "probe <1>"} <= set(page.texts)
    assert page.tags.count("circle") == 2 and "nan" not in drawn
    assert Page(chart.line("one", [(5, 1.0)], "x", "y")).tags.count("circle") == 1
