"""Capacity: a service of known rate, and the rate it carries."""

import math

import attrs
import pytest

import blis_simpy as blis
from blis_simpy.errors import ScenarioError
from blis_simpy.experiment.capacity import Limit


@pytest.fixture
def server(small):
    """One request at a time: its prompt is 100 tokens, a step takes 5.1 ms, its answer one token: 196 requests/s."""
    return small.with_(
        **{
            "engine.profile": "blis",
            "engine.max_num_seqs": 1,
            "latency.beta": (5000.0, 1.0, 0.0),
            "workload.prompt": blis.Constant(100),
            "workload.output": blis.Constant(1),
            "workload.rate": 100,
            "workload.arrivals": "constant",
            "workload.num_requests": 80,
        }
    )


@pytest.fixture
def poisson(server):
    return server.with_(**{"workload.arrivals": "poisson"})


def served_in_time(result) -> float:
    return float((result.requests["ttft_us"] <= 30_000).mean())


def test_the_largest_rate_is_that_of_the_server(server):
    """Regular arrivals every 5.1 ms or more never wait: up to 1 / 5.1 ms = 196.08/s."""
    found = blis.capacity(server, {"ttft_p99_ms": 5.2}, resolution=0.01, replications=2, executor="serial")
    assert found.decided
    assert 196.08 / 1.01 <= found.value <= 196.1
    assert found.value < found.misses_at <= 196.1 * 1.01
    assert found.monotone
    assert str(found).startswith(
        f"largest workload.rate that meets ttft_p99_ms <= 5.200 with 95 % confidence: {found.value:.1f}; "
        f"at {found.misses_at:.1f} it is missed"
    )


def test_the_smallest_number_of_replicas_is_what_the_rate_asks_for(server):
    """700/s over 196/s: 3.57, so 4."""
    busy = server.with_(**{"workload.rate": 700})
    found = blis.capacity(busy, {"ttft_p99_ms": 6}, vary="replicas", replications=2, executor="serial")
    assert (found.value, found.misses_at) == (4, 3)
    assert {type(probe.value) for probe in found.probes} == {int}


def test_the_largest_number_of_users_is_that_of_the_server(server):
    """One request of 5.1 ms at a time: with n users an answer takes 5.1 n ms, and in the first round up to that."""
    users = blis.UserWorkload(users=2, num_requests=40, prompt=100, output=1)
    found = blis.capacity(server.with_(workload=users), {"e2e_mean_ms": 28}, replications=2, executor="serial")
    assert (found.vary, found.value, found.misses_at) == ("workload.users", 5, 6)
    assert {type(probe.value) for probe in found.probes} == {int}
    assert str(found).startswith("largest workload.users that meets e2e_mean_ms <= 28")
    from_above = blis.capacity(
        server.with_(workload=users, **{"workload.users": 40}), {"e2e_mean_ms": 28}, replications=2, executor="serial"
    )
    assert from_above.value == 5


def test_no_number_of_users_meets_what_one_does_not(server):
    users = blis.UserWorkload(users=4, num_requests=40, prompt=100, output=1)
    found = blis.capacity(server.with_(workload=users), {"e2e_mean_ms": 5}, replications=2, executor="serial")
    assert str(found) == "no workload.users from 1 to 4 meets e2e_mean_ms <= 5"


def test_more_users_send_more_requests(server):
    users = blis.UserWorkload(users=2, num_requests=10, prompt=100, output=1)
    found = blis.capacity(server.with_(workload=users), {"e2e_mean_ms": 22}, replications=2, executor="serial")
    sent = {probe.value: int(probe.mean("requests")) for probe in found.probes}
    assert sent == {users: 5 * users for users in sent}
    assert len(sent) > 2


def test_a_value_is_confirmed_with_seeds_that_had_no_part_in_choosing_it(poisson):
    found = blis.capacity(poisson, {"ttft_p99_ms": 40}, replications=3, resolution=0.1, executor="serial")
    search = {seed for probe in found.probes if probe.purpose == "search" for seed in probe.replications.seeds}
    last = found.probes[-1]
    assert (last.purpose, last.outcome, last.value) == ("confirm", "meets", found.value)
    assert len(last.replications) == 6
    assert not search & set(last.replications.seeds)
    assert last.bounds["ttft_p99_ms"][1] <= 40
    assert last.confidence >= 0.975


def test_the_service_level_holds_at_the_value_as_often_as_stated(poisson):
    """Six searches; at each value found, 20 further runs: at 95 % their mean breaks the limit hardly ever, or once."""
    poisson = poisson.with_(**{"workload.num_requests": 40})
    broken = found_any = 0
    options = {"low": 100, "high": 190, "replications": 3, "resolution": 0.2, "executor": "serial"}
    for seed in range(6):
        found = blis.capacity(poisson, {"ttft_p99_ms": 40}, seed=seed, **options)
        if found.value is not None:
            found_any += 1
            changed = poisson.with_(**{"workload.rate": found.value})
            broken += blis.replicate(changed, 20, seed=1000 + seed, executor="serial").mean("ttft_p99_ms") > 40
    assert found_any >= 3
    assert broken <= 1


