"""Statistics of replications: intervals, paired tests, equivalence, and how many replications a decision would take.

One value a replication goes in. Replications are independent of each other; those of two scenarios with the same number
share their random numbers and are therefore compared in pairs. A pair needs no two values to be independent, only the
pairs to be so, hence everything here holds with common random numbers and without.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import attrs
import numpy as np

from blis_simpy.errors import ScenarioError
from blis_simpy.experiment.number_format import check_fraction, figure, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    Values = NDArray[np.float64]

__all__ = [
    "MANY",
    "Interval",
    "PairedTest",
    "adjusted",
    "bootstrap_interval",
    "equivalence_test",
    "one_sided_bounds",
    "paired_test",
    "ratio_interval",
    "replications_needed",
    "t_interval",
]

Alternative = Literal["lower", "higher", "different"]

MANY = 100_000
"""Replications beyond which nobody goes: a number of them that would decide is not worth stating."""

_POWER = 0.8
# Least spread that counts, relative to the values: below, differences are those of the floating point.
_NOISE = 1e-12


@attrs.frozen(kw_only=True)
class Interval:
    """A confidence interval.

    Attributes
    ----------
    estimate : float
        What was found.
    low, high : float
        Ends; infinite or NaN where too little is known.
    confidence : float, fraction
        How often such an interval holds the true value.
    count : int
        Values it rests on.
    method : str
        How it was made.

    Examples
    --------
    >>> interval = t_interval([9.0, 10.0, 11.0])
    >>> print(interval)
    10 ± 2.48 (95 %, n = 3)
    >>> 12.0 in interval, 13.0 in interval
    (True, False)
    """

    estimate: float
    low: float
    high: float
    confidence: float
    count: int
    method: str = "t"

    @property
    def half_width(self) -> float:
        """Half of the distance of the ends."""
        return (self.high - self.low) / 2

    @property
    def relative_half_width(self) -> float:
        """Half-width as a fraction of the estimate; infinite where that is 0 and the interval is not."""
        if not self.half_width:
            return 0.0
        return self.half_width / abs(self.estimate) if self.estimate else math.inf

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        scale = f"({percent(self.confidence, 4)}, n = {self.count})"
        if self.method == "t":
            return f"{figure(self.estimate)} ± {figure(self.half_width, 3)} {scale}"
        return f"{figure(self.estimate)} [{figure(self.low)}, {figure(self.high)}] {scale}"


def _checked(values: ArrayLike) -> Values:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ScenarioError.at("values", "must be one number a replication", array.shape)
    return array


def _paired(baseline: ArrayLike, candidate: ArrayLike) -> tuple[Values, Values]:
    first, second = _checked(baseline), _checked(candidate)
    if len(first) != len(second):
        raise ScenarioError.at("candidate", f"must have as many values as the baseline ({len(first)})", len(second))
    return first, second


def t_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Confidence interval of a mean by Student's t.

    Parameters
    ----------
    values : array-like of float, shape (num_replications,)
        One value a replication. With fewer than two the ends are infinite.
    confidence : float, fraction
        Between 0 and 1.

    Raises
    ------
    ScenarioError
        If the confidence is none.
    """
    from scipy.special import stdtrit

    check_fraction("confidence", confidence)
    array = _checked(values)
    count = len(array)
    mean = float(array.mean()) if count else math.nan
    half = math.inf
    if count > 1:
        half = float(stdtrit(count - 1, (1 + confidence) / 2)) * _spread(array) / math.sqrt(count)
    return Interval(estimate=mean, low=mean - half, high=mean + half, confidence=confidence, count=count)


def _spread(array: Values) -> float:
    """Return the standard deviation of a sample; exactly 0 where all are alike but for the floating point."""
    spread = float(array.std(ddof=1))
    return 0.0 if spread <= _NOISE * float(np.abs(array).max(initial=0.0)) else spread


def bootstrap_interval(
    values: ArrayLike, confidence: float = 0.95, *, seed: int = 0, resamples: int = 9999
) -> Interval:
    """Confidence interval of a mean by the bias-corrected and accelerated bootstrap.

    Parameters
    ----------
    values : array-like of float, shape (num_replications,)
        One value a replication. With fewer than two the ends are infinite.
    confidence : float, fraction
        Between 0 and 1.
    seed : int
        Of the resampling.
    resamples : int
        How many.

    Raises
    ------
    ScenarioError
        If the confidence is none.
    """
    from scipy import stats

    check_fraction("confidence", confidence)
    array = _checked(values)
    mean = float(array.mean()) if len(array) else math.nan
    low, high = mean, mean
    if len(array) < 2:
        low, high = -math.inf, math.inf
    elif math.isfinite(mean) and _spread(array):
        found = stats.bootstrap(
            (array,),
            np.mean,
            confidence_level=confidence,
            n_resamples=resamples,
            method="BCa",
            rng=np.random.default_rng(seed),
        )
        low, high = float(found.confidence_interval.low), float(found.confidence_interval.high)
    return Interval(
        estimate=mean, low=low, high=high, confidence=confidence, count=len(array), method="bootstrap (BCa)"
    )


