import pickle

import numpy as np
import pytest

from blis_simpy.errors import ScenarioError
from blis_simpy.workload.lengths import (
    Constant,
    Empirical,
    Exponential,
    Gaussian,
    Lognormal,
    ParetoLognormal,
    Uniform,
)
from blis_simpy.workload.spec.length_distribution import LengthDistribution


def sample(distribution, n=4, seed=1):
    lengths = distribution.sample(np.random.default_rng(seed), n)
    assert lengths.dtype == np.int64
    assert lengths.shape == (n,)
    return lengths.tolist()


def test_constant_is_constant():
    assert sample(Constant(512)) == [512] * 4


@pytest.mark.parametrize(
    ("distribution", "length"),
    [
        (Gaussian(10.5, 0), 11),
        (Gaussian(32.5, 0, 1, 100), 33),
        (Gaussian(2.5, 0, 1, 9), 3),
        (Gaussian(2.4999, 0, 1, 9), 2),
        (Gaussian(-5, 0, 0, 3), 1),
        (Gaussian(0.2, 0, 0, 3), 1),
        (Gaussian(50, 0, 1, 9), 9),
        (Gaussian(5, 3, 7, 7), 7),
        (Gaussian(5, 3, 0, 0), 0),
        (Exponential(1e-9), 1),
    ],
)
def test_degenerate_distributions(distribution, length):
    """Halves round upward, a drawn length is at least 1, and equal bounds are taken as they are."""
    assert sample(distribution) == [length] * 4


@pytest.mark.parametrize("distribution", [Constant(5), Gaussian(5, 3, 7, 7)])
def test_fixed_lengths_draw_nothing(distribution):
    rng = np.random.default_rng(5)
    distribution.sample(rng, 10)
    assert rng.random() == np.random.default_rng(5).random()


def test_gaussian_clamps_and_does_not_draw_again():
    """Of N(100, 50) clamped to [80, 140], 34.458 % sit on the lower bound and 21.186 % on the upper."""
    lengths = np.array(sample(Gaussian(100, 50, 80, 140), 400_000))
    assert lengths.min() == 80
    assert lengths.max() == 140
    # The bounds also collect what rounds to them: 80.49 and 139.51 stand for 34.829 % and 21.468 %.
    assert np.mean(lengths == 80) == pytest.approx(0.34829, abs=0.004)
    assert np.mean(lengths == 140) == pytest.approx(0.21468, abs=0.004)


def test_gaussian_rounds_halves_upward():
    expected = np.random.default_rng(1).standard_normal(1000) * 20 + 500
    assert sample(Gaussian(500, 20), 1000) == [int(length + 0.5) for length in expected]


def test_exponential_is_rounded_with_floor_one():
    """P(1) of a rounded exponential with mean 2 is P(X < 1.5) = 0.5276."""
    lengths = np.array(sample(Exponential(2), 400_000))
    assert lengths.min() == 1
    assert np.mean(lengths == 1) == pytest.approx(0.5276, abs=0.004)


@pytest.mark.parametrize("distribution", [Constant(9), Gaussian(100, 50, 2, 300), Exponential(50)])
def test_drawing_in_parts_gives_the_same_lengths(distribution):
    rng = np.random.default_rng(1)
    assert distribution.sample(rng, 3).tolist() + distribution.sample(rng, 7).tolist() == sample(distribution, 10)


@pytest.mark.parametrize("distribution", [Constant(9), Gaussian(100, 50), Exponential(50)])
def test_distributions_survive_pickling(distribution):
    assert pickle.loads(pickle.dumps(distribution)) == distribution


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constant(0), "value must be >= 1, got 0"),
        (lambda: Constant(2.5), "value must be an integer, got 2.5"),
        (lambda: Gaussian(512, -1), "std_dev must be >= 0, got -1"),
        (lambda: Gaussian(float("nan"), 1), "mean must be a finite number, got nan"),
        (lambda: Gaussian(512, 1, min=-1), "min must be >= 0, got -1"),
        (lambda: Gaussian(512, 1, min=20, max=10), "min must be <= max (10), got 20"),
        (lambda: Exponential(0), "mean must be > 0, got 0"),
    ],
)
def test_wrong_parameters_are_named(make, message):
    with pytest.raises(ScenarioError) as caught:
        make()
    assert str(caught.value) == message


def test_empirical_lengths_come_as_often_as_their_weights():
    """Weights 3 : 0 : 4 : 2 : 1 of ten; five standard errors of 400 000 draws are 0.004."""
    lengths = np.array(sample(Empirical((900, 100, 350, 200, 1500), (2, 3, 4, 0, 1)), 400_000))
    shares = {length: np.mean(lengths == length) for length in (100, 200, 350, 900, 1500)}
    assert shares == pytest.approx({100: 0.3, 200: 0, 350: 0.4, 900: 0.2, 1500: 0.1}, abs=0.004)


