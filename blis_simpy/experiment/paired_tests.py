"""Tests of paired replications: differences, equivalence, and the number of replications that a decision takes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import attrs
import numpy as np

from blis_simpy.errors import ScenarioError
from blis_simpy.experiment.intervals import NOISE, paired_values
from blis_simpy.experiment.number_format import check_fraction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    Values = NDArray[np.float64]

__all__ = [
    "MANY",
    "Alternative",
    "PairedTest",
    "adjusted",
    "equivalence_test",
    "outlook",
    "paired_test",
    "replications_needed",
]

Alternative = Literal["lower", "higher", "different"]

MANY = 100_000
"""Largest number of replications that is stated as needed."""

_POWER = 0.8
_CONFIDENCE_OF_SPREAD = 0.8
_FEW = 5
"""Number of replications below which the wording of a prediction is cautious."""


@attrs.frozen(kw_only=True)
class PairedTest:
    """Outcome of a test of paired replications.

    Attributes
    ----------
    p_value : float, fraction
        Probability of such values, or more extreme ones, under the null hypothesis.
    needed : int or None
        Number of replications that would show the alternative with probability 0.8 if the difference is as estimated
        and the spread is the largest one that the replications leave plausible, its upper bound at 80 %: the estimate
        itself, of two replications, would promise a decision that the number gives in 4 of 10 cases. None if it
        exceeds `MANY` or the estimate contradicts the alternative.
    """

    p_value: float
    needed: int | None

    def holds(self, confidence: float = 0.95) -> bool:
        """Whether the alternative is shown at a confidence."""
        confidence = check_fraction("confidence", confidence)
        return self.p_value <= 1 - confidence


def paired_test(
    baseline: ArrayLike,
    candidate: ArrayLike,
    *,
    by: float = 0.0,
    alternative: Alternative = "different",
    confidence: float = 0.95,
) -> PairedTest:
    """Test whether the means of two scenarios differ, optionally by more than a fraction.

    Parameters
    ----------
    baseline, candidate : array-like of float, shape (num_replications,)
        Values of the same replications.
    by : float, fraction
        Smallest difference, as a fraction of the baseline's mean: 0.2 and ``lower`` test whether the candidate's mean
        is below 0.8 times the baseline's.
    alternative : {"lower", "higher", "different"}
        Alternative hypothesis about the candidate; ``different`` allows no `by`.
    confidence : float, fraction
        Confidence for which `PairedTest.needed` is computed.

    Raises
    ------
    ScenarioError
        If the two differ in length, or a parameter is out of range.
    """
    if alternative not in ("lower", "higher", "different"):
        raise ScenarioError.at("alternative", "must be one of lower, higher, different", alternative)
    if not by >= 0 or (by and alternative == "different"):
        raise ScenarioError.at("by", "must be >= 0, and 0 for the alternative 'different'", by)
    confidence = check_fraction("confidence", confidence)
    first, second = paired_values(baseline, candidate)
    factor = {"lower": 1 - by, "higher": 1 + by, "different": 1.0}[alternative]
    return _test_of_mean(second - factor * first, np.abs(first), alternative, confidence)


def _test_of_mean(
    differences: Values, scale: Values, alternative: Alternative, confidence: float, power: float = _POWER
) -> PairedTest:
    from scipy.special import chdtri, stdtr

    count = len(differences)
    if count < 2 or not np.isfinite(differences).all():
        return PairedTest(p_value=1.0, needed=None)
    mean, spread = float(differences.mean()), float(differences.std(ddof=1))
    smallest = NOISE * float(scale.max(initial=0.0))
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
    wide = spread * math.sqrt((count - 1) / float(chdtri(count - 1, _CONFIDENCE_OF_SPREAD)))
    return PairedTest(p_value=p_value, needed=replications_needed(mean, wide, level, power) if so else None)


def equivalence_test(
    baseline: ArrayLike, candidate: ArrayLike, *, by: float, absolute: bool = False, confidence: float = 0.95
) -> PairedTest:
    """Test whether the means of two scenarios are equivalent, by two one-sided tests (TOST).

    Parameters
    ----------
    baseline, candidate : array-like of float, shape (num_replications,)
        Values of the same replications.
    by : float, fraction
        Largest difference that does not matter, as a fraction of the baseline's mean, > 0.
    absolute : bool
        Whether `by` is in the unit of the values instead.
    confidence : float, fraction
        Confidence for which `PairedTest.needed` is computed.

    Returns
    -------
    PairedTest
        Its p-value is the larger one of the two tests: that the ratio of the means is above ``1 - by``, and below
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
    confidence = check_fraction("confidence", confidence)
    first, second = paired_values(baseline, candidate)
    least, most = (first - by, first + by) if absolute else ((1 - by) * first, (1 + by) * first)
    # Both tests have to succeed, so each may fail half as often.
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
    """Return the number of replications that show a mean to differ from 0 with a given power.

    Parameters
    ----------
    difference, spread : float
        Mean and standard deviation over replications.
    confidence : float, fraction
        Confidence of the two-sided test.
    power : float, fraction
        Probability that the test shows it; 0.8 by default.

    Returns
    -------
    int or None
        At least 2; None if the mean is 0 or more than `MANY` are needed.

    Examples
    --------
    >>> replications_needed(1.0, 1.0), replications_needed(1.0, 0.1)
    (10, 2)
    """
    from scipy.special import stdtrit

    confidence = check_fraction("confidence", confidence)
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


def outlook(needed: int | None, count: int) -> str:
    """Return a clause on the number of replications that would decide, predicted from `count` of them."""
    if needed is None:
        return "no reasonable number of replications would decide"
    number = f"{max(needed, count + 1):,} replications would"
    return f"about {number} probably decide" if count >= _FEW else f"perhaps {number} decide"


def adjusted(p_values: Sequence[float], correction: str | None = "holm") -> list[float]:
    """Adjust p-values for their number, so that the probability of any false positive stays at the stated level.

    Parameters
    ----------
    p_values : sequence of float
        P-values of the single tests.
    correction : {"holm", "bonferroni", None}
        Method; Holm's is at least as powerful as Bonferroni's under the same assumptions.

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
