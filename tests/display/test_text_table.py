"""One description of a table, two renderings."""

import io

import numpy as np
import pytest

from blis_simpy.display.text_table import Bar, Strong, TextColumn, TextTable, page_html, page_text, print_page


@pytest.fixture
def table():
    return TextTable(
        [
            TextColumn("client", align="left"),
            TextColumn("TTFT", "ms", ",.1f"),
            TextColumn("requests"),
            TextColumn("", align="left"),
        ],
        [("<b>a</b>", 1234.56, 1000, Bar(0.5)), ("[red]c", float("nan"), None, Bar(0.0))],
        title="Clients & their <latency>",
    )


def test_text_is_aligned_and_formatted_with_units(table):
    assert table.text().splitlines() == [
        "Clients & their <latency>",
        " client     TTFT (ms)   requests",
        " " + "─" * 54,
        " <b>a</b>     1,234.6      1,000   ####################",
        " [red]c             -          -",
    ]


def test_html_has_the_same_cells_and_they_are_escaped(table, read):
    assert read(table.html()).cells == [
        *("client", "TTFT (ms)", "requests", ""),
        *("<b>a</b>", "1,234.6", "1,000", ""),
        *("[red]c", "-", "-", ""),
    ]
    assert "<b>" not in table.html()
    assert "<latency>" not in table.html()


def test_html_stands_alone_and_names_columns_and_rows(table, read):
    tags = read(table.html()).tags
    assert [attrs["scope"] for tag, attrs in tags if tag == "th"] == ["col"] * 4 + ["row"] * 2
    assert [tag for tag, _ in tags if tag in ("script", "style", "link", "img")] == []
    assert sum(tag == "caption" for tag, _ in tags) == 1
    assert "width:10.00em" in table.html()


def test_a_page_holds_lines_and_tables_in_order(table, read):
    page = [("plain ", Strong("b<o>ld"), " [i]"), table]
    assert page_text(page).splitlines()[:2] == ["plain b<o>ld [i]", "Clients & their <latency>"]
    read(page_html(page))
    assert "plain <strong>b&lt;o&gt;ld</strong> [i]</div>" in page_html(page)
    file = io.StringIO()
    print_page(page, file)
    assert [line.rstrip() for line in file.getvalue().splitlines() if line.strip()] == page_text(page).splitlines()


def test_wide_tables_are_not_cut():
    table = TextTable([TextColumn(f"column {i}") for i in range(40)], [[10**9] * 40])
    assert table.text().count("1,000,000,000") == 40


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1234, "1,234"), (np.int64(1234), "1,234"), (True, "yes"), (None, "-"), (np.float64("nan"), "-"), ("a", "a")],
)
def test_values_are_shown_by_their_kind(value, shown):
    assert TextColumn("any").show(value) == shown


def test_a_notebook_shows_the_table_as_html_and_print_as_text(table):
    assert table._repr_html_() == table.html()
    assert str(table) == table.text()


NARROW = TextTable(
    [
        TextColumn("metric", align="left", wraps=True),
        TextColumn("mean"),
        TextColumn("p50", drop=1),
        TextColumn("p95", drop=2),
    ],
    [("time to the first token of a request", 1000, 2000, 3000)],
)


def test_a_table_is_as_wide_as_its_content():
    assert page_text([NARROW]).splitlines()[-1] == " time to the first token of a request   1,000   2,000   3,000"


@pytest.mark.parametrize(
    ("width", "columns"), [(60, "mean p50 p95"), (50, "mean p50 p95"), (46, "mean p50"), (38, "mean")]
)
def test_a_narrow_page_wraps_text_and_lacks_less_important_columns(width, columns):
    lines = page_text([NARROW], width).splitlines()
    assert lines[0].split()[1:] == columns.split()
    assert max(map(len, lines)) <= max(width, 36)
    assert "1,000" in lines[2]
    assert " ".join(line[1:25].strip() for line in lines[2:]).split()[:3] == ["time", "to", "the"]


def test_lines_of_a_narrow_page_wrap_at_words():
    assert page_text([("one two three",)], 8) == "one two\nthree"