@pytest.mark.parametrize(
    ("distribution", "length"),
    [
        (Empirical((48,), (0.3,)), 48),
        (Empirical((0, 5, 9), (0.5, -2, 0)), 0),
        (Empirical((7,), (-1,)), 1),
        (Empirical((4, 8, 9), (1, 2, -4)), 8),  # the sum of the weights is negative: all falls to the last one
        (Empirical((4, 8, 9), (1, 2, -3)), 4),  # it is 0: the first share is infinite
    ],
)
def test_odd_weights(distribution, length):
    assert sample(distribution) == [length] * 4


def test_pareto_lognormal_is_a_mixture():
    """P(X > 400) is (100 / 400) ** 1.5 = 0.125 for the Pareto part and 0.5 for the lognormal one, mu being ln 400.5."""
    options = {"alpha": 1.5, "xm": 100, "mu": np.log(400.5), "sigma": 1.0}
    for weight in (0.0, 0.3, 1.0):
        lengths = np.array(sample(ParetoLognormal(**options, mix_weight=weight), 400_000))
        assert np.mean(lengths > 400) == pytest.approx(weight * 0.125 + (1 - weight) * 0.5, abs=0.004)
    assert np.array(sample(ParetoLognormal(**options, mix_weight=1.0), 1000)).min() >= 100


@pytest.mark.parametrize(
    ("options", "length"),
    [
        ({"sigma": 0, "mu": 3}, 20),
        ({"sigma": 0, "mu": -3}, 1),
        ({"sigma": 0, "mu": 1000}, 1),
        ({"sigma": 0, "mu": 30}, 2**31 - 1),
        ({"alpha": 0, "mix_weight": 1}, 1),
        ({"xm": -5, "mix_weight": 1}, 1),
    ],
)
def test_pareto_lognormal_beyond_all_bounds(options, length):
    """What is no finite number counts as 1; what is too long is cut."""
    distribution = ParetoLognormal(**{"alpha": 1, "xm": 5, "mu": 3, "sigma": 1, "mix_weight": 0, **options})
    assert sample(distribution) == [length] * 4


@pytest.mark.parametrize("distribution", [Empirical((1, 50), (1, 1)), ParetoLognormal(1.5, 9, 3, 1, 0.5)])
def test_new_distributions_survive_pickling_and_drawing_in_parts(distribution):
    rng = np.random.default_rng(1)
    again = pickle.loads(pickle.dumps(distribution))
    assert again == distribution
    assert again.sample(rng, 3).tolist() + again.sample(rng, 7).tolist() == sample(distribution, 10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Empirical((), ()), "lengths must not be empty"),
        (lambda: Empirical((1, 2), (1,)), "weights must have as many items as lengths (2), got 1"),
        (lambda: Empirical((1, 1), (1, 2)), "lengths must differ from each other, got (1, 1)"),
        (lambda: Empirical((-1,), (1,)), "lengths[0] must be >= 0, got -1"),
        (lambda: ParetoLognormal(1, 1, float("inf"), 1, 1), "mu must be a finite number, got inf"),
    ],
)
def test_wrong_parameters_of_new_distributions_are_named(make, message):
    with pytest.raises(ScenarioError) as caught:
        make()
    assert str(caught.value) == message


def test_uniform_lengths_are_equally_likely():
    """Of a million draws each of five lengths has a fifth, with a standard error of 0.2 %."""
    drawn = Uniform(3, 7).sample(np.random.default_rng(1), 1_000_000)
    lengths, counts = np.unique(drawn, return_counts=True)
    assert lengths.tolist() == [3, 4, 5, 6, 7]
    assert counts == pytest.approx([200_000] * 5, rel=0.01)


def test_lognormal_lengths_have_the_moments_of_the_distribution():
    drawn = Lognormal.of_moments(mean=200, std_dev=50).sample(np.random.default_rng(1), 1_000_000)
    assert drawn.mean() == pytest.approx(200, rel=0.002)
    assert drawn.std() == pytest.approx(50, rel=0.01)
    assert Lognormal(mu=0, sigma=700).sample(np.random.default_rng(1), 100).max() == 2**31 - 1


@pytest.mark.parametrize("distribution", [Uniform(1, 1000), Lognormal(5, 1, 10, 500)])
def test_drawing_new_distributions_in_parts_gives_the_same(distribution):
    rng = np.random.default_rng(1)
    parts = [distribution.sample(rng, n).tolist() for n in (3, 7)]
    assert parts[0] + parts[1] == distribution.sample(np.random.default_rng(1), 10).tolist()


@pytest.mark.parametrize("make", [lambda: Uniform(5, 4), lambda: Lognormal(1, 1, 5, 4)])
def test_bounds_of_new_distributions_are_in_order(make):
    with pytest.raises(ScenarioError, match=r"^min must be <= max \(4\), got 5$"):
        make()


def test_new_distributions_are_written_by_name():
    assert LengthDistribution("uniform", {"min": 3.0, "max": 7}).build() == Uniform(3, 7)
    assert LengthDistribution("lognormal", {"mu": 5, "sigma": 0.5, "max": 99}).build() == Lognormal(5, 0.5, 1, 99)
    with pytest.raises(ScenarioError, match=r"^params\.max is required$"):
        LengthDistribution("uniform", {"min": 3})
