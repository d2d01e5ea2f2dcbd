"""Figures of a choice against what can be counted in the rows, on random runs in which all kinds of things go wrong."""

import math
import re
from statistics import mean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import blis_simpy as blis
from blis_simpy.core.request import Request
from blis_simpy.display.summary import summary_page
from blis_simpy.results.by_label import subsets
from blis_simpy.results.phases import PHASES

ROWS = st.tuples(st.integers(1, 60), st.integers(0, 40), st.integers(0, 3000), st.integers(0, 2))


@st.composite
def runs(draw):
    """Two replicas, one of which may be drained or fail; little memory, deadlines, delays, a slow start."""
    profile = draw(st.sampled_from(["blis", "vllm"]))
    scenario = blis.Scenario(
        model="any/model",
        horizon=draw(st.none() | st.integers(1000, 6000)),
        replicas=2,
        admission={"delay": draw(st.integers(0, 50))},
        router={"delay": draw(st.integers(0, 50))},
        lifecycle=blis.LifecycleSettings(warm_up_requests=draw(st.integers(0, 3)), warm_up_ttft_factor=1.7),
        latency=blis.LatencySettings(backend="blackbox", alpha=(3, 0, 2), beta=(100, 1, 10)),
        engine=blis.EngineSettings(
            profile=profile,
            max_num_batched_tokens=draw(st.sampled_from([1 if profile == "blis" else 4, 7, 64])),
            max_num_seqs=4,
            max_model_len=draw(st.sampled_from([0, 50])),
        ),
        kv=blis.KVSettings(blocks=draw(st.integers(7, 14)), block_size=8),
    )
    if draw(st.booleans()):
        scenario = scenario.with_(admission={"policy": "token-bucket", "capacity": 60, "refill_rate": 20_000})
    requests = [
        Request(
            f"request_{i}",
            at,
            length,
            output,
            max_output_tokens=0 if kind else output,
            deadline=at + 1500 if kind == 2 else 0,
            tenant="abc"[kind],
        )
        for i, (length, output, at, kind) in enumerate(draw(st.lists(ROWS, min_size=1, max_size=14)))
    ]
    simulation = blis.Simulation(scenario, requests=requests)
    lever = draw(st.sampled_from(["none", "fail", "redirect", "immediate"]))
    at = draw(st.integers(0, 3000))

    def pull():
        yield simulation.env.timeout(at)
        if lever == "fail":
            simulation.cluster.fail(0)
        elif lever != "none":
            simulation.cluster.drain(0, policy=lever)

    simulation.env.process(pull())
    if draw(st.booleans()):
        result = simulation.run(until=draw(st.integers(0, 5000) | st.integers(at, at + 60)))
        if draw(st.booleans()):
            return result
    return simulation.run()


@settings(max_examples=100, deadline=None)
@given(result=runs())
def test_a_choice_of_everything_has_the_figures_of_the_summary(result):
    summary = result.summary
    if summary["completed_requests"]:
        for latency in ("ttft", "itl", "e2e"):
            for statistic in ("mean", "p90", "p95", "p99"):
                found = result.metric(f"{latency}_{statistic}_ms")
                assert (0.0 if math.isnan(found) else found) == summary[f"{latency}_{statistic}_ms"]
        assert result.metric("scheduling_delay_p99_ms") == summary["scheduling_delay_p99_ms"]
    names = {
        "requests_per_s": "responses_per_sec",
        "output_tokens_per_s": "tokens_per_sec",
        "completed": "completed_requests",
        "preemptions": "preemption_count",
        "timed_out": "timed_out_requests",
        "dropped": "dropped_unservable",
        "length_capped": "length_capped_requests",
        "duration_s": "vllm_estimated_duration_s",
    }
    assert {name: result.metric(name) for name in names} == {name: summary[key] for name, key in names.items()}
    assert (
        result.metric("rejected")
        == result.anomalies["rejected_requests_admission"] + (result.anomalies["rejected_requests_routing"])
    )


def rows_of(requests):
    """Rows with -1 for missing values, as in the arrays."""
    return [{name: -1 if value is None else value for name, value in row.items()} for row in requests.rows()]


