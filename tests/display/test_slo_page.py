"""Attainment of SLO targets as text."""

import attrs

import blis_simpy as blis


def with_targets(result, slo):
    return blis.Result(attrs.evolve(result.record, scenario=result.scenario.with_(slo=slo)))


def test_a_report_has_tables_of_classes_and_causes(three):
    """TTFT 110, 190 (batch) and 105; E2E 360, 310 and 105."""
    text = three.slo({"batch": {"ttft": 110}, "*": {"e2e": 310}}).render("text")
    lines = [line.split() for line in text.splitlines() if "──" not in line]
    assert text.splitlines()[0] == (
        "1 of 3 offered requests good: 33.33% (95 % interval 6.15% to 79.23%), goodput 475.06 requests/s"
    )
    assert lines[2:4] == [
        ["batch", "1", "1", "0", "0", "0.00%", "0.00%", "0.00"],
        ["default", "2", "2", "1", "0", "50.00%", "50.00%", "475.06"],
    ]
    assert lines[5:] == [
        ["TTFT", "above", "target", "1", "1", "0.00%"],
        ["E2E", "above", "target", "1", "1", "50.00%"],
    ]


def test_the_summary_of_a_run_with_targets_has_a_table_of_its_classes(three):
    assert "of completed" not in three.render("text")
    assert "of completed" in with_targets(three, {"*": {"ttft": 110}}).render("text")


def test_a_report_of_nothing_says_so(nothing):
    assert nothing.slo({"*": {}}).render("text").strip() == "no request was offered, 0 open"
