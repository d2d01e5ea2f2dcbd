"""Metrics of some requests in experiments."""

import pytest

import blis_simpy as blis
from blis_simpy.experiment.store import Store

P99 = "ttft_p99_ms{slo_class=critical}"


def client(name, output):
    return blis.Client(
        id=name,
        slo_class=name,
        rate_fraction=1,
        arrival="poisson",
        input_distribution=20,
        output_distribution=output,
    )


@pytest.fixture(scope="module")
def scenario():
    return blis.Scenario(
        model="any/model",
        latency=blis.LatencySettings(backend="blackbox", alpha=(0, 0, 0), beta=(1000, 10, 5)),
        kv=blis.KVSettings(blocks=1000),
        workload=blis.WorkloadSpec(
            aggregate_rate=100, num_requests=40, clients=[client("critical", 5), client("batch", 50)]
        ),
    )


def test_replications_have_the_values_of_the_runs(scenario, tmp_path):
    store = Store(tmp_path)
    found = blis.replicate(scenario, 3, metrics=[P99, "completed{replica=0}"], executor="serial", store=store)
    expected = [scenario.run(seed=seed).metric(P99) for seed in found.seeds]
    assert found.values(P99).tolist() == expected
    assert found.values("completed{replica=0}").tolist() == [40.0] * 3
    assert found.table().rows[0][0] == P99
    again = blis.replicate(scenario, 3, metrics=P99, executor="serial", store=store, warm_up="100ms")
    assert again.values(P99).tolist() != expected


def test_comparisons_and_sweeps_have_verdicts_and_curves(scenario):
    slow = scenario.with_(**{"latency.beta": (3000, 10, 5)})
    compared = blis.compare({"a": scenario, "b": slow}, 3, metrics=P99, executor="serial")
    assert compared.verdict(P99).finding == "higher"
    swept = blis.sweep(scenario, {"replicas": [1, 2]}, metrics=P99, replications=2, executor="serial")
    assert [row["replicas"] for row in swept.rows] == [1, 2]
    assert swept.best(P99).replications.metrics == (P99,)


def test_capacity_has_limits_of_classes(scenario):
    found = blis.capacity(scenario, {P99: 1000}, vary="replicas", low=1, high=2, replications=2, executor="serial")
    assert str(found.limits[0]) == f"{P99} <= 1,000"
    assert found.value == 1


def test_an_unknown_label_ends_the_experiment(scenario):
    with pytest.raises(
        blis.ScenarioError, match="slo_class of the metric is unknown, got 'chat'; known: batch, critical"
    ):
        blis.replicate(scenario, 2, metrics="ttft_p99_ms{slo_class=chat}", executor="serial")
    with pytest.raises(blis.ScenarioError, match="metrics has an unknown label 'class'"):
        blis.replicate(scenario, 2, metrics="ttft_p99_ms{class=chat}", executor="serial")


def test_a_policy_experiment_asserts_them(pytester, scenario):
    pytester.makepyfile(
        """
        import blis_simpy as blis


        def client(name, output):
            return blis.Client(
                id=name, slo_class=name, rate_fraction=1, arrival="poisson", input_distribution=20,
                output_distribution=output,
            )


        def test_two_replicas_are_faster(policy_experiment):
            one = blis.Scenario(
                model="any/model",
                latency=blis.LatencySettings(backend="blackbox", alpha=(0, 0, 0), beta=(1000, 10, 5)),
                kv=blis.KVSettings(blocks=1000),
                workload=blis.WorkloadSpec(
                    aggregate_rate=200, num_requests=40, clients=[client("critical", 5), client("batch", 50)]
                ),
            )
            p99 = "e2e_p99_ms{slo_class=batch}"
            found = policy_experiment(baseline=one, candidate=one.with_(replicas=2), replications=3, metrics=p99)
            found.assert_lower(p99)
        """
    )
    pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist").assert_outcomes(passed=1)
