"""Confidence intervals of means over replications, and of ratios of means.

Replications are independent of each other. Scenarios that are compared share the random numbers of each replication, so
their values are used in pairs; only the pairs have to be independent, and everything holds without common random
numbers as well.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import numpy as np

from blis_simpy.errors import ScenarioError
from blis_simpy.experiment.number_format import check_fraction, format_interval, format_number, format_percent

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Values = NDArray[np.float64]

__all__ = [
    "NOISE",
    "Interval",
    "bootstrap_interval",
    "checked_values",
    "one_sided_bounds",
    "paired_values",
    "ratio_interval",
    "standard_deviation",
    "t_interval",
]

NOISE = 1e-12
"""Smallest spread that counts, relative to the values: a smaller one is rounding of floating-point numbers."""


@attrs.frozen(kw_only=True)
class Interval:
    """A confidence interval.

    Attributes
    ----------
    estimate : float
        Estimated value.
    low, high : float
        Bounds; infinite or NaN where there are too few values.
    confidence : float, fraction
        Share of such intervals that contain the true value.
    count : int
        Number of values it is computed from.
    method : str
        Method, such as ``t``.

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
        """Half of the width."""
        return (self.high - self.low) / 2

    @property
    def relative_half_width(self) -> float:
        """Half-width as a fraction of the estimate; infinite if the estimate is 0 and the half-width is not."""
        if not self.half_width:
            return 0.0
        return self.half_width / abs(self.estimate) if self.estimate else math.inf

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        scale = f"({format_percent(self.confidence, 4)}, n = {self.count})"
        if self.method == "t":
            return f"{format_number(self.estimate)} ± {format_number(self.half_width, 3)} {scale}"
        return f"{format_interval(self.estimate, self.low, self.high)} {scale}"


def checked_values(values: ArrayLike) -> Values:
    """Return values as a vector of floats.

    Raises
    ------
    ScenarioError
        If they are not one number per replication.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ScenarioError.at("values", "must be one number per replication", array.shape)
    return array


def paired_values(baseline: ArrayLike, candidate: ArrayLike) -> tuple[Values, Values]:
    """Return the values of two scenarios as vectors of floats.

    Raises
    ------
    ScenarioError
        If they differ in length.
    """
    first, second = checked_values(baseline), checked_values(candidate)
    if len(first) != len(second):
        raise ScenarioError.at("candidate", f"must have as many values as the baseline ({len(first)})", len(second))
    return first, second


def standard_deviation(array: Values) -> float:
    """Return the standard deviation of a sample; exactly 0 if its values differ by rounding only."""
    spread = float(array.std(ddof=1))
    return 0.0 if spread <= NOISE * float(np.abs(array).max(initial=0.0)) else spread


def t_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Compute the confidence interval of a mean by Student's t distribution.

    Parameters
    ----------
    values : array-like of float, shape (num_replications,)
        One value per replication. With fewer than two, the bounds are infinite.
    confidence : float, fraction
        Between 0 and 1.

    Raises
    ------
    ScenarioError
        If the confidence is not between 0 and 1.
    """
    from scipy.special import stdtrit

    confidence = check_fraction("confidence", confidence)
    array = checked_values(values)
    count = len(array)
    mean = float(array.mean()) if count else math.nan
    half = math.inf
    if count > 1:
        half = float(stdtrit(count - 1, (1 + confidence) / 2)) * standard_deviation(array) / math.sqrt(count)
    return Interval(estimate=mean, low=mean - half, high=mean + half, confidence=confidence, count=count)


def bootstrap_interval(
    values: ArrayLike, confidence: float = 0.95, *, seed: int = 0, resamples: int = 9999
) -> Interval:
    """Compute the confidence interval of a mean by the bias-corrected and accelerated bootstrap.

    Parameters
    ----------
    values : array-like of float, shape (num_replications,)
        One value per replication. With fewer than two, the bounds are infinite.
    confidence : float, fraction
        Between 0 and 1.
    seed : int
        Seed of the resampling.
    resamples : int
        Number of resamples.

    Raises
    ------
    ScenarioError
        If the confidence is not between 0 and 1.
    """
    from scipy import stats

    confidence = check_fraction("confidence", confidence)
    array = checked_values(values)
    mean = float(array.mean()) if len(array) else math.nan
    low, high = mean, mean
    if len(array) < 2:
        low, high = -math.inf, math.inf
    elif math.isfinite(mean) and standard_deviation(array):
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
    """Return the lower and the upper bound of a mean, each at the stated confidence."""
    confidence = check_fraction("confidence", confidence)
    # A two-sided interval with twice the error probability, half of it on each side.
    interval = t_interval(values, max(2 * confidence - 1, np.finfo(float).tiny))
    return interval.low, interval.high


def ratio_interval(baseline: ArrayLike, candidate: ArrayLike, confidence: float = 0.95) -> Interval:
    """Compute the confidence interval of the ratio of two means, candidate to baseline, by Fieller's theorem for pairs.

    It contains the ratios r for which a t test does not reject that ``candidate - r * baseline`` has the mean 0, so
    it agrees with `paired_test` for any ``by``.

    Parameters
    ----------
    baseline, candidate : array-like of float, shape (num_replications,)
        Values of the same replications.
    confidence : float, fraction
        Between 0 and 1.

    Returns
    -------
    Interval
        With infinite bounds if the mean of the baseline may be 0, all NaN if it is 0.

    Raises
    ------
    ScenarioError
        If the two differ in length, or the confidence is not between 0 and 1.

    Notes
    -----
    Source: E. C. Fieller, "Some problems in interval estimation", J. R. Statist. Soc. B 16, 1954.

    Examples
    --------
    >>> ratio_interval([10.0, 12.0, 14.0], [5.0, 6.0, 7.0]).high
    0.5
    """
    from scipy.special import stdtrit

    confidence = check_fraction("confidence", confidence)
    first, second = paired_values(baseline, candidate)
    count = len(first)
    below = float(first.mean()) if count else math.nan
    above = float(second.mean()) if count else math.nan
    ratio = above / below if below else math.nan
    low, high = (-math.inf, math.inf) if below else (math.nan, math.nan)
    if count > 1 and below and not standard_deviation(second - ratio * first):
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