def test_limits_of_several_metrics_hold_together(poisson):
    slo = {"ttft_p99_ms": 40, "in_time": ">= 0.995"}
    options = {"low": 100, "high": 190, "replications": 3, "resolution": 0.1, "executor": "serial"}
    both = blis.capacity(poisson, slo, metrics={"in_time": served_in_time}, **options)
    one = blis.capacity(poisson, {"ttft_p99_ms": 40}, **options)
    assert both.value < one.value
    assert [str(limit) for limit in both.limits] == ["ttft_p99_ms <= 40", "in_time >= 0.9950"]


def test_it_looks_outwards_from_the_rate_of_the_scenario(server):
    options = {"replications": 2, "resolution": 0.05, "executor": "serial"}
    from_below, from_above = (
        blis.capacity(server.with_(**{"workload.rate": rate}), {"ttft_p99_ms": 5.2}, **options) for rate in (20, 2000)
    )
    assert from_below.value == pytest.approx(196, rel=0.05)
    assert from_above.value == pytest.approx(196, rel=0.05)


def test_what_nothing_meets_is_said(server):
    found = blis.capacity(server, {"ttft_p99_ms": 1}, low=1, high=10, replications=2, executor="serial")
    assert (found.value, found.decided) == (None, False)
    assert str(found) == "workload.rate = 1 does not meet ttft_p99_ms <= 1"


def test_where_all_meet_it_the_bound_is_the_answer(server):
    found = blis.capacity(server, {"ttft_p99_ms": 6}, low=1, high=10, replications=2, executor="serial")
    assert (found.value, found.misses_at) == (10, None)
    assert "confidence: 10; no probe from 1 to 10 clearly misses it" in str(found)
    assert math.isinf(found.resolution)


def test_a_rate_at_which_the_queue_grows_is_missed_however_short_the_runs(server):
    """Sixty requests at 400/s wait 80 ms on average, which meets the limit; in the long run none does above 196/s."""
    short = server.with_(**{"workload.num_requests": 60, "workload.rate": 400})
    found = blis.capacity(
        short, {"ttft_p99_ms": 1000}, low=150, high=400, resolution=0.02, replications=2, executor="serial"
    )
    assert 190 < found.value <= 196.1
    grown = next(probe for probe in found.probes if probe.value == 400)
    assert (grown.outcome, grown.stationary) == ("misses", False)
    assert grown.ttft_growth == pytest.approx(2 / 3, abs=0.06)
    assert "misses: not stationary" in found.table().text()


@pytest.mark.parametrize("slo", [{"e2e_p99_ms": 1e6}, {"requests_per_s": 50}])
def test_a_limit_that_an_overloaded_server_meets_does_not_make_it_a_capacity(poisson, slo):
    """An E2E that no run is long enough to reach, and a throughput that overload does not lower."""
    long = poisson.with_(**{"workload.num_requests": 300})
    found = blis.capacity(long, slo, low=100, high=400, resolution=0.2, replications=4, executor="serial")
    assert 150 < found.value <= 1.05 * 196.1
    assert not any(probe.stationary for probe in found.probes if probe.value >= 1.2 * 196.1)


def test_a_backlog_grows_where_ttft_does_not(poisson):
    """The newest first: most requests hardly wait, and those that do wait till the end."""
    newest = poisson.with_(**{"engine.scheduler": "reverse-priority", "engine.priority": "slo-based"})
    newest = newest.with_(**{"workload.num_requests": 300})
    options = {"low": 150, "high": 300, "resolution": 0.2, "replications": 4, "executor": "serial"}
    found = blis.capacity(newest, {"ttft_p50_ms": 100}, **options)
    assert found.value <= 1.05 * 196.1
    grown = next(probe for probe in found.probes if probe.value == 300)
    assert grown.mean("ttft_p50_ms") < 100
    assert (grown.outcome, grown.stationary) == ("misses", False)
    assert grown.ttft_growth < 0
    assert grown.backlog_growth == pytest.approx(1 - 196.1 / 300, abs=0.05)


def test_runs_that_are_short_beside_a_request_are_said_to_be_so(server):
    """Sixty answers of 201 tokens at 5 ms each take a second; at 100/s, all arrive within 0.6 s."""
    slow = server.with_(
        **{"engine.max_num_seqs": 500, "workload.output": blis.Constant(201), "workload.num_requests": 60}
    )
    found = blis.capacity(slow, {"ttft_p99_ms": 50}, low=20, high=100, replications=2, executor="serial")
    assert not next(probe for probe in found.probes if probe.value == 100).stationary
    assert "short runs: at " in str(found)
    assert str(found).endswith(" times the mean E2E; 10 times or more show whether a queue grows")


def test_runs_at_a_higher_rate_last_as_long(server):
    slow = server.with_(**{"workload.rate": 20})
    found = blis.capacity(slow, {"ttft_p99_ms": 6}, low=20, high=100, replications=2, executor="serial")
    assert [int(probe.mean("requests")) for probe in found.probes] == [80, 400, 400]


