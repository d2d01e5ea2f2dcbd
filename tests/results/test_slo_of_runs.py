"""SLO targets of a scenario, and what a run makes of them."""

import math

import attrs
import numpy as np
import pytest

import blis_simpy as blis
from blis_simpy.core.request import Request
from blis_simpy.experiment.service_level import Limit
from blis_simpy.results.metrics import known_metrics

SLO = {"batch": {"ttft": 110, "tpot": 125}, "*": {"e2e": 310, "qoe": {"ttft": 105, "tokens_per_s": 10_000}}}


def with_targets(result, slo):
    """A result as if its scenario had had the targets."""
    return blis.Result(attrs.evolve(result.record, scenario=result.scenario.with_(slo=slo)))


@pytest.fixture
def result(three):
    """TTFT 110, 190 (batch) and 105; E2E 360, 310 and 105; gaps of 130 and 120, of 120, and none."""
    return with_targets(three, SLO)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("attainment", 1 / 3),
        ("attainment{slo_class=default}", 1 / 2),
        ("attainment{slo_class=batch}", 0),
        ("attainment_completed", 1 / 3),
        ("attainment_ttft", 0),
        ("attainment_tpot", 1),
        ("attainment_itl", math.nan),
        ("attainment_ntpot", math.nan),
        ("attainment_e2e", 1 / 2),
        ("weighted_attainment", 1 / 3),
        ("goodput_rps", 1 / 0.002105),
        ("good_output_tokens_per_s", 1 / 0.002105),
        ("good_tokens_per_s", 6 / 0.002105),
        ("open_requests", 0),
    ],
)
def test_figures_of_the_targets_are_metrics(result, name, value):
    assert result.metric(name) == pytest.approx(value, rel=1e-12, nan_ok=True)


def test_qoe_of_the_tokens_of_a_run(result):
    """Request 0 has tokens at 110, 240 and 360 µs; a reader of 100 µs a token ends them at 210, 340 and 460.

    In place of 205, 305 and 405: areas up to 460 are 3 · 460 - 1010 + 150 = 520 and 3 · 460 - 915 + 150 = 615. Request
    2 has its only token in time.
    """
    assert result.metric("qoe_mean") == pytest.approx((520 / 615 + 1) / 2, rel=1e-12)


@pytest.mark.parametrize(
    ("targets", "good"),
    [
        ({"itl": 130}, [0, 1, 2]),
        ({"itl": 129}, [1, 2]),
        ({"itl": 125, "itl_percentile": 50}, [0, 1, 2]),
        ({"itl": 124, "itl_percentile": 50}, [1, 2]),
        ({"itl": 119}, [2]),
    ],
)
def test_gaps_are_those_of_each_request(three, targets, good):
    """Request 0 has gaps of 130 and 120, request 1 one of 120, request 2 none."""
    assert np.flatnonzero(three.slo({"*": targets}).judgement.good).tolist() == good


def test_a_subset_has_a_report_over_its_window(result):
    report = result.where(start=1, end=2001).slo()
    assert (report.offered, report.good, report.duration_us, report.goodput_rps) == (2, 1, 2000, 500)


def test_other_targets_can_be_given(result):
    assert result.slo({"*": {"ttft": "1ms"}}).attainment == 1
    with pytest.raises(blis.ScenarioError, match=r"slo\.batch\.ttft must be > 0, got 0"):
        result.slo({"batch": {"ttft": 0}})


def test_goodput_is_the_throughput_where_all_requests_meet_their_targets(three):
    result = with_targets(three, {"*": {"e2e": "1s"}})
    for good, all_of_them in (
        ("goodput_rps", "requests_per_s"),
        ("good_output_tokens_per_s", "output_tokens_per_s"),
        ("good_tokens_per_s", "total_tokens_per_s"),
    ):
        assert result.metric(good) == result.metric(all_of_them)


def test_a_limit_of_attainment_is_a_lower_one():
    assert str(Limit.of("attainment{slo_class=batch}", 0.9)) == "attainment{slo_class=batch} >= 0.9000"


def test_an_unknown_class_names_the_known_ones(three):
    with pytest.raises(blis.ScenarioError) as caught:
        three.slo({"bach": {"ttft": 1}, "*": {}})
    assert str(caught.value) == "slo.bach is no SLO class of the requests; did you mean 'batch'? known: batch, default"


def test_an_unknown_class_is_an_error_before_the_run():
    workload = blis.Workload(rate=2, num_requests=1)
    scenario = blis.Scenario(model="qwen/qwen3-14b", workload=workload, slo={"chat": {"ttft": 1}})
    with pytest.raises(blis.ScenarioError) as caught:
        scenario.run(progress=pytest.fail)
    assert str(caught.value) == "slo.chat is no SLO class of the requests; known: default"


def test_a_class_of_a_client_without_requests_is_known():
    clients = [
        {"id": name, "slo_class": name, "arrival": {"process": "constant"}, "rate_fraction": share}
        for name, share in (("critical", 1), ("batch", 0.001))
    ]
    for client in clients:
        client |= {
            "input_distribution": {"type": "constant", "value": 9},
            "output_distribution": {"type": "constant", "value": 9},
        }
    workload = {"aggregate_rate": 10, "clients": clients, "num_requests": 5}
    scenario = blis.Scenario(model="qwen/qwen3-14b", workload=workload, slo={"batch": {"ttft": 1}})
    result = scenario.run()
    assert set(result.requests["slo_class"].tolist()) == {"critical"}
    assert result.metric("attainment") == 1
    assert math.isnan(result.metric("attainment{slo_class=batch}"))


