"""The summary of a result as text and as JSON."""

import json

import pytest

import blis_simpy as blis
from blis_simpy.results.remarks import remarks


def test_the_report_is_the_text_that_a_result_prints(cluster):
    assert cluster.report() == cluster.render("text")
    assert cluster.report("html") == cluster.render("html")


def test_the_json_has_outcomes_metrics_sections_and_remarks(cluster):
    report = json.loads(cluster.report("json"))
    assert report["outcomes"]["completed"] == 4
    assert report["metrics"]["ttft_mean_ms"] == cluster.metric("ttft_mean_ms")
    assert list(report["sections"]) == ["replica", "tenant"]
    assert report["sections"]["tenant"]["a"]["metrics"]["completed"] == 3
    assert report["sections"]["replica"]["replica 0"]["outcomes"]["completed"] == 2
    assert report["remarks"] == remarks(cluster)


def test_a_metric_without_a_value_is_null(unserved):
    report = json.loads(unserved.report("json"))
    assert report["metrics"]["ttft_mean_ms"] is None
    assert "all requests were rejected at admission" in report["remarks"]


def test_another_object_has_no_json_report(cluster):
    with pytest.raises(blis.PluginError, match="renderer json cannot render objects of type RequestTable"):
        cluster.requests.render("json")
