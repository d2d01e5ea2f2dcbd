from collections import Counter

import numpy as np
import pytest
from workloads import CONSTANT, arrivals, client, fixed, generated, spec

from blis_simpy.core.random_streams import RandomStreams
from blis_simpy.errors import ScenarioError
from blis_simpy.units import HOUR
from blis_simpy.workload.spec.client import Window
from blis_simpy.workload.spec.cohort import Diurnal, Drain, Spike


def cohort(population, **others):
    return {
        "id": "c",
        "population": population,
        "rate_fraction": 1.0,
        "arrival": CONSTANT,
        "input_distribution": fixed(10),
        "output_distribution": fixed(5),
        **others,
    }


def test_fraction_is_that_of_the_whole_cohort():
    """Four members share half of 8 a second: one a second each, as much as the lone client sends in a quarter."""
    workload = generated(client("lone"), cohorts=[cohort(4)], aggregate_rate=8.0, horizon=1_000_001)
    assert Counter(r.client for r in workload.requests) == {"lone": 4, "c-0": 1, "c-1": 1, "c-2": 1, "c-3": 1}


def test_members_carry_the_labels_of_the_cohort():
    labels = {"tenant": "t", "slo_class": "sheddable", "model": "m", "streaming": True, "prefix_group": "g"}
    (request,) = generated(cohorts=[cohort(1, **labels)], num_requests=1).requests
    assert (request.tenant, request.slo_class, request.model, request.streaming) == ("t", "sheddable", "m", True)
    assert (request.prefix_group, request.input_tokens) == ("g", 60)


def test_spike_is_active_once():
    workload = generated(
        cohorts=[cohort(1, spike={"start_time_us": 2_000_000, "duration_us": 2_000_000})], num_requests=9
    )
    assert arrivals(workload) == [2_000_000, 3_000_000]


