from collections import Counter

import numpy as np
import pytest
from workloads import CONSTANT, arrivals, client, fixed, generated

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


def test_diurnal_covers_one_day():
    """One request every 1000 s; of the 86 in a day all are inside without contrast, and none after it."""
    workload = generated(
        cohorts=[cohort(1, diurnal={"peak_to_trough_ratio": 1})], aggregate_rate=0.001, horizon=48 * HOUR
    )
    assert len(workload.requests) == 86


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
            "cohorts[0].daily must not be given beside diurnal",
        ),
        ({"daily": {"peak_to_trough_ratio": 0.5}}, "cohorts[0].daily.peak_to_trough_ratio must be >= 1, got 0.5"),
    ],
)
def test_wrong_daily_rate_is_named(options, line):
    with pytest.raises(ScenarioError) as caught:
        generated(cohorts=[cohort(1, **options)], num_requests=1)
    assert str(caught.value) == line
