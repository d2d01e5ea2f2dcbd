import numpy as np
import pytest
import yaml

import blis_simpy as blis
from blis_simpy.workload.arrivals import ConstantArrivals, GammaArrivals, PoissonArrivals, WeibullArrivals
from blis_simpy.workload.load_workload import read_workload
from blis_simpy.workload.spec.arrival import Arrival
from blis_simpy.workload.spec.client import Client
from blis_simpy.workload.workload_spec import WorkloadSpec


def gaps(process, rate_per_s, n, seed=1):
    return process.inter_arrival_times(np.random.default_rng(seed), rate_per_s, n)


@pytest.mark.parametrize(
    ("rate_per_s", "gap_us"),
    [
        (1, 1_000_000),
        (3, 333_333),
        (5, 200_000),
        (10, 100_000),  # 1 / (10 / 1e6) is 99999.99999999999
        (6, 166_667),
        (12, 83_333),
        (15, 66_667),
        (20, 50_000),
        (1000, 1000),
        (3_000_000, 1),
        (1e-12, 10**15),
    ],
)
def test_constant_gap_is_the_nearest_microsecond(rate_per_s, gap_us):
    found = gaps(ConstantArrivals(), rate_per_s, 3)
    assert found.dtype == np.int64
    assert found.tolist() == [gap_us] * 3


def test_constant_arrivals_draw_nothing():
    rng = np.random.default_rng(5)
    ConstantArrivals().inter_arrival_times(rng, 2.0, 10)
    assert rng.random() == np.random.default_rng(5).random()


def test_poisson_gaps_are_truncated_exponentials():
    expected = np.random.default_rng(1).standard_exponential(1000) / (50 / 1e6)
    found = gaps(PoissonArrivals(), 50, 1000)
    assert found.dtype == np.int64
    assert found.tolist() == [max(int(gap), 1) for gap in expected]


def test_poisson_gaps_have_mean_and_spread_of_the_distribution():
    """Mean and standard deviation are both 20 000 us; with 10**6 draws five standard errors are 0.5 % and 0.7 %."""
    found = gaps(PoissonArrivals(), 50, 1_000_000)
    assert found.mean() == pytest.approx(20_000, rel=0.005)
    assert found.std() == pytest.approx(20_000, rel=0.008)


def test_poisson_gaps_are_at_least_one_microsecond():
    assert gaps(PoissonArrivals(), 1e9, 1000).tolist() == [1] * 1000


def test_drawing_in_parts_gives_the_same_gaps():
    rng = np.random.default_rng(1)
    parts = [PoissonArrivals().inter_arrival_times(rng, 50, n).tolist() for n in (3, 7)]
    assert parts[0] + parts[1] == gaps(PoissonArrivals(), 50, 10).tolist()


@pytest.mark.parametrize("cv", [0.5, 1.0, 3.5])
def test_gamma_gaps_have_mean_and_spread_of_the_distribution(cv):
    """Truncation takes half a microsecond of 20 000; five standard errors of a million draws are below 5 %."""
    found = gaps(GammaArrivals(cv=cv), 50, 1_000_000)
    assert found.mean() == pytest.approx(20_000, rel=0.02)
    assert found.std() / found.mean() == pytest.approx(cv, rel=0.05)


def test_very_bursty_gamma_gaps_have_mean_and_spread_of_the_distribution():
    """Of a million gaps with a coefficient of variation of 12, the mean has a standard error of 1.2 %."""
    found = gaps(GammaArrivals(cv=12.0), 50, 1_000_000)
    assert found.mean() == pytest.approx(20_000, rel=0.06)
    assert found.std() / found.mean() == pytest.approx(12.0, rel=0.1)


@pytest.mark.parametrize("arrivals", ["gamma", {"process": "gamma"}, "weibull"])
def test_bursty_arrivals_without_cv_are_warned_of_because_they_are_poisson(arrivals, caplog):
    name = arrivals if isinstance(arrivals, str) else arrivals["process"]
    assert blis.Workload(arrivals=arrivals).arrivals.cv == 1
    assert caplog.messages == [f"{name} arrivals without cv have cv 1, which is poisson"]


