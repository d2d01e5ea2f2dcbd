"""Whether a queue grows over a run: exact trends of regular arrivals, and how often the rule is wrong."""

import numpy as np
import pytest

import blis_simpy as blis
from blis_simpy.results.requests import RequestTable
from blis_simpy.results.stationarity import queue_grows, stationarity

SERVICE_US = 10_000


def of_one_server(load, count, rng):
    """Trends of one server with Poisson arrivals and exponential service times, without a simulator."""
    arrived = np.cumsum(rng.exponential(SERVICE_US / load, count))
    service = rng.exponential(SERVICE_US, count)
    # Lindley's equation: the server ends request i after the sum of all services since it was last idle.
    served = np.cumsum(service)
    ended = served + np.maximum.accumulate(arrived - (served - service))
    return of_times(arrived.astype(np.int64), (ended - service - arrived).astype(np.int64), (ended - arrived))


def of_times(arrived, ttft, e2e):
    columns = {
        "arrived_at_us": arrived,
        "ttft_us": ttft,
        "e2e_us": e2e.astype(np.int64),
        "finished_at_us": arrived + e2e.astype(np.int64),
        "outcome": np.full(len(arrived), "completed", dtype=object),
    }
    return stationarity(RequestTable(columns, len(arrived), columns.__getitem__))


def share_of_alarms(load, count, runs, groups=100):
    rng = np.random.default_rng(3)
    return np.mean([queue_grows([of_one_server(load, count, rng) for _ in range(runs)]) for _ in range(groups)])


@pytest.mark.parametrize("load", [2, 1.25])
def test_the_backlog_grows_by_what_is_not_served(load):
    """Regular arrivals: of 900 at `load` times the rate of the server, 1 - 1 / `load` of each third are left."""
    place = np.arange(900)
    arrived = (place * SERVICE_US / load).astype(np.int64)
    waited = (place * SERVICE_US - arrived).astype(np.int64)
    trend = of_times(arrived, waited, waited + SERVICE_US)
    assert trend.backlog_growth == pytest.approx(1 - 1 / load, abs=0.004)
    assert trend.ttft_growth == pytest.approx(2 / 3, abs=0.01)
    assert queue_grows([trend])
    assert queue_grows([trend, trend])


def test_a_server_that_keeps_up_has_no_trend():
    arrived = np.arange(90) * SERVICE_US
    trend = of_times(arrived, np.full(90, 5), np.full(90, SERVICE_US))
    assert (trend.ttft_growth, trend.backlog_growth, trend.backlog) == (0, 0, 1)
    assert not queue_grows([trend, trend])


def test_a_run_that_ends_before_its_first_request_does_is_not_stationary():
    """All 90 are in the system at the last arrival: each third finds 30 more than the one before."""
    arrived = np.arange(90) * 1000
    trend = of_times(arrived, np.full(90, 5), np.full(90, 1_000_000))
    assert (trend.ttft_growth, trend.backlog_growth, trend.backlog) == (0, 1, 90)
    assert queue_grows([trend, trend])


def test_too_few_requests_say_nothing():
    arrived = np.arange(29) * 1000
    trend = of_times(arrived, arrived, arrived + 5)
    assert np.isnan([trend.ttft_growth, trend.backlog_growth]).all()
    assert not queue_grows([trend])
    assert not queue_grows([trend, trend])
    assert not queue_grows([])


def test_closed_loop_users_have_no_queue_that_grows():
    users = blis.UserWorkload(users=16, num_requests=200, prompt=100, output=blis.Uniform(10, 50))
    scenario = blis.Scenario(model="qwen/qwen3-14b", hardware="H100", tp=1, workload=users)
    scenario = scenario.with_(**{"engine.max_num_seqs": 4})
    assert not queue_grows([stationarity(scenario.with_(seed=seed).run().requests) for seed in range(4)])


@pytest.mark.parametrize(("load", "runs"), [(0.5, 10), (0.9, 2), (0.9, 10)])
def test_a_stable_server_is_rarely_said_to_be_overloaded(load, runs):
    """The stated 1 %: of 100 groups, more than 5 alarms have a probability below 1 in 1,000."""
    assert share_of_alarms(load, 1000, runs) <= 0.05


@pytest.mark.parametrize(("load", "count", "runs"), [(1.1, 1000, 12), (1.3, 1000, 4)])
def test_an_overloaded_server_is_found_out(load, count, runs):
    assert share_of_alarms(load, count, runs, groups=50) >= 0.9