@settings(max_examples=100, deadline=None)
@given(
    result=runs(),
    tenants=st.sets(st.sampled_from("abc")),
    replica=st.integers(-1, 1),
    window=st.tuples(st.integers(0, 3000), st.integers(0, 3000)),
)
def test_figures_of_a_choice_can_be_counted_in_the_rows(result, tenants, replica, window):
    choice = result.where(tenant=tenants).where(replica=replica, start=window[0]).where(end=window[1])
    rows = [
        row
        for row in rows_of(result.requests)
        if row["tenant"] in tenants and row["replica"] == replica and window[0] <= row["arrived_at_us"] < window[1]
    ]
    assert list(rows_of(choice.requests)) == rows
    completed = [row for row in rows if row["outcome"] == "completed"]
    reached = [row for row in rows if row["replica"] >= 0 and row["outcome"] != "dropped"]
    e2e = [row["e2e_us"] for row in completed]
    delays = [row["scheduling_delay_us"] for row in reached if row["scheduling_delay_us"] >= 0]
    assert choice.metric("requests") == len(rows)
    assert choice.metric("completed") == len(completed)
    assert choice.metric("e2e_p90_ms") == pytest.approx(np.percentile(e2e, 90) / 1000 if e2e else math.nan, nan_ok=True)
    assert choice.metric("e2e_mean_ms") == pytest.approx(mean(e2e) / 1000 if e2e else math.nan, nan_ok=True)
    assert choice.metric("scheduling_delay_mean_ms") == pytest.approx(
        mean(delays) / 1000 if delays else math.nan, nan_ok=True
    )
    assert choice.ttft.count == sum(row["ttft_us"] >= 0 for row in reached)
    assert choice.itl.count == sum(row["itl_count"] for row in completed)
    assert choice.itl.total == sum(row["itl_sum_us"] for row in completed)


@settings(max_examples=100, deadline=None)
@given(result=runs())
def test_marks_of_a_request_are_in_order_and_its_phases_add_up(result):
    for row in rows_of(result.requests):
        names = ("arrived_at", "admitted_at", "routed_at", "queued_at", "first_scheduled_at", "scheduled_at")
        marks = [row[f"{name}_us"] for name in names]
        known = [mark for mark in marks if mark >= 0]
        assert known == sorted(known), row
        assert marks[: len(known)] == known, row
        assert (row["routed_at_us"] >= 0) == (row["replica"] >= 0)
        explanation = result.explain(row["id"])
        assert list(explanation.phases) == list(PHASES)
        assert min(explanation.phases.values()) >= 0
        if row["outcome"] == "completed":
            assert explanation.total_us == row["e2e_us"]
        elif row["finished_at_us"] >= 0:
            assert explanation.total_us == row["finished_at_us"] - row["arrived_at_us"]
        else:
            assert explanation.total_us == max(result.aggregate.ended_at - row["arrived_at_us"], 0)


@settings(max_examples=100, deadline=None)
@given(result=runs())
def test_tokens_and_gaps_of_each_request_are_those_of_its_row(result):
    requests = result.requests
    for index, replica in enumerate(result.record.replicas):
        rows = np.flatnonzero(requests.completed & (requests["replica"] == index))
        owners, gaps = replica.gaps_by_request(requests, rows)
        tokens_of, times = replica.token_times(requests, rows)
        assert sorted(owners.tolist()) == owners.tolist()
        for row in rows.tolist():
            of_row, delivered = gaps[owners == row], times[tokens_of == row]
            assert (len(of_row), of_row.sum()) == (requests["itl_count"][row], requests["itl_sum_us"][row])
            assert len(delivered) == len(of_row) + 1
            assert delivered[0] == requests["ttft_us"][row]
            assert (np.diff(delivered) > 0).all()
            assert delivered[-1] <= requests["e2e_us"][row]
            if not len(replica.skipped_tokens):
                assert sorted(np.diff(delivered)) == sorted(of_row)


@settings(max_examples=100, deadline=None)
@given(result=runs())
def test_counts_of_outcomes_add_up_and_agree_with_those_of_replicas_and_admission(result):
    counts, summary, anomalies = result.requests.outcomes, result.summary, result.anomalies
    assert sum(counts.values()) == result.requests.num_rows
    assert counts["completed"] == summary["completed_requests"]
    assert (counts["timed_out"], counts["dropped"]) == (summary["timed_out_requests"], summary["dropped_unservable"])
    assert counts["rejected"] == anomalies["rejected_requests_admission"] + anomalies["rejected_requests_routing"]
    assert (counts["running"], counts["queued"]) == (summary["still_running"], summary["still_queued"])
    for label in ("replica", "tenant", "slo_class", "model"):
        groups = [group.requests.outcomes for group in subsets(result, label).values()]
        assert {name: sum(group[name] for group in groups) for name in counts} == counts
    line = summary_page(result)[1][0].split(";")[0]
    completed, total, *others = map(int, re.findall(r"\d+", line))
    assert completed + sum(others) == total == result.requests.num_rows
