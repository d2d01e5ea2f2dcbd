"""What a run says about its own figures."""

import blis_simpy as blis
from blis_simpy.results.remarks import remarks


def test_a_long_tail_is_named(serve):
    """A request every second up to 9 s, each of which takes 1 s: the last tenth of the run has no arrivals."""
    result = serve(*((1, 1, i * 1_000_000) for i in range(10)), beta=(1_000_000.0, 0.0, 0.0)).result
    assert result.metric("requests_per_s") == 1.0
    assert remarks(result) == ["10.0% of the run lies after the last arrival: 1.11 requests/s arrived until then"]


def test_a_short_tail_is_not(serve):
    result = serve(*((1, 1, i * 1_000_000) for i in range(10))).result
    assert remarks(result) == []


def test_a_single_arrival_has_no_rate(serve):
    assert remarks(serve((1, 1, 0)).result) == []


def test_a_run_beyond_saturation_is_named(serve):
    """A request each 10 ms, of which each takes 1 s: the last of 40 waits 39 times as long as the second."""
    rows = [(1, 1, i * 10_000) for i in range(40)]
    result = serve(*rows, beta=(1_000_000.0, 0.0, 0.0), max_num_seqs=1).result
    assert remarks(result)[0] == (
        "beyond saturation: TTFT grows from arrival to arrival, and 40 requests were left at the last one; latencies "
        "depend on the length of the run"
    )


def test_a_horizon_that_cuts_requests_is_named(serve):
    assert remarks(serve((10, 50, 0), (10, 2, 900), horizon=300).result) == [
        "the horizon, 300us, cut off 2 requests, which count in no latency"
    ]


def test_a_horizon_before_the_first_arrival_is_named():
    workload = blis.Workload(rate=1, num_requests=5)
    result = blis.Scenario(model="qwen/qwen3-14b", horizon=10, workload=workload).run()
    assert remarks(result) == ["no request arrived up to the horizon, 10us"]


def test_a_run_without_requests_says_so(serve):
    assert remarks(serve().result) == ["no request arrived"]


def test_a_pause_is_named(prepare):
    simulation = prepare((10, 50, 0))
    assert remarks(simulation.run(until=300)) == ["the run is paused: 1 request has not ended"]
    assert remarks(simulation.run()) == []


def test_a_run_that_rejects_everything_says_where(unserved, prepare):
    assert "all requests were rejected at admission" in remarks(unserved)
    simulation = prepare((10, 2, 500))
    simulation.env.call_at(0, -1, lambda _event: simulation.cluster.fail(0))
    assert "all requests were rejected because no replica was available" in remarks(simulation.run())


def test_requests_that_wait_for_what_is_never_released_are_named(prepare):
    simulation = prepare((10, 2, 500))

    def hoard():
        yield simulation.replicas[0].kv_blocks.get(10_000)

    simulation.env.process(hoard())
    assert remarks(simulation.run()) == ["1 request waits for ever: what it needs is not released"]


def test_transfers_without_a_network_are_named():
    scenario = blis.load_scenario("prefill-decode").with_(**{"workload.num_requests": 2, "network": None})
    result = scenario.run()
    remark = "without a network, each transfer between replicas has 25 GB/s of its own, however many there are"
    assert remarks(result)[-1] == remark
    assert result.explain("request_0").remarks == [remark]
    assert remark in repr(result.explain("request_0"))
    undivided = scenario.with_(**{"disaggregation.decider": "never"}).run()
    assert remark not in remarks(undivided)
    assert undivided.explain("request_0").remarks == []
