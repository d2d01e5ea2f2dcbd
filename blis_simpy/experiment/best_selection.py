"""Selection of the best of several scenarios, with an indifference zone, under common random numbers."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import attrs
import numpy as np

from blis_simpy.errors import ScenarioError
from blis_simpy.experiment.number_format import check_fraction, format_percent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

__all__ = ["BestSelection", "critical_value", "select_best"]


@attrs.frozen(kw_only=True)
class BestSelection:
    """The best of several scenarios by the mean of a metric.

    Attributes
    ----------
    metric : str
        Name of the metric.
    best : str
        Scenario with the best mean.
    decided : bool
        Whether there are enough replications for the stated confidence.
    indifference : float
        Difference of means that does not matter.
    confidence : float, fraction
        Minimum probability that the selected scenario is worse than the best one by less than `indifference`; it is
        the best one if that is better than all others by at least `indifference`.
    count : int
        Number of replications.
    needed : int
        Number of replications that the procedure requires.
    means : dict of str to float
        Mean by scenario, best first.
    behind : dict of str to (float, float)
        Simultaneous confidence intervals of how much worse each scenario is than the best of the others. Below 0 is
        better; a scenario whose interval starts at 0 or above is not the best one.
    """

    metric: str
    best: str
    decided: bool
    indifference: float
    confidence: float
    count: int
    needed: int
    means: dict[str, float]
    behind: dict[str, tuple[float, float]]

    def __str__(self) -> str:
        if self.decided:
            return (
                f"{self.best} is the best by {self.metric}, or within {self.indifference:g} of the best "
                f"({format_percent(self.confidence, 4)}, {self.count} replications)"
            )
        return (
            f"not decided: {self.best} has the best {self.metric}, but differences of {self.indifference:g} "
            f"need {self.needed:,} replications, there are {self.count}"
        )


def select_best(
    values: Mapping[str, ArrayLike],
    *,
    indifference: float,
    metric: str = "value",
    maximise: bool = False,
    confidence: float = 0.95,
    first_stage: int | None = None,
) -> BestSelection:
    """Select the best mean by the procedure of Nelson and Matejcik, which is valid for common random numbers.

    Parameters
    ----------
    values : mapping of str to array-like of float, shape (num_replications,)
        Values by scenario, in the order of the replications.
    indifference : float
        Smallest difference of means that matters, > 0, in the unit of the values.
    metric : str
        Name of the metric in messages.
    maximise : bool
        Whether the largest mean is the best one; else the smallest.
    confidence : float, fraction
        Probability of a correct selection; above 1 / number of scenarios.
    first_stage : int, optional
        Number of the replications from which the variance is estimated: those from which `BestSelection.needed` was
        computed first. Default is all.

    Raises
    ------
    ScenarioError
        If there are fewer than two scenarios or replications, or a parameter is out of range.

    Notes
    -----
    From the first stage of n0 replications: S² = 2 ΣΣ (Xij - X̄i. - X̄.j + X̄..)² / ((k - 1)(n0 - 1)), and
    N = max(n0, ⌈(g S / δ)²⌉), with g the one-sided equicoordinate quantile of a (k - 1)-variate t distribution with
    (k - 1)(n0 - 1) degrees of freedom and all correlations 1/2. The guarantee holds for normal values whose differences
    have equal variances (sphericity), and is known to be robust against deviations.

    Source: B. L. Nelson, F. J. Matejcik, "Using common random numbers for indifference-zone selection and multiple
    comparisons in simulation", Management Science 41, 1995.
    """
    confidence = check_fraction("confidence", confidence)
    if not indifference > 0:
        raise ScenarioError.at("indifference", "must be > 0", indifference)
    names = list(values)
    table = np.asarray([values[name] for name in names], dtype=np.float64)
    if len(names) < 2 or table.ndim != 2 or table.shape[1] < 2:
        raise ScenarioError.at("values", "must be of at least two scenarios and two replications")
    if not np.isfinite(table).all():
        raise ScenarioError.at(metric, "is missing in some of the runs")
    count = table.shape[1]
    stage = count if first_stage is None else first_stage
    if not 2 <= stage <= count:
        raise ScenarioError.at("first_stage", f"must be >= 2 and <= {count}", stage)
    if confidence <= 1 / len(names):
        raise ScenarioError.at(
            "confidence", f"must be > 1 / {len(names)}, one over the number of scenarios", confidence
        )
    table = -table if maximise else table
    first = table[:, :stage]
    residuals = first - first.mean(axis=1, keepdims=True) - first.mean(axis=0) + first.mean()
    freedom = (len(names) - 1) * (stage - 1)
    variance = 2 * float((residuals**2).sum()) / freedom
    needed = max(stage, math.ceil((critical_value(len(names) - 1, freedom, confidence) / indifference) ** 2 * variance))
    means = table.mean(axis=1)
    order = sorted(range(len(names)), key=lambda index: (means[index], index))
    behind = {}
    for index in order:
        gap = float(means[index] - np.delete(means, index).min())
        behind[names[index]] = (min(0.0, gap - indifference), max(0.0, gap + indifference))
    return BestSelection(
        metric=metric,
        best=names[order[0]],
        decided=count >= needed,
        indifference=indifference,
        confidence=confidence,
        count=count,
        needed=needed,
        means={names[index]: float(-means[index] if maximise else means[index]) for index in order},
        behind=behind,
    )


@cache
def critical_value(dimension: int, freedom: int, confidence: float) -> float:
    """Return the one-sided equicoordinate quantile of a multivariate t distribution with all correlations 1/2.

    Parameters
    ----------
    dimension : int
        Number of variables.
    freedom : int
        Degrees of freedom.
    confidence : float, fraction
        Probability that all variables stay below it.

    Notes
    -----
    With standard normal Z0, Zi and an independent W, the square root of a chi-squared variable over its degrees of
    freedom, the variables are (Zi - Z0) / (√2 W); given Z0 and W they are independent. Integrated over both by
    Gauss-Legendre quadrature with 96 nodes each, hence exact to rounding and the same on every platform, unlike the
    randomised quadrature of ``scipy.stats.multivariate_t``.

    Examples
    --------
    Dunnett's table has 2.19 for three treatments, a control and 20 degrees of freedom.

    >>> round(critical_value(3, 20, 0.95), 2)
    2.19
    """
    from scipy import optimize, stats

    nodes, weights = np.polynomial.legendre.leggauss(96)
    share, weights = (nodes + 1) / 2, weights / 2
    shift = stats.norm.ppf(share)[:, None]
    width = np.sqrt(stats.chi2.ppf(share, freedom) / freedom)[None, :]

    def excess(bound: float) -> float:
        inside = stats.norm.cdf(math.sqrt(2) * bound * width + shift) ** dimension
        return float(weights @ inside @ weights) - confidence

    return float(optimize.brentq(excess, -10.0, 1000.0, xtol=1e-10))
