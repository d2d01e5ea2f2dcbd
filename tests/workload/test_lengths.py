import pickle

import numpy as np
import pytest

from blis_simpy.errors import ScenarioError
from blis_simpy.workload.lengths import Constant, Exponential, Gaussian


def sample(law, n=4, seed=1):
    lengths = law.sample(np.random.default_rng(seed), n)
    assert lengths.dtype == np.int64
    assert lengths.shape == (n,)
    return lengths.tolist()


def test_constant_is_constant():
    assert sample(Constant(512)) == [512] * 4


@pytest.mark.parametrize(
    ("law", "length"),
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
def test_degenerate_laws(law, length):
    """Halves round upward, a drawn length is at least 1, and equal bounds are taken as they are."""
    assert sample(law) == [length] * 4


@pytest.mark.parametrize("law", [Constant(5), Gaussian(5, 3, 7, 7)])
def test_fixed_lengths_draw_nothing(law):
    rng = np.random.default_rng(5)
    law.sample(rng, 10)
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


@pytest.mark.parametrize("law", [Constant(9), Gaussian(100, 50, 2, 300), Exponential(50)])
def test_drawing_in_parts_gives_the_same_lengths(law):
    rng = np.random.default_rng(1)
    assert law.sample(rng, 3).tolist() + law.sample(rng, 7).tolist() == sample(law, 10)


@pytest.mark.parametrize("law", [Constant(9), Gaussian(100, 50), Exponential(50)])
def test_laws_survive_pickling(law):
    assert pickle.loads(pickle.dumps(law)) == law


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