def test_short_runs_are_said(server):
    few = server.with_(**{"workload.num_requests": 300})
    found = blis.capacity(few, {"ttft_p99_ms": 6}, low=10, high=20, replications=2, executor="serial")
    assert str(found).endswith("short runs: 3.000 of 300 requests are beyond ttft_p99_ms, 10 or more make it reliable")
    many = server.with_(**{"workload.num_requests": 1_000})
    assert "short" not in str(
        blis.capacity(many, {"ttft_p99_ms": 6}, low=10, high=20, replications=2, executor="serial")
    )


def test_the_resolution_that_was_reached_is_said(server):
    found = blis.capacity(server, {"ttft_p99_ms": 6}, low=10, high=20, replications=2, executor="serial")
    wide = attrs.evolve(found, misses_at=24.0)
    assert wide.resolution == pytest.approx(0.2)
    assert "at 24 it is missed (resolution 20 % instead of 2 %: more replications narrow it)" in str(wide)
    assert "instead" not in str(attrs.evolve(found, misses_at=20.5))


def test_what_the_evidence_does_not_decide_is_said(poisson):
    """The limit is the mean of many runs at the least rate: few runs cannot tell on which side of it they are."""
    poisson = poisson.with_(**{"workload.rate": 150, "workload.num_requests": 100})
    mean = blis.replicate(poisson, 40, executor="serial").mean("ttft_p99_ms")
    found = blis.capacity(poisson, {"ttft_p99_ms": mean}, low=150, high=151, replications=2, seed=1, executor="serial")
    assert not found.decided
    assert str(found).startswith("not decided: no workload.rate was confirmed to meet ttft_p99_ms <= ")
    assert any(len(probe.replications) == 8 for probe in found.probes)


def test_requests_that_were_not_served_are_pointed_out(server):
    """A bucket lets in a request of 100 tokens now and then: those that are in are served fast."""
    strict = server.with_(admission={"policy": "token-bucket", "capacity": 200.0, "refill_rate": 1000.0})
    found = blis.capacity(strict, {"ttft_p99_ms": 6}, low=10, high=40, replications=2, executor="serial")
    assert found.value == 40
    assert "of the requests did not complete and have no latency" in str(found)


def test_it_shows_what_was_tried(server):
    found = blis.capacity(server, {"ttft_p99_ms": 6}, low=1, high=10, replications=2, executor="serial")
    lines = repr(found).splitlines()
    assert lines[0] == str(found)
    assert [line.split()[:2] for line in lines[3:]] == [["1", "search"], ["10", "search"], ["10", "confirm"]]
    assert "<table" in found._repr_html_()


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (("ttft_p99_ms", 200), Limit("ttft_p99_ms", 200.0)),
        (("requests_per_s", 5), Limit("requests_per_s", 5.0, at_least=True)),
        (("mine", ">= 0.95"), Limit("mine", 0.95, at_least=True)),
        (("requests_per_s", "<=1e3"), Limit("requests_per_s", 1000.0)),
    ],
)
def test_limits_are_read(limit, expected):
    assert Limit.of(*limit) == expected


def test_a_mean_is_judged_by_its_bounds():
    upper, lower = Limit("m", 10.0), Limit("m", 10.0, at_least=True)
    assert [upper.judge(bounds) for bounds in ((8, 10), (9, 11), (10.5, 12))] == ["meets", "unclear", "misses"]
    assert [lower.judge(bounds) for bounds in ((10, 12), (9, 11), (8, 9.5))] == ["meets", "unclear", "misses"]
    assert upper.judge((float("nan"), float("nan"))) == "misses"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slo": {}}, "slo must not be empty"),
        ({"slo": {"ttft_p99_ms": "fast"}}, "slo['ttft_p99_ms'] must be a number, or text such as '<= 200', got 'fast'"),
        (
            {"slo": {"ttft_p99_ms": "<= 1.2.3"}},
            "slo['ttft_p99_ms'] must be a number, or text such as '<= 200', got '<= 1.2.3'",
        ),
        ({"vary": "tp"}, "vary must be one of workload.rate, workload.users, replicas, got 'tp'"),
        (
            {"vary": "workload.users"},
            (
                "vary needs a workload of closed-loop users, got 'workload.users'; "
                "blis_simpy.UserWorkload(users=...), without stages"
            ),
        ),
        ({"low": 3, "high": 2}, "high must be > low (3), got 2"),
        ({"low": 0}, "low must be a number > 0, got 0"),
        ({"vary": "replicas", "high": 2.5}, "high must be an integer >= 1, got 2.5"),
        ({"replications": 1}, "replications must be an integer >= 2, got 1"),
        ({"resolution": 2}, "resolution must be > 0 and < 1, got 2"),
    ],
)
def test_mistakes_are_named_before_anything_is_run(small, options, message):
    with pytest.raises(ScenarioError) as raised:
        blis.capacity(small, **{"slo": {"ttft_p99_ms": 100}, "executor": "serial", **options})
    assert str(raised.value) == message
