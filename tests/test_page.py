"""report.html in Chromium: nothing fails, nothing is fetched, all plays and can be read."""

import itertools

import browser
import pytest
import shown

from seedasr_jax.launch.quickstart import report

WIDTHS, SCHEMES = (1280, 400), ("light", "dark")
PLAYERS = """Promise.all([...document.querySelectorAll("audio")].map(player =>
    new Promise((done, failed) => {
        if (player.readyState) done(player.duration);
        player.onloadedmetadata = () => done(player.duration);
        player.onerror = () => failed(player.error.message);
    })))"""
LABELS = """[...document.querySelectorAll("svg")].map(chart =>
    [...chart.querySelectorAll("text")].map(label => {
        const box = label.getBoundingClientRect(), own = chart.getBoundingClientRect();
        return [label.textContent, box.left - own.left, box.top - own.top,
                box.right - own.left, box.bottom - own.top, own.width, own.height];
    }))"""


@pytest.fixture(scope="module", params=list(itertools.product(WIDTHS, SCHEMES)), ids=str)
def page(request, chromium, report_file):
    """The report, opened at a width in light or dark."""
    width, scheme = request.param
    opened = browser.Page(chromium, report_file.as_uri(), width=width, scheme=scheme)
    opened.picture(report_file.parent / f"{width}-{scheme}.png")
    return opened


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser.browser(tmp_path_factory.mktemp("profile")) as pipe:
        yield pipe


@pytest.fixture(scope="module")
def report_file(tmp_path_factory):
    return report.write(shown.write(tmp_path_factory.mktemp("page")))


def test_nothing_is_fetched_and_nothing_fails(page, report_file):
    page.run(PLAYERS)
    asked = {event["request"]["url"] for event in page.events("Network.requestWillBeSent")}
    assert {url for url in asked if not url.startswith("data:")} == {report_file.as_uri()}
    assert not page.events("Runtime.exceptionThrown")
    assert not page.events("Runtime.consoleAPICalled")
    assert not [event["entry"] for event in page.events("Log.entryAdded")]
    assert not page.events("Network.loadingFailed")


def test_the_title_and_the_parts(page):
    assert page.run("document.title") == "Results of seedasr"
    assert page.run('document.querySelector("h1").textContent') == "Results of seedasr"
    assert page.run('document.querySelectorAll("h2").length') == 9


def test_every_player_has_its_seconds(page):
    expected = [number / 4 for number in range(1, len(shown.SAMPLES) + 1)]
    assert page.run(PLAYERS) == pytest.approx(expected, abs=0.02)


def test_no_table_is_empty(page):
    cells = """[...document.querySelectorAll("table")].map(table =>
        [...table.querySelectorAll("td")].filter(cell => cell.textContent.trim()).length)"""
    found = page.run(cells)
    assert len(found) == 8 and min(found) >= 4, found


def test_nothing_stands_out_at_the_side(page):
    assert (
        page.run("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    )
    outside = """[...document.querySelectorAll("svg, audio, p, dl, h2")].filter(part =>
        part.getBoundingClientRect().right > document.documentElement.clientWidth).length"""
    assert page.run(outside) == 0


def test_labels_of_charts_do_not_overlap(page):
    charts = page.run(LABELS)
    assert len(charts) == 4
    for labels in charts:
        for _, left, top, right, bottom, width, height in labels:
            assert left >= -0.5 and top >= -0.5 and right <= width + 0.5 and bottom <= height + 0.5
        for one, other in itertools.combinations(labels, 2):
            apart = one[3] <= other[1] or other[3] <= one[1] or one[4] <= other[2] + 2
            assert apart or other[4] <= one[2] + 2, (one, other)


def test_ink_and_paper_are_far_apart(page, request):
    colours = page.run("""["color", "backgroundColor"].map(key =>
        getComputedStyle(document.body)[key].match(/\\d+/g).slice(0, 3).map(Number))""")
    ink, paper = (sum(colour) / 3 for colour in colours)
    dark = "dark" in request.node.name
    assert abs(ink - paper) > 150 and (ink > paper) == dark
