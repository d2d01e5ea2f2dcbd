"""Plots of experiments."""

import pytest

import blis_simpy as blis

pytest.importorskip("matplotlib").use("Agg")


@pytest.fixture(scope="module")
def small():
    return blis.Scenario(
        model="any/model",
        latency=blis.LatencySettings(alpha=(0, 0, 0), beta=(1000, 10, 5)),
        kv=blis.KVSettings(blocks=1000),
        workload=blis.Workload(
            rate=50, num_requests=30, arrivals="poisson", prompt=blis.Constant(40), output=blis.Constant(5)
        ),
    )


@pytest.fixture(scope="module")
def swept(small):
    grid = {"workload.rate": [20, 50, 100], "replicas": [1, 2]}
    return blis.sweep(small, grid, replications=3, metrics=["ttft_p99_ms"], executor="serial", progress=False)


def test_a_comparison_draws_each_change_with_its_interval(small):
    two = {"one": small, "two": small.with_(replicas=2), "four": small.with_(replicas=4)}
    found = blis.compare(two, replications=3, metrics=["e2e_mean_ms"], executor="serial", progress=False)
    ax = found.plot()
    assert [label.get_text() for label in ax.get_yticklabels()] == ["e2e_mean_ms, two", "e2e_mean_ms, four"]
    assert ax.get_xlabel() == "change from one (%)"


def test_a_comparison_draws_one_metric(small):
    metrics = ["ttft_p99_ms", "e2e_mean_ms", "rejected"]
    found = blis.compare(
        {"one": small, "two": small.with_(replicas=2)}, 3, metrics=metrics, executor="serial", progress=False
    )
    assert [label.get_text() for label in found.plot("ttft_p99_ms").get_yticklabels()] == ["ttft_p99_ms"]
    assert found.plot().get_title() == "without an interval: rejected"
    with pytest.raises(blis.ScenarioError, match="metric is not reported, got 'ttft'"):
        found.plot("ttft")


def test_a_comparison_draws_its_runs_by_scenario(small):
    found = blis.compare({"one": small, "two": small.with_(replicas=2)}, 3, executor="serial", progress=False)
    ax = found.plot.runs("e2e_mean_ms")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["one", "two"]
    assert ax.get_ylabel() == "E2E mean (ms)"


def test_a_comparison_without_intervals_says_so(small):
    nothing = small.with_(**{"kv.blocks": 1})  # no prompt fits
    found = blis.compare({"a": small, "b": nothing}, replications=2, executor="serial", metrics=["e2e_mean_ms"])
    assert "no change has an interval" in [text.get_text() for text in found.plot().texts]


def test_a_sweep_draws_a_curve_for_each_choice_of_the_others(swept):
    ax = swept.plot("ttft_p99_ms")
    assert ax.get_xlabel() == "arrival rate (requests/s)"
    assert ax.get_ylabel() == "TTFT p99 (ms)"
    assert sorted(text.get_text() for text in ax.get_legend().get_texts()) == ["replicas=1", "replicas=2"]
    other = swept.plot("ttft_p99_ms", "replicas")
    assert other.get_xlabel() == "replicas"
    assert len(other.get_legend().get_texts()) == 3


@pytest.mark.parametrize(
    ("metric", "over", "message"),
    [
        ("ttft_p50_ms", None, "metric is unknown, got 'ttft_p50_ms'"),
        ("ttft_p99_ms", "seed", "over is not a numeric setting of the sweep, got 'seed'"),
    ],
)
def test_a_sweep_draws_what_it_has(swept, metric, over, message):
    with pytest.raises(blis.ScenarioError, match=message):
        swept.plot(metric, over)


def test_settings_without_numbers_are_lines(small):
    grid = {"router": ["round-robin", "least-loaded"]}
    found = blis.sweep(small.with_(replicas=2), grid, metrics=["ttft_mean_ms"], executor="serial", progress=False)
    labels = [label.get_text() for label in found.plot("ttft_mean_ms").get_yticklabels()]
    assert labels == ["round-robin", "least-loaded"]


def test_a_capacity_draws_its_way_and_its_limit(small):
    found = blis.capacity(
        small, {"ttft_p99_ms": 30}, vary="replicas", low=1, high=4, replications=3, executor="serial", progress=False
    )
    ax = found.plot()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("replicas", "TTFT p99 (ms)")
    with pytest.raises(blis.ScenarioError, match="metric has no limit, got 'e2e_mean_ms'"):
        found.plot("e2e_mean_ms")


@pytest.fixture(scope="module")
def divided():
    """Splits of four replicas, on two networks."""
    scenario = blis.load_scenario("prefill-decode").with_(**{"workload.num_requests": 30, "workload.rate": 30})
    points = [
        {"groups[0].replicas": prefill, "groups[1].replicas": 4 - prefill, "network.nic_bandwidth": bandwidth}
        for bandwidth in ("25GB/s", "2GB/s")
        for prefill in (3, 1, 2)
    ]
    return blis.sweep(scenario, points, metrics=["e2e_mean_ms", "attainment"], executor="serial", progress=False)


@pytest.mark.parametrize(("metric", "best"), [("e2e_mean_ms", min), ("attainment", max)])
def test_splits_are_in_order_with_the_best_one_marked(divided, metric, best):
    ax = divided.plot.splits(metric, together=5.0)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1+3", "2+2", "3+1"]
    assert ax.get_xlabel() == "prefill + decode replicas"
    means = [point.replications.mean(metric) for point in divided.points]
    fast, fast_best, slow, slow_best, together = ax.get_lines()
    for curve, mark, (third, first, second) in ((fast, fast_best, means[:3]), (slow, slow_best, means[3:])):
        assert curve.get_xdata().tolist() == [0, 1, 2]
        assert curve.get_ydata().tolist() == [first, second, third]
        most = best(first, second, third)
        assert mark.get_xydata().tolist() == [[at, y] for at, y in curve.get_xydata().tolist() if y == most]
    assert set(together.get_ydata()) == {5.0}
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["network.nic_bandwidth=25GB/s", "network.nic_bandwidth=2GB/s", "replicas that do both"]


def test_splits_need_prefill_and_decode_replicas(swept):
    with pytest.raises(blis.ScenarioError, match="must have groups of the roles prefill and decode"):
        swept.plot.splits("ttft_p99_ms")
    with pytest.raises(blis.ScenarioError, match="metric is unknown, got 'e2e_mean_ms'"):
        swept.plot.splits("e2e_mean_ms")
