"""Reports of experiments: what stands in them, and which pictures they draw."""

import re
from html import unescape

import pytest

import blis_simpy as blis

pytest.importorskip("matplotlib")


@pytest.fixture
def written(tmp_path):
    def written(experiment):
        experiment.write_html(tmp_path / "x.html")
        return unescape((tmp_path / "x.html").read_text(encoding="utf-8"))

    return written


def captions(page):
    return re.findall("<figcaption>(.*?)</figcaption>", page)


def alts(page):
    return re.findall('aria-label="(.*?)" viewBox', page)


def test_a_comparison_opens_with_what_was_found(written, made_up):
    values = {
        "old": {"ttft_p99_ms": [10, 11, 12], "completed": [5, 5, 5], "e2e_mean_ms": [1, 2, 3]},
        "new": {"ttft_p99_ms": [20, 22, 24], "completed": [5, 5, 5], "e2e_mean_ms": [2, 1, 3.1]},
    }
    page = written(made_up(values, confidence=0.9))
    assert "<h1>new compared with old</h1>" in page
    assert "<strong>new</strong>: higher: ttft_p99_ms; the same: completed; not decided: e2e_mean_ms" in page
    assert captions(page)[0] == "Change from old with 90 % confidence intervals."
    assert [caption.partition(" of every run")[0] for caption in captions(page)[1:]] == [
        *("TTFT p99 (ms)", "completed requests", "E2E mean (ms)")
    ]
    assert alts(page)[1] == "ttft_p99_ms, means: old 11, new 22"
    assert "model: any/model" in page
    assert "Seeds of the 3 replications" in page


def test_what_has_no_interval_is_left_out_of_the_picture(written, made_up):
    page = written(made_up({"old": {"a": [1, 2], "b": [0, 0]}, "new": {"a": [1, 2.5], "b": [1, 1]}}))
    assert captions(page)[0].endswith("1 without a finite interval left out.") or captions(page)[0].startswith(
        "a of every"
    )


def test_changes_that_cover_much_are_drawn_as_ratios(written, made_up):
    page = written(made_up({"old": {"a": [1, 1.1, 1], "b": [1, 1.01, 1]}, "new": {"a": [50, 55, 51], "b": [1, 1, 1]}}))
    assert captions(page)[0] == "Ratio to old with 95 % confidence intervals."


def test_other_traffic_is_said_in_a_comparison(written, made_up):
    comparison = made_up({"old": {"a": [1, 2]}, "new": {"a": [2, 3]}})
    assert "not receive the same requests" not in written(comparison)
    comparison.same_traffic = False
    assert "The scenarios did not receive the same requests" in written(comparison)


def test_settings_that_differ_stand_in_a_table(written, small):
    scenarios = {"a": small.with_(seed=1), "b": small.with_(replicas=2, **{"engine.max_num_seqs": 8})}
    page = written(blis.compare(scenarios, 2, metrics="completed", executor="serial"))
    table = page.partition("Settings that differ")[2].partition("</table>")[0]
    cells = re.findall(r"<t[hd] [^>]*>(.*?)</t[hd]>", table)
    assert cells == ["setting", "a", "b", "replicas", "1", "2", "engine.max_num_seqs", "-", "8"]


def test_a_scenario_that_cannot_be_written_is_said_to_be_so(written, small):
    class Mine:
        def route(self, request, state):
            return 0

    page = written(blis.sweep(small.with_(router=Mine), {"replicas": [1, 2]}, metrics="completed", executor="serial"))
    assert "router.policy cannot be written: Mine is not registered under a name" in page


@pytest.mark.parametrize(
    ("grid", "over"),
    [
        ({"workload.rate": [10, 20, 40], "replicas": [1, 2]}, ["workload.rate"]),
        ({"workload.rate": ["10/s", "20/s"], "router": ["round-robin", "least-loaded"]}, ["workload.rate"]),
        ({"engine.max_num_seqs": [2, 8, 256]}, ["engine.max_num_seqs"]),
        ({"router": ["round-robin", "least-loaded"], "router.decision_log": [False]}, ["router, router.decision_log"]),
        # Each point differs in both: curves would join what does not belong together.
        ([{"replicas": 1, "workload.rate": 10}, {"replicas": 2, "workload.rate": 20}], ["replicas", "workload.rate"]),
    ],
)
def test_a_sweep_draws_each_metric_over_what_is_a_number(written, small, grid, over):
    metrics = ("ttft_p99_ms", "completed")
    page = written(blis.sweep(small, grid, replications=2, metrics=metrics, executor="serial"))
    assert captions(page) == [
        f"{label} over {path}, with 95 % confidence intervals."
        for path in over
        for label in ("TTFT p99 (ms)", "completed requests")
    ]
    assert "Best TTFT p99 (ms): " in page


def test_single_runs_have_no_band(written, small):
    page = written(blis.sweep(small, {"workload.rate": [10, 20]}, metrics="completed", executor="serial"))
    assert captions(page) == ["completed requests over workload.rate."]
    assert alts(page) == ["completed at workload.rate=10: 50; workload.rate=20: 50"]
    assert "Seed of the run" in page


def test_a_capacity_draws_each_limit(written, small):
    found = blis.capacity(
        small,
        {"ttft_p99_ms": 40, "e2e_mean_ms": 500},
        low=5,
        high=320,
        resolution=0.5,
        replications=2,
        executor="serial",
    )
    page = written(found)
    outcome = str(found)
    assert f"<strong>{outcome[0].upper()}{outcome[1:]}</strong>" in page
    assert [caption.partition(" over ")[0] for caption in captions(page)] == ["TTFT p99 (ms)", "E2E mean (ms)"]
    assert page.count("target 40") == 1


def test_a_capacity_of_replicas_that_nothing_meets_is_reported(written, small):
    found = blis.capacity(small, {"ttft_p99_ms": 1}, vary="replicas", high=2, replications=2, executor="serial")
    page = written(found)
    assert found.value is None
    outcome = str(found)
    assert "meet ttft_p99_ms <= 1" in outcome
    assert f"{outcome[0].upper()}{outcome[1:]}" in page
