"""Metrics of some requests, by labels in their names."""

import math

import pytest

import blis_simpy as blis
from blis_simpy.core.request import Request
from blis_simpy.results.metrics import find_metric, higher_is_better, metric_label
from blis_simpy.results.selectors import LABELS, split_name, written


@pytest.mark.parametrize(
    ("name", "base", "labels"),
    [
        ("ttft_p99_ms", "ttft_p99_ms", {}),
        ("ttft_p99.9_ms{tenant=a}", "ttft_p99.9_ms", {"tenant": "a"}),
        ("completed{slo_class=chat, replica=10}", "completed", {"slo_class": "chat", "replica": 10}),
        ('completed{tenant="a, b", model=org/name-1.5}', "completed", {"tenant": "a, b", "model": "org/name-1.5"}),
        (r'completed{tenant="say \"a\", \\ {b}"}', "completed", {"tenant": r'say "a", \ {b}'}),
        ('completed{tenant="a\nb"}', "completed", {"tenant": "a\nb"}),
        ("completed { tenant = a }", "completed", {"tenant": "a"}),
        ("completed{tenant=}", "completed", {"tenant": ""}),
    ],
)
def test_a_name_has_a_metric_and_labels(name, base, labels):
    assert split_name(name) == (base, labels)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        *(
            (name, f"metric must be METRIC or METRIC{{LABEL=VALUE, ...}}, got {name!r}")
            for name in ("x{", "x}", "x{}", "x{tenant}", "x{tenant=a}b", "x{tenant=a tenant=b}", 'x{tenant="a}')
        ),
        ("x{tenant=a, tenant=b}", "metric has the label tenant twice, got 'x{tenant=a, tenant=b}'"),
        ("x{replica=first}", "metric must have the index of a replica, got 'x{replica=first}'"),
        (
            "x{slo=chat}",
            f"metric has an unknown label 'slo', got 'x{{slo=chat}}'; known: {', '.join(LABELS)}",
        ),
    ],
)
def test_other_names_are_refused(name, message):
    with pytest.raises(blis.ScenarioError) as refused:
        split_name(name)
    assert str(refused.value) == message
    assert find_metric(name) is None


@pytest.mark.parametrize("value", ["a", "a, b", "{a}", 'a"b', "a\\b", " a", "", "a=b", "x\ny", "ü $x$"])
def test_written_labels_are_read_as_the_same(value):
    assert split_name(f"completed{{{written({'tenant': value})}}}") == ("completed", {"tenant": value})


def test_a_metric_of_labels_is_that_of_their_requests(two_tenants):
    """TTFT 110 and 120; one request of tenant a with the class chat, one of b without any; the run takes 1120 µs."""
    assert two_tenants.metric("ttft_mean_ms{tenant=a}") == 0.110
    assert two_tenants.metric("ttft_max_ms{tenant=b}") == 0.120
    assert two_tenants.metric("ttft_max_ms{slo_class=default}") == 0.120
    assert two_tenants.metric("requests_per_s{tenant=a, slo_class=chat}") == 1 / 0.001120
    assert math.isnan(two_tenants.metric("ttft_mean_ms{tenant=b, slo_class=chat}"))
    assert two_tenants.where(start=500).metric("completed{tenant=b}") == 1
    assert two_tenants.where(start=500).metric("completed{tenant=a}") == 0


def test_a_metric_of_a_replica_is_that_of_its_requests(cluster):
    assert [cluster.metric(f"completed{{replica={index}}}") for index in (0, 1)] == [2, 2]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("completed{tenant=c}", "tenant of the metric is unknown, got 'c'; known: a, b"),
        (
            "completed{slo_class=chta}",
            "slo_class of the metric is unknown, got 'chta'; did you mean 'chat'? known: chat, default",
        ),
        ("completed{replica=1}", "replica of the metric is unknown, got 1; known: 0"),
        ("completed{session=x}", "session of the metric is unknown, got 'x'; no request has any"),
    ],
)
def test_an_unknown_label_names_the_known_ones(two_tenants, name, message):
    with pytest.raises(blis.ScenarioError) as refused:
        two_tenants.metric(name)
    assert str(refused.value) == message


def test_a_label_of_the_scenario_is_known_without_requests():
    """In the first 10 ms no request arrives: chat is a client of the scenario, and mail is none."""
    clients = [
        blis.Client(
            id=name, tenant=name, rate_fraction=1, arrival="poisson", input_distribution=10, output_distribution=2
        )
        for name in ("chat", "search")
    ]
    workload = blis.WorkloadSpec(aggregate_rate=1, clients=clients)
    scenario = blis.Scenario(model="qwen/qwen3-14b", workload=workload, horizon="10ms")
    result = scenario.run()
    assert result.metric("requests{client=chat}") == 0
    assert math.isnan(result.metric("ttft_mean_ms{tenant=search}"))
    with pytest.raises(blis.ScenarioError, match="client of the metric is unknown, got 'mail'; known: chat, search"):
        result.metric("requests{client=mail}")


def test_direction_and_label_are_those_of_the_metric():
    assert higher_is_better("requests_per_s{tenant=a}")
    assert not higher_is_better("ttft_p99_ms{tenant=a}")
    assert metric_label("ttft_p99_ms{tenant=terms}") == "TTFT p99 of tenant=terms (ms)"
    assert metric_label("requests_per_s{tenant=a}") == "requests/s of tenant=a"


def test_saved_results_have_them(two_tenants, tmp_path):
    two_tenants.save(tmp_path / "run.blis")
    assert blis.load_result(tmp_path / "run.blis").metric("ttft_mean_ms{tenant=a}") == 0.110


def test_hand_made_requests_need_no_workload(prepare):
    scenario = prepare().scenario
    result = blis.Simulation(scenario, requests=[Request("r", 0, 10, 1, tenant="x")]).run()
    assert result.metric("completed{tenant=x}") == 1
