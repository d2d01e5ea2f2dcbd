"""Reports in the formats of the reference."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blis_simpy.cluster.decision_log import DecisionLog
from blis_simpy.errors import ScenarioError
from blis_simpy.results.blis_report import metrics_rows, number, replay_results, sections, to_json
from blis_simpy.results.fitness import Fitness

QUIET = {"blocks": [], "anomaly": {}, "kv": {}, "slo": {}}
ZERO_KV = {"preemption_rate": 0.0, "cache_hit_rate": 0.0, "kv_thrashing_rate": 0.0}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (3.0, "3"),
        (0.1, "0.1"),
        (5607.476635514019, "5607.476635514019"),
        (1e-05, "0.00001"),
        (1.5e-06, "0.0000015"),
        (4e15, "4000000000000000"),
    ],
)
def test_number_is_the_shortest_text_without_an_exponent(value, text):
    assert number(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15))
def test_number_reads_back_as_it_was(value):
    assert float(number(value)) == value or math.isclose(value, 0)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.floats(-1e9, 1e9),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    )
)
def test_json_reads_back_and_is_indented_by_two(value):
    assert json.loads(to_json(value)) == value


def test_json_layout():
    assert to_json({"a": [1, 2.0], "b": {}}) == '{\n  "a": [\n    1,\n    2\n  ],\n  "b": {}\n}'


def test_rows_leave_out_who_was_dropped_and_show_zero_for_what_did_not_come_about(serve):
    served = serve((10, 2, 0), (900, 2, 0), (10, 50, 400, {"slo_class": "batch"}), blocks=20, horizon=500)
    rows = list(metrics_rows(served.result.requests))
    assert [row["requestID"] for row in rows] == ["request_0", "request_2"]
    assert rows[1] == {
        "arrived_at": 0.0004,
        "requestID": "request_2",
        "num_prefill_tokens": 10,
        "num_decode_tokens": 50,
        "ttft_ms": 0.11,
        "itl_ms": 0.0,
        "e2e_ms": 0.0,
        "scheduling_delay_ms": 0.0,
        "slo_class": "batch",
        "handled_by": "instance_0",
    }


def test_replay_results_are_completed_requests_by_number(serve):
    rows = [(10, 1, 0, {"id": f"request_{number}"}) for number in (10, 2)] + [(10, 1, 0, {"id": "probe"})]
    served = serve(*rows, (900, 1, 0, {"id": "request_1"}), blocks=20)
    assert json.loads(replay_results(served.result.requests)) == [
        {"request_id": 2, "ttft_us": 130, "e2e_us": 130, "input_tokens": 10, "output_tokens": 1},
        {"request_id": 10, "ttft_us": 130, "e2e_us": 130, "input_tokens": 10, "output_tokens": 1},
    ]
    assert replay_results(serve().result.requests) == "[]"


def test_report_without_news_is_empty():
    block = {"completed_requests": 0}
    assert sections(command="run", blocks=[block], anomaly={"x": 0}, kv=ZERO_KV, slo={"default": {}}) == ""


def test_report_of_a_run_with_everything(serve):
    served = serve(
        (32, 40, 0, {"slo_class": "chat"}),
        (32, 40, 0),
        (2000, 40, 0),
        blocks=8,
        priority="slo-based",
    )
    report = served.result.blis_report("run")
    head, anomalies, kv, slo = report.split("=== ")[1:]
    assert head.startswith("Simulation Metrics ===\n{\n")
    assert json.loads(head.split("===\n")[1])["preemption_count"] == 1
    assert anomalies.splitlines() == [
        "Anomaly Counters ===",
        "Priority Inversions: 0",
        "HOL Blocking Events: 0",
        "Rejected Requests (Admission): 0",
        "Rejected Requests (Routing): 0",
        "Dropped Unservable: 1",
        "Length-Capped Requests: 0",
    ]
    assert kv.splitlines() == [
        "KV Cache Metrics ===",
        "Preemption Rate: 0.5000",
        f"Cache Hit Rate: {1 / 14:.4f}",
        "KV Thrashing Rate: 0.0000",
    ]
    assert slo.splitlines() == [
        "Per-SLO Metrics ===",
        "  chat:",
        "    TTFT: mean=164.00 p99=164.00 (n=1)",
        "    E2E:  mean=4840.00 p99=4840.00 (n=1)",
        "  default:",
        "    TTFT: mean=4240.00 p99=4240.00 (n=1)",
        "    E2E:  mean=8580.00 p99=8580.00 (n=1)",
    ]
    assert "Rejected Requests: 0" in served.result.blis_report("replay")


def titles(text):
    return [line.strip("= ") for line in text.splitlines() if line.startswith("===")]


def test_report_of_a_run_has_all_sections_in_order(logged):
    assert titles(logged.blis_report("run", fitness_weights="throughput:1", summarize_trace=True)) == [
        "Simulation Metrics",
        "Fitness Evaluation",
        "Anomaly Counters",
        "Per-SLO Metrics",
        "Per-Model Metrics",
        "Trace Summary",
    ]


def test_report_of_a_replay_has_neither_fitness_nor_models(logged):
    assert titles(logged.blis_report("replay", fitness_weights="nonsense", summarize_trace=True)) == [
        "Simulation Metrics",
        "Anomaly Counters",
        "Per-SLO Metrics",
        "Trace Summary",
    ]


def test_summary_of_decisions_is_printed_on_request_only(two_tenants, logged):
    assert "Trace Summary" not in logged.blis_report()
    assert "Trace Summary" not in two_tenants.blis_report(summarize_trace=True)


def test_wrong_weights_are_an_error_of_the_report(two_tenants):
    with pytest.raises(ScenarioError, match="must name fitness metrics, got 'speed'"):
        two_tenants.blis_report(fitness_weights="speed:1")


def test_fitness_section_has_six_decimals():
    fitness = Fitness(0.618252, {"mean_e2e": 0.0187590001, "throughput": 0.5}, {"mean_e2e": 1.0, "throughput": 1.0})
    assert sections(command="run", **QUIET, fitness=fitness).splitlines() == [
        "=== Fitness Evaluation ===",
        "Score: 0.618252",
        "  mean_e2e: 0.018759",
        "  throughput: 0.500000",
    ]


def test_model_section_shows_ticks_and_rates(two_tenants):
    """1 / 1120 µs = 892.857 requests/s, and twice as many tokens."""
    assert sections(command="run", **QUIET, models=two_tenants.evaluation.models).splitlines() == [
        "=== Per-Model Metrics ===",
        "  any/model:",
        "    TTFT: p50=110.00 p99=110.00 (n=1)",
        "    E2E:  p50=220.00 p99=220.00 (n=1)",
        "    Throughput: 892.86 req/s, 1785.71 tok/s",
    ]


def test_decision_section_lists_targets():
    summary = {
        "total_decisions": 3,
        "admitted": 2,
        "rejected": 1,
        "unique_targets": 2,
        "target_distribution": {"instance_0": 1, "instance_10": 1},
        "mean_regret": 0.8,
        "max_regret": 2.0,
    }
    assert sections(command="replay", **QUIET, decisions=summary).splitlines() == [
        "=== Trace Summary ===",
        "Total Decisions: 3",
        "  Admitted: 2",
        "  Rejected: 1",
        "Unique Targets: 2",
        "Target Distribution:",
        "  instance_0: 1",
        "  instance_10: 1",
        "Mean Regret: 0.800000",
        "Max Regret: 2.000000",
    ]


def test_decision_section_without_targets_has_no_heading_for_them():
    text = sections(command="run", **QUIET, decisions=DecisionLog().summary())
    assert "Target Distribution" not in text
    assert text.endswith("Unique Targets: 0\nMean Regret: 0.000000\nMax Regret: 0.000000\n")
