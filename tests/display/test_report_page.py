"""Reports as a page: what is in it, that it stands alone, that it is the same every time."""

import re
from html.parser import HTMLParser

import pytest

from blis_simpy.display.report_page import Fold, Picture, ReportSection, report_html, write_report
from blis_simpy.display.text_table import Strong, TextColumn, TextTable
from blis_simpy.errors import PluginError, ScenarioError

pytest.importorskip("matplotlib")

VOID = {"meta", "br"}


class Page(HTMLParser):
    """Reads a page, and fails where an element is not closed in its turn."""

    def __init__(self, html):
        super().__init__()
        self.open, self.elements, self.texts = [], [], {}
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def draw(ax):
    ax.plot([1, 2], [3, 4], marker="o", label="one <b>")
    ax.fill_between([1, 2], [2, 3], [4, 5], alpha=0.2)
    ax.set(xlabel="rate (1/s)")
    ax.legend()


def content():
    table = TextTable(
        [TextColumn("name", align="left"), TextColumn("TTFT", "ms")], [("<a>", 1), ("b", 2)], title="Figures"
    )
    pictures = [Picture(draw, caption="A curve & more.", alt='from 3 to "4"') for _ in range(2)]
    return {
        "title": "This < that",
        "lead": [(Strong("a"), " is lower")],
        "sections": [
            ReportSection("Figures", [table, *pictures, ("and so on",), Picture(draw, caption="Again.", alt="again")]),
            ReportSection("Source", [Fold("Scenario", "model: <x>\n  rate: 1\n")]),
        ],
    }


@pytest.fixture(scope="module")
def html():
    return report_html(**content())


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_headings_lines_tables_pictures_and_folds_are_there_in_order(page):
    order = ("h1", "h2", "table", "figure", "details", "footer")
    names = [name for name, _ in page.elements if name in order]
    assert names == ["h1", "h2", "table", "figure", "figure", "figure", "h2", "details", "footer"]
    assert page.texts["h1"] == page.texts["title"] == ["This < that"]
    assert page.texts["h2"] == ["Figures", "Source"]
    assert page.texts["strong"] == ["a"]
    assert page.texts["caption"] == ["Figures"]
    assert page.texts["summary"] == ["Scenario"]
    assert page.texts["pre"] == ["model: <x>\n  rate: 1\n"]
    assert page.texts["footer"][0].startswith("Simulated with blis_simpy ")


def test_neighbouring_pictures_stand_side_by_side(page):
    assert [attrs.get("class") for attrs in page.all("div") if "class" in attrs] == ["pictures", "pictures"]
    assert page.texts["figcaption"] == ["A curve & more.", "A curve & more.", "Again."]


def test_whoever_cannot_see_is_told(page):
    assert page.all("html") == [{"lang": "en"}]
    pictures = page.all("svg")
    assert [picture["role"] for picture in pictures] == ["img"] * 3
    assert [picture["aria-label"] for picture in pictures] == ['from 3 to "4"', 'from 3 to "4"', "again"]
    assert [cell["scope"] for cell in page.all("th")] == ["col", "col", "row", "row"]


def test_nothing_comes_from_elsewhere_and_nothing_runs(html, page):
    assert not page.all("script")
    assert not page.all("link")
    assert len(page.all("style")) == 1
    assert not page.all("img")
    links = [
        value
        for _, attrs in page.elements
        for name, value in attrs.items()
        if name in ("src", "href", "xlink:href", "style", "clip-path")
    ]
    assert [link for link in links if "://" in link or "url(" in link.replace("url(#", "")] == []
    assert "@import" not in html
    assert re.findall(r"\w+://", html) == []


def test_names_in_the_pictures_are_unique_and_known(html):
    names = re.findall(r'\bid="([^"]+)"', html)
    assert len(names) == len(set(names)) > 0
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', html)) == set(names)


def test_lines_and_letters_have_the_colour_of_the_text_around(html):
    colours = set(re.findall(r"#[0-9a-f]{6}\b", html.partition("</style>")[2]))
    assert colours == {"#1f77b4"}  # that of the curve
    assert "currentColor" in html
    assert "prefers-color-scheme: dark" in html


def test_the_same_content_gives_the_same_bytes(html):
    assert report_html(**content()) == html


def test_drawing_leaves_the_settings_of_matplotlib_and_no_figure_behind():
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    before, open_figures = {**mpl.rcParams, "backend": None}, plt.get_fignums()
    report_html(**content())
    assert {**mpl.rcParams, "backend": None} == before
    assert plt.get_fignums() == open_figures


def test_a_report_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "x.html"
    write_report(path, **content())
    assert path.read_text(encoding="utf-8") == report_html(**content())
    with pytest.raises(ScenarioError, match="there is no directory"):
        write_report(tmp_path / "no" / "x.html", **content())


def test_absent_matplotlib_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(PluginError, match=r"^an HTML report needs matplotlib; pip install blis-simpy\[plot\]$"):
        report_html(**content())
