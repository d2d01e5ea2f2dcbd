import numpy as np
import pytest

from blis_simpy.workload.arrivals import ConstantArrivals, PoissonArrivals


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


def test_poisson_gaps_have_mean_and_spread_of_the_law():
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
