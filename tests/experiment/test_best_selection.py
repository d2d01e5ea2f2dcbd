import numpy as np
import pytest
from scipy import stats

from blis_simpy.errors import ScenarioError
from blis_simpy.experiment.best_selection import critical_value, select_best


@pytest.mark.parametrize(("dimension", "freedom", "tabled"), [(1, 10, 1.81), (2, 10, 2.15), (3, 20, 2.19)])
def test_critical_values_are_those_of_dunnetts_table(dimension, freedom, tabled):
    assert round(critical_value(dimension, freedom, 0.95), 2) == tabled


@pytest.mark.parametrize(("dimension", "freedom", "confidence"), [(5, 10, 0.99), (9, 60, 0.95), (3, 4, 0.8)])
def test_critical_values_are_quantiles_of_scipys_multivariate_t(dimension, freedom, confidence):
    """Whose distribution function is integrated by random points, to four digits or so."""
    shape = np.full((dimension, dimension), 0.5) + np.eye(dimension) / 2
    bound = np.full(dimension, critical_value(dimension, freedom, confidence))
    reached = stats.multivariate_t(shape=shape, df=freedom, seed=1).cdf(bound, random_state=np.random.default_rng(1))
    assert reached == pytest.approx(confidence, abs=5e-4)


def test_two_scenarios_need_as_many_as_the_paired_t_test_asks_for():
    """Differences -3, -5, -4, -4: variance 2/3; t(3, 95 %) = 2.3534, so (2.3534² * 2/3) / 0.5² = 14.8 -> 15."""
    first = np.array([10.0, 20.0, 15.0, 18.0])
    selection = select_best({"a": first, "b": first - [3, 5, 4, 4]}, indifference=0.5)
    assert selection.needed == int(np.ceil(stats.t.ppf(0.95, 3) ** 2 * (2 / 3) / 0.25)) == 15
    assert selection.best == "b"
    assert not selection.decided
    assert "need 15 replications, there are 4" in str(selection)
    assert select_best({"a": first, "b": first - [3, 5, 4, 4]}, indifference=2.0).decided


def test_the_greatest_is_best_where_more_is_better():
    values = {"a": [1.0, 1.1, 0.9], "b": [2.0, 2.1, 1.9]}
    up = select_best(values, indifference=0.5, maximise=True)
    assert up.best == "b"
    assert up.means == pytest.approx({"b": 2.0, "a": 1.0})
    assert up.behind["b"] == pytest.approx((-1.5, 0.0))
    assert up.behind["a"] == pytest.approx((0.0, 1.5))


def test_the_best_is_selected_as_often_as_stated():
    """Three of four are worse by just the indifference: of 400, at least 367 (three deviations below 380)."""
    rng = np.random.default_rng(1)
    right = 0
    for _ in range(400):
        common = rng.normal(0, 5, 2000)
        values = {name: common + (name != "a") + rng.normal(0, 1, 2000) for name in "dcba"}
        first = select_best({name: column[:10] for name, column in values.items()}, indifference=1.0)
        enough = {name: column[: first.needed] for name, column in values.items()}
        second = select_best(enough, indifference=1.0, first_stage=10)
        assert second.decided
        right += second.best == "a"
    assert right >= 367


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ({"a": [1.0, 2.0]}, {}, "values must be of at least two scenarios and two replications"),
        ({"a": [1.0, 2.0], "b": [1.0, 2.0]}, {"indifference": 0}, "indifference must be > 0, got 0"),
        ({"a": [1.0, 2.0], "b": [1.0, 2.0]}, {"first_stage": 3}, "first_stage must be >= 2 and <= 2, got 3"),
        (
            {"a": [1.0, 2.0], "b": [1.0, 2.0]},
            {"confidence": 0.4},
            "confidence must be > 1 / 2, one over the number of scenarios, got 0.4",
        ),
        (
            {"a": [1.0, float("nan")], "b": [1.0, 2.0]},
            {"metric": "ttft_p99_ms"},
            "ttft_p99_ms is missing in some of the runs",
        ),
    ],
)
def test_mistakes_are_named(values, options, message):
    with pytest.raises(ScenarioError) as raised:
        select_best(values, **{"indifference": 1.0, **options})
    assert str(raised.value) == message
