"""Names with dollar signs, control characters and escape sequences."""

import pytest

import blis_simpy as blis
from blis_simpy.display.text_table import TextColumn, TextTable
from blis_simpy.errors import Problem

BASE = blis.Scenario(
    model="my/model",
    hardware="H100",
    tp=1,
    engine={"profile": "blis"},
    kv=blis.KVSettings(blocks=500),
    latency=blis.LatencySettings(alpha=(0, 0, 0), beta=(5000, 10, 1)),
    workload=blis.Workload(rate=5, num_requests=5),
)


def test_problems_show_control_characters_as_escapes():
    assert str(Problem(path="a\x1b[31m", rule="is wrong")) == "a\\x1b[31m is wrong"


def test_tables_show_control_characters_as_escapes():
    assert "x\\x1b[2J\\u202e" in TextTable([TextColumn("name")], [("x\x1b[2J\u202e",)]).text()


@pytest.mark.parametrize("name", ["price_$10_$20", "$", r"$\frac$", "a\x1b[31m", "<b>&"])
def test_reports_draw_names_as_they_are(name, tmp_path):
    found = blis.compare({"base": BASE, name: BASE.with_(replicas=2)}, replications=2, executor="serial")
    found.write_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "cannot be drawn" not in page
    assert "\x1b" not in page


def test_a_picture_that_cannot_be_drawn_does_not_lose_the_report(tmp_path, monkeypatch, caplog):
    def fails(*_arguments, **_options):
        raise ValueError("mine")

    monkeypatch.setattr("blis_simpy.display.report_page._svg", fails)
    blis.compare({"a": BASE, "b": BASE}, replications=2, executor="serial").write_html(tmp_path / "report.html")
    assert "cannot be drawn" in (tmp_path / "report.html").read_text()
    assert "ValueError('mine')" in caplog.text