def test_drain_declines_in_ten_steps():
    """Two members at 1000 a second each: 200 in the first tenth of the ramp, 20 less in each one after it."""
    drain = {"start_time_us": 1_000_000, "ramp_duration_us": 1_000_000}
    workload = generated(cohorts=[cohort(2, drain=drain)], aggregate_rate=2000.0, horizon=10_000_000)
    found = Counter((tick - 1_000_000) // 100_000 for tick in arrivals(workload) if tick >= 1_000_000)
    assert [found[tenth] for tenth in range(11)] == [200, 180, 160, 140, 120, 100, 80, 60, 40, 20, 0]
    assert sum(tick < 1_000_000 for tick in arrivals(workload)) == 1998


def test_short_drain_has_segments_of_one_tick():
    assert Drain(ramp_duration_us=3).windows() == tuple(Window(i, i + 1) for i in range(10))


def test_diurnal_is_on_all_of_the_peak_hour_and_least_twelve_hours_later():
    windows = Diurnal(peak_hour=3, peak_to_trough_ratio=4.0).windows()
    assert len(windows) == 24
    assert windows[3] == Window(3 * HOUR, 4 * HOUR)
    assert windows[15] == Window(15 * HOUR, 15 * HOUR + HOUR // 4)
    assert windows[9] == Window(9 * HOUR, 9 * HOUR + int(HOUR * 0.625))


def test_diurnal_covers_one_day_in_the_profile_of_the_reference():
    """One request every 1000 s; of the 86 in a day all are inside without contrast, and none after it."""
    described = spec(cohorts=[cohort(1, diurnal={"peak_to_trough_ratio": 1})], aggregate_rate=0.001, horizon=48 * HOUR)
    assert len(described.generate(RandomStreams(1)).requests) == 172
    assert len(described.as_in_blis().generate(RandomStreams(1)).requests) == 86


def test_diurnal_rate_is_smooth_on_every_day_and_keeps_its_mean():
    """Three days at 1/s, four times the lowest rate at 14:30: 1 + 0.6 cos, in each of six parts of an hour alike."""
    workload = generated(
        cohorts=[
            cohort(4, arrival={"process": "poisson"}, diurnal={"peak_hour": 14, "peak_to_trough_ratio": 4}),
        ],
        aggregate_rate=1.0,
        horizon=72 * HOUR,
    )
    ticks = np.array(arrivals(workload))
    hours = np.bincount(ticks // HOUR, minlength=72) / 3600
    middles = np.arange(72) + 0.5
    assert hours == pytest.approx(1 + 0.6 * np.cos(2 * np.pi * (middles - 14.5) / 24), rel=0.13)
    assert hours.mean() == pytest.approx(1.0, rel=0.01)
    parts = np.bincount(ticks % HOUR * 6 // HOUR) / len(ticks)
    assert parts == pytest.approx([1 / 6] * 6, rel=0.03)


def test_diurnal_beside_a_spike_is_one_of_active_times():
    patterns = {
        "diurnal": {"peak_hour": 0, "peak_to_trough_ratio": 2},
        "spike": {"start_time_us": 12 * HOUR, "duration_us": HOUR},
    }
    workload = generated(cohorts=[cohort(1, **patterns)], aggregate_rate=0.01, horizon=48 * HOUR)
    found = Counter(tick // HOUR for tick in arrivals(workload))
    assert (found[0], found[11], found[12], found[24]) == (35, 19, 36, 0)


def test_patterns_add_up():
    patterns = {
        "spike": {"start_time_us": 5_000_000, "duration_us": 1_000_000},
        "drain": {"start_time_us": 2_000_000, "ramp_duration_us": 10},
    }
    assert arrivals(generated(cohorts=[cohort(1, **patterns)], num_requests=9)) == [1_000_000, 2_000_000, 5_000_000]


@pytest.mark.parametrize("cv", [-1.0, 0.0, 20.0])
@pytest.mark.parametrize("process", ["gamma", "weibull"])
def test_cohorts_may_have_any_coefficient_of_variation(process, cv):
    workload = generated(cohorts=[cohort(1, arrival={"process": process, "cv": cv})], num_requests=9)
    assert len(workload.requests) == 9


def test_spike_window_is_half_open():
    assert Spike(start_time_us=5, duration_us=2).windows() == (Window(5, 7),)


def test_daily_rate_follows_a_cosine_and_keeps_its_mean():
    """Two days at 1/s, four times the lowest rate at 14 h: 1 + 0.6 cos; an hour's standard error is 1.7 to 2.6 %."""
    workload = generated(
        cohorts=[cohort(1, arrival={"process": "poisson"}, daily={"peak_hour": 14, "peak_to_trough_ratio": 4})],
        aggregate_rate=1.0,
        horizon=48 * HOUR,
    )
    hours = np.bincount([request.arrived_at // HOUR for request in workload.requests], minlength=48) / 3600
    middles = np.arange(48) + 0.5
    assert hours == pytest.approx(1 + 0.6 * np.cos(2 * np.pi * (middles - 14) / 24), rel=0.13)
    assert hours.mean() == pytest.approx(1.0, rel=0.015)
    arrivals = [request.arrived_at for request in workload.requests]
    assert arrivals == sorted(arrivals)


def test_daily_rate_is_drawn_the_same_however_far():
    def arrivals(**bound):
        daily = {"peak_hour": 3, "peak_to_trough_ratio": 9}
        drawn = generated(client(arrival={"process": "gamma", "cv": 2}, daily=daily), aggregate_rate=0.01, **bound)
        return [request.arrived_at for request in drawn.requests]

    assert arrivals(num_requests=40) == arrivals(horizon=72 * HOUR)[:40]


def test_daily_rate_of_ratio_one_is_constant():
    (one, other) = (
        generated(client(arrival={"process": "poisson"}, **daily), num_requests=50).requests
        for daily in ({}, {"daily": {"peak_to_trough_ratio": 1}})
    )
    assert [r.arrived_at for r in one] == pytest.approx([r.arrived_at for r in other], abs=1)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"diurnal": {"peak_to_trough_ratio": 2}, "daily": {"peak_to_trough_ratio": 2}},
            "cohorts[0].diurnal must not be given beside daily or rate_curve",
        ),
        ({"daily": {"peak_to_trough_ratio": 0.5}}, "cohorts[0].daily.peak_to_trough_ratio must be >= 1, got 0.5"),
    ],
)
def test_wrong_daily_rate_is_named(options, line):
    with pytest.raises(ScenarioError) as caught:
        generated(cohorts=[cohort(1, **options)], num_requests=1)
    assert str(caught.value) == line


TENT = [{"at": "10s", "factor": 1}, {"at": "20s", "factor": 3}, {"at": "40s", "factor": 0}]
"""Until 10, 20 and 40 s 10, 30 and 60 mean gaps pass, and none after that."""


@pytest.mark.parametrize("describe", [client, lambda **others: client(**others) | {"timeout": 5}])
def test_rate_may_be_a_function_of_time(describe):
    """At two requests a second: 20, 40 and 60 requests between the points; halfway, 15 and 22.5 of the last thirty."""
    found = arrivals(generated(describe(rate_curve=TENT), aggregate_rate=2.0, horizon=10 * HOUR))
    edges = [0, 10, 20, 30, 40, 10**6]
    number = np.histogram(np.array(found) / 1e6, edges)[0]
    assert number == pytest.approx([20, 40, 45, 15, 0], abs=1)
    assert found == sorted(found)


def test_rate_that_ends_at_zero_ends_a_client_without_a_horizon():
    assert len(arrivals(generated(client(rate_curve=TENT), aggregate_rate=2.0, num_requests=1000))) in (119, 120)


def test_random_arrivals_follow_the_function_of_time():
    """Two hours from 1/s to 3/s and back: the counts of 24 parts have a spread of 4 to 6 % of Poisson arrivals."""
    curve = [{"at": 0, "factor": 1}, {"at": HOUR, "factor": 3}, {"at": 2 * HOUR, "factor": 1}]
    options = {"arrival": {"process": "poisson"}, "rate_curve": curve}
    workload = generated(cohorts=[cohort(2, **options)], aggregate_rate=1.0, horizon=2 * HOUR)
    found = np.bincount(np.array(arrivals(workload)) * 12 // HOUR, minlength=24) / 300
    middles = (np.arange(24) + 0.5) / 12
    assert found == pytest.approx(3 - 2 * np.abs(middles - 1), rel=0.25)
    assert found.mean() == pytest.approx(2, rel=0.04)


@pytest.mark.parametrize(
    ("curve", "line"),
    [
        ([(5, 1), (5, 2)], "clients[0].rate_curve must have ascending times, got [5, 5]"),
        ([(0, 0), (5, 0)], "clients[0].rate_curve must have a factor > 0, got [0, 0]"),
        ([(-1, 1)], "clients[0].rate_curve[0].at must be >= 0, got -1"),
        ([(0, -1)], "clients[0].rate_curve[0].factor must be >= 0, got -1"),
    ],
)
def test_wrong_function_of_time_is_named(curve, line):
    points = [{"at": at, "factor": factor} for at, factor in curve]
    with pytest.raises(ScenarioError) as caught:
        generated(client(rate_curve=points), num_requests=1)
    assert str(caught.value) == line


def test_load_that_a_spike_takes_away_is_reported(caplog):
    generated(
        cohorts=[cohort(1, spike={"start_time_us": 0, "duration_us": 2_000_000})], aggregate_rate=8, horizon=8_000_000
    )
    assert caplog.messages == [
        "clients are inactive outside their windows: until 8s, 2 requests/s of the aggregate rate of 8"
    ]