def test_a_cv_of_a_process_without_one_is_warned_of(caplog):
    blis.Workload(arrivals={"process": "poisson", "cv": 3})
    assert caplog.messages == ["cv 3 has no effect on poisson arrivals"]


@pytest.mark.parametrize("cv", [10.0, 10.1, 25.0])
def test_very_bursty_gamma_is_poisson_in_the_profile_of_the_reference_alone(cv, caplog):
    client = Client(rate_fraction=1, arrival=Arrival("gamma", cv), input_distribution=1, output_distribution=1)
    spec = WorkloadSpec(clients=(client,), aggregate_rate=1.0)
    assert client.arrival == GammaArrivals(cv)
    (in_blis,) = spec.as_in_blis().clients
    assert isinstance(in_blis.arrival, PoissonArrivals) is (cv > 10)
    assert caplog.messages == [f"gamma arrivals with cv {cv:g} are taken as poisson, as in BLIS"] * (cv > 10)


@pytest.mark.parametrize("cv", [4.0, 20.0])
def test_written_gamma_is_read_again(cv):
    client = Client(rate_fraction=1, arrival=GammaArrivals(cv), input_distribution=1, output_distribution=1)
    written = WorkloadSpec(clients=(client,), aggregate_rate=1.0).to_yaml()
    (read,) = read_workload(yaml.safe_load(written)).clients
    assert read.arrival == GammaArrivals(cv)


@pytest.mark.parametrize("cv", [1e-200, 1e-160, 5e-324])
def test_gamma_gaps_whose_spread_vanishes_are_constant(cv):
    """The square of the first and the last is 0, and the inverse of the second one's is infinite."""
    assert gaps(GammaArrivals(cv=cv), 50, 3).tolist() == [20_000] * 3


@pytest.mark.parametrize("cv", [1e-150, 1e-12])
def test_gamma_gaps_of_almost_no_spread_are_drawn(cv):
    found = gaps(GammaArrivals(cv=cv), 50, 100)
    assert set(found.tolist()) <= {19_999, 20_000}


@pytest.mark.parametrize("cv", [0.0, -2.0])
def test_gamma_cv_that_is_not_positive_counts_as_one(cv):
    assert gaps(GammaArrivals(cv=cv), 50, 100).tolist() == gaps(GammaArrivals(), 50, 100).tolist()


@pytest.mark.parametrize(
    ("cv", "shape"),
    [
        (0.05, 25.075),
        (0.1, 12.197265625),
        (0.25, 4.538916015625),
        (0.5, 2.09995117),
        (1.0, 0.99936829),
        (2.5, 0.46279602),
        (10.4, 0.22995110),
        (20.0, 0.18660827),
    ],
)
def test_weibull_shape_is_that_of_the_coarse_bisection(cv, shape):
    assert WeibullArrivals(cv=cv).shape == pytest.approx(shape, abs=1e-8)


def test_weibull_shape_that_does_not_exist_is_warned_of(caplog):
    assert WeibullArrivals(cv=0.0125).shape < 100
    assert caplog.messages == []
    assert WeibullArrivals(cv=0.011).shape == pytest.approx(100)
    assert caplog.messages == ["no weibull distribution has cv 0.011; the nearest shape is 100"]


def test_weibull_gaps_have_mean_and_spread_of_the_distribution():
    found = gaps(WeibullArrivals(cv=2.0), 50, 1_000_000)
    assert found.mean() == pytest.approx(20_000, rel=0.012)
    assert found.std() / found.mean() == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("process", [GammaArrivals(cv=3.0), GammaArrivals(cv=0.3), WeibullArrivals(cv=2.0)])
def test_drawing_bursty_gaps_in_parts_gives_the_same(process):
    rng = np.random.default_rng(1)
    parts = [process.inter_arrival_times(rng, 50, n).tolist() for n in (3, 7)]
    assert parts[0] + parts[1] == gaps(process, 50, 10).tolist()