def one_sided_bounds(values: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """Bounds of a mean, each of which holds with the stated confidence: lower, upper."""
    check_fraction("confidence", confidence)
    # Twice what may go wrong, half of it on each side.
    interval = t_interval(values, max(2 * confidence - 1, np.finfo(float).tiny))
    return interval.low, interval.high


def ratio_interval(baseline: ArrayLike, candidate: ArrayLike, confidence: float = 0.95) -> Interval:
    """Confidence interval of the ratio of two means, candidate to baseline, by Fieller's theorem for pairs.

    It holds the ratios r for which ``candidate - r * baseline`` may well have the mean 0, so that it agrees with
    `paired_test` for any ``by``.

    Parameters
    ----------
    baseline, candidate : array-like of float, shape (num_replications,)
        Values of the same replications.
    confidence : float, fraction
        Between 0 and 1.

    Returns
    -------
    Interval
        With infinite ends where the mean of the baseline may be 0; all NaN where it is.

    Raises
    ------
    ScenarioError
        If the two differ in length, or the confidence is none.

    Notes
    -----
    Source: E. C. Fieller, "Some problems in interval estimation", J. R. Statist. Soc. B 16, 1954.

    Examples
    --------
    >>> ratio_interval([10.0, 12.0, 14.0], [5.0, 6.0, 7.0]).high
    0.5
    """
    from scipy.special import stdtrit

    check_fraction("confidence", confidence)
    first, second = _paired(baseline, candidate)
    count = len(first)
    below = float(first.mean()) if count else math.nan
    above = float(second.mean()) if count else math.nan
    ratio = above / below if below else math.nan
    low, high = (-math.inf, math.inf) if below else (math.nan, math.nan)
    if count > 1 and below and not _spread(second - ratio * first):
        low = high = ratio
    elif count > 1 and below:
        scale = float(stdtrit(count - 1, (1 + confidence) / 2)) ** 2 / count
        covariance = np.cov(first, second)
        a = below**2 - scale * float(covariance[0, 0])
        b = below * above - scale * float(covariance[0, 1])
        c = above**2 - scale * float(covariance[1, 1])
        if a > 0:
            root = math.sqrt(max(b * b - a * c, 0.0))
            low, high = (b - root) / a, (b + root) / a
    return Interval(estimate=ratio, low=low, high=high, confidence=confidence, count=count, method="Fieller")


@attrs.frozen(kw_only=True)
class PairedTest:
    """Whether something can be said of two scenarios.

    Attributes
    ----------
    p_value : float, fraction
        How likely such figures are at least, were it not so.
    needed : int or None
        Replications that would show it with probability 0.8 if means and spread are as found; None = more than `MANY`,
        or it is not so.
    """

    p_value: float
    needed: int | None

    def holds(self, confidence: float = 0.95) -> bool:
        """Whether it is shown with a confidence."""
        check_fraction("confidence", confidence)
        return self.p_value <= 1 - confidence


def paired_test(
    baseline: ArrayLike,
    candidate: ArrayLike,
    *,
    by: float = 0.0,
    alternative: Alternative = "different",
    confidence: float = 0.95,
) -> PairedTest:
    """Test whether a scenario's mean differs from another one's, by more than some fraction if you like.

    Parameters
    ----------
    baseline, candidate : array-like of float, shape (num_replications,)
        Values of the same replications.
    by : float, fraction
        At least by how much of the baseline: 0.2 and ``lower`` test whether the candidate's mean is below 0.8 times
        the baseline's.
    alternative : {"lower", "higher", "different"}
        What is to be shown of the candidate; ``different`` allows no `by`.
    confidence : float, fraction
        That `PairedTest.needed` is about.

    Raises
    ------
    ScenarioError
        If the two differ in length, or a parameter is out of range.
    """
    if alternative not in ("lower", "higher", "different"):
        raise ScenarioError.at("alternative", "must be one of lower, higher, different", alternative)
    if not by >= 0 or (by and alternative == "different"):
        raise ScenarioError.at("by", "must be >= 0, and 0 for the alternative 'different'", by)
    check_fraction("confidence", confidence)
    first, second = _paired(baseline, candidate)
    factor = {"lower": 1 - by, "higher": 1 + by, "different": 1.0}[alternative]
    return _test_of_mean(second - factor * first, np.abs(first), alternative, confidence)


def _test_of_mean(
    differences: Values, scale: Values, alternative: Alternative, confidence: float, power: float = _POWER
) -> PairedTest:
    from scipy.special import stdtr

    count = len(differences)
    if count < 2 or not np.isfinite(differences).all():
        return PairedTest(p_value=1.0, needed=None)
    mean, spread = float(differences.mean()), float(differences.std(ddof=1))
    smallest = _NOISE * float(scale.max(initial=0.0))
    mean, spread = (0.0 if abs(mean) <= smallest else mean), (0.0 if spread <= smallest else spread)
    direction = {"lower": -1, "higher": 1, "different": 0}[alternative]
    if spread:
        statistic = mean / (spread / math.sqrt(count))
        tail = float(stdtr(count - 1, -(direction * statistic if direction else abs(statistic))))
        p_value = tail if direction else 2 * tail
    else:
        p_value = float(not (mean * direction > 0 if direction else mean))
    so = mean * direction > 0 if direction else mean != 0
    level = confidence if direction == 0 else 2 * confidence - 1
    return PairedTest(p_value=p_value, needed=replications_needed(mean, spread, level, power) if so else None)


def equivalence_test(
    baseline: ArrayLike, candidate: ArrayLike, *, by: float, absolute: bool = False, confidence: float = 0.95
) -> PairedTest:
    """Test whether two scenarios' means are as good as equal, by two one-sided tests (TOST).

    Parameters
    ----------
    baseline, candidate : array-like of float, shape (num_replications,)
        Values of the same replications.
    by : float, fraction
        Greatest difference that does not matter, as a fraction of the baseline, > 0.
    absolute : bool
        Whether `by` is in the unit of the values instead.
    confidence : float, fraction
        That `PairedTest.needed` is about.

    Returns
    -------
    PairedTest
        Its p-value is the greater one of the two tests: that the ratio of the means is above ``1 - by``, and below
        ``1 + by``.

    Raises
    ------
    ScenarioError
        If the two differ in length, or a parameter is out of range.

    Notes
    -----
    Source: D. J. Schuirmann, "A comparison of the two one-sided tests procedure and the power approach for assessing
    the equivalence of average bioavailability", J. Pharmacokin. Biopharm. 15, 1987.
    """
    if not by > 0:
        raise ScenarioError.at("by", "must be > 0", by)
    check_fraction("confidence", confidence)
    first, second = _paired(baseline, candidate)
    least, most = (first - by, first + by) if absolute else ((1 - by) * first, (1 + by) * first)
    # Both have to succeed: each may fail half as often.
    power = (1 + _POWER) / 2
    tests = [
        _test_of_mean(second - least, np.abs(first), "higher", confidence, power),
        _test_of_mean(second - most, np.abs(first), "lower", confidence, power),
    ]
    needed = [test.needed for test in tests]
    return PairedTest(
        p_value=max(test.p_value for test in tests),
        needed=None if None in needed else max(number for number in needed if number is not None),
    )


def replications_needed(
    difference: float, spread: float, confidence: float = 0.95, power: float = _POWER
) -> int | None:
    """How many replications would probably, 8 times of 10, show that a mean is not 0.

    Parameters
    ----------
    difference, spread : float
        Mean and standard deviation over replications.
    confidence : float, fraction
        Of the two-sided test.
    power : float, fraction
        How probably.

    Returns
    -------
    int or None
        At least 2; None if the mean is 0 or more than `MANY` would be needed.

    Examples
    --------
    >>> replications_needed(1.0, 1.0), replications_needed(1.0, 0.1)
    (10, 2)
    """
    from scipy.special import stdtrit

    check_fraction("confidence", confidence)
    if not difference or not math.isfinite(difference + spread):
        return None
    if not spread:
        return 2
    ratio = (spread / difference) ** 2
    if ratio * 4 > MANY:
        return None

    def enough(count: int) -> bool:
        quantiles = float(stdtrit(count - 1, (1 + confidence) / 2)) + float(stdtrit(count - 1, power))
        return count >= quantiles**2 * ratio

    low, high = 1, 2
    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high if high <= MANY else None


def adjusted(p_values: Sequence[float], correction: str | None = "holm") -> list[float]:
    """Adjust p-values for how many there are, so that the chance of any false alarm keeps to what is said.

    Parameters
    ----------
    p_values : sequence of float
        Of the single tests.
    correction : {"holm", "bonferroni", None}
        Method; Holm's is never less powerful than Bonferroni's, and asks for no more.

    Raises
    ------
    ScenarioError
        If there is no such method.

    Notes
    -----
    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6, 1979.

    Examples
    --------
    >>> adjusted([0.01, 0.04, 0.03]), adjusted([0.01, 0.04, 0.03], "bonferroni")
    ([0.03, 0.06, 0.06], [0.03, 0.12, 0.09])
    """
    count = len(p_values)
    if correction is None:
        return list(p_values)
    if correction == "bonferroni":
        return [min(1.0, count * p) for p in p_values]
    if correction != "holm":
        raise ScenarioError.at("correction", "must be one of 'holm', 'bonferroni', None", correction)
    result = [0.0] * count
    highest = 0.0
    for rank, index in enumerate(sorted(range(count), key=lambda index: p_values[index])):
        highest = max(highest, min(1.0, (count - rank) * p_values[index]))
        result[index] = highest
    return result