def test_without_targets_a_metric_of_them_is_an_error(three):
    for source in (three, three.where(replica=0)):
        with pytest.raises(blis.ScenarioError) as caught:
            source.metric("attainment{slo_class=batch}")
        expected = "metric needs the setting slo of the scenario, got 'attainment{slo_class=batch}'"
        assert str(caught.value) == expected
    with pytest.raises(blis.ScenarioError, match="slo must have the targets of an SLO class"):
        three.slo()
    with pytest.raises(blis.ScenarioError, match="metric needs the setting slo"):
        blis.replicate(blis.load_scenario("quickstart").with_(horizon=1), 1, metrics=["goodput_rps"])
    needy = {name for name, metric in known_metrics().items() if metric.needs}
    assert needy == {name for name, value in three.where().summary.items() if name in needy and math.isnan(value)}


def test_open_requests_are_told_from_failed_ones_by_the_end_of_the_run(prepare):
    """At 360, request 1 has waited for 300 µs; the prompt of 900 tokens before it takes 1000."""
    requests = [Request("long", 0, 900, 2), Request("short", 60, 10, 2)]
    scenario = prepare().scenario.with_(horizon=360, slo={"*": {"ttft": 300}})
    result = blis.Simulation(scenario, requests=requests).run()
    assert result.record.observed_at == 360
    report = result.slo()
    assert (report.offered, report.open, report.misses) == (1, 1, {"ttft": 1})
    assert result.slo({"*": {"ttft": 299}}).open == 0


def test_a_paused_run_is_observed_until_the_pause(prepare):
    scenario = prepare().scenario.with_(slo={"*": {"ttft": 2000}})
    simulation = blis.Simulation(scenario, requests=[Request("long", 0, 900, 2), Request("later", 5000, 10, 2)])
    report = simulation.run(until=200).slo()
    assert (report.offered, report.open) == (0, 1)
    assert simulation.run().slo().offered == 2


def test_targets_and_the_end_are_saved_with_the_result(result, tmp_path):
    result.save(tmp_path / "run.blis")
    again = blis.load_result(tmp_path / "run.blis")
    assert again.scenario.slo == result.scenario.slo
    assert again.record.observed_at == result.record.observed_at
    assert again.slo().good == result.slo().good == 1


def test_targets_are_written_and_read(tmp_path):
    scenario = blis.Scenario(model="qwen/qwen3-14b", slo=SLO)
    scenario.write(tmp_path / "scenario.yaml")
    again = blis.load_scenario(tmp_path / "scenario.yaml")
    assert again == scenario
    assert again.slo["*"].qoe.tokens_per_s == 10_000


def test_a_target_is_changed_by_its_path():
    scenario = blis.Scenario(model="qwen/qwen3-14b").with_(**{"slo.chat.ttft": "200ms", "slo.*.e2e": "10s"})
    assert scenario.slo["chat"].ttft == 200_000
    assert scenario.slo["*"].e2e == 10_000_000


def test_requests_of_a_table_may_have_targets_of_their_own(prepare, tmp_path):
    """TTFT 110 each, E2E 220; the last one has the targets of the scenario."""
    table = {
        "arrived_at_us": [0, 1000, 2000],
        "input_tokens": [10, 10, 10],
        "output_tokens": [2, 2, 2],
        "slo_ttft_us": [109, 110, None],
        "slo_e2e_us": [math.nan, 220.0, math.nan],
    }
    workload = blis.RequestWorkload.of_table(table)
    scenario = prepare().scenario.with_(slo={"*": {"ttft": 1, "e2e": 1}})
    assert scenario.with_(workload=workload).run().metric("attainment") == 1 / 3
    result = blis.Simulation(scenario, requests=workload.requests).run()
    result.save(tmp_path / "run.blis")
    for found in (result, blis.load_result(tmp_path / "run.blis")):
        assert found.slo().misses == {"ttft": 2, "e2e": 2}
        assert found.slo().judgement.good.tolist() == [False, True, False]
        assert found.record.slo_targets == {
            0: blis.SLOTargets(ttft=109),
            1: blis.SLOTargets(ttft=110, e2e=220),
        }
    result.write_trace(tmp_path / "trace")
    trace = blis.load_trace(tmp_path / "trace.csv", header=tmp_path / "trace.yaml")
    assert [request.slo_targets for request in trace.requests()] == [*result.record.slo_targets.values(), None]
    assert workload != blis.RequestWorkload.of_table({**table, "slo_ttft_us": [109, 110, 5]})


def test_a_target_of_a_request_is_checked():
    table = {"arrived_at_us": [0], "input_tokens": [10], "output_tokens": [2], "slo_ttft_us": [-5]}
    with pytest.raises(blis.ScenarioError, match=r"ttft must be > 0, got -5"):
        blis.RequestWorkload.of_table(table)
    with pytest.raises(blis.ScenarioError, match=r"slo_targets must be SLOTargets"):
        blis.RequestWorkload([Request("one", 0, 10, 2, slo_targets={"ttft": 5})])
