"""Hypotheses about two scenarios, evaluated by paired replications.

A hypothesis states a range for the change from the mean of the baseline to that of the candidate, such as at most
-20 %. Paired replications give a confidence interval of that change. If the interval is inside the range, the
hypothesis is *shown*; if it is outside, *refuted*; otherwise *not decided*. The tests of `experiment.paired_tests` used
here are equivalent, and also valid if the mean of the baseline is 0.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import attrs
import numpy as np

from blis_simpy.errors import ScenarioError
from blis_simpy.experiment.intervals import Interval, ratio_interval, t_interval
from blis_simpy.experiment.paired_tests import equivalence_test, paired_test

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float64]

__all__ = ["Hypothesis", "Judgement", "judge"]

Kind = Literal["lower", "higher", "equivalent"]
_Finding = Literal["shown", "refuted", "not decided"]


@attrs.frozen(kw_only=True)
class Hypothesis:
    """Hypothesis about the mean of a metric of a candidate, compared with that of the baseline.

    Attributes
    ----------
    kind : {"lower", "higher", "equivalent"}
        Direction of the difference, or equivalence.
    by : float
        Minimum difference; for equivalence, maximum difference. A fraction of the baseline's mean: 0.2 is 20 %.
    absolute : bool
        Whether `by` is in the unit of the metric instead.
    confidence : float, fraction
        Between 0.5 and 1. A false hypothesis is shown with a probability of at most 1 - confidence.

    Raises
    ------
    ScenarioError
        If a value is out of range.
    """

    kind: Kind
    by: float = 0.0
    absolute: bool = False
    confidence: float = 0.95

    def __attrs_post_init__(self) -> None:
        least = "> 0" if self.kind == "equivalent" else ">= 0"
        if not _is_number(self.by) or self.by < 0 or (self.kind == "equivalent" and not self.by):
            raise ScenarioError.at("by", f"must be {least}", self.by)
        if self.by >= 1 and self.kind != "higher" and not self.absolute:
            rule = f"must be {least} and < 1, as a fraction of the baseline's mean"
            raise ScenarioError.at("by", rule, self.by, hint="with absolute=True it is in the unit of the metric")
        if not _is_number(self.confidence) or not 0.5 < self.confidence < 1:
            raise ScenarioError.at("confidence", "must be > 0.5 and < 1", self.confidence)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@attrs.frozen(kw_only=True)
class Judgement:
    """Evaluation of a hypothesis by paired replications.

    Attributes
    ----------
    claim : Hypothesis
        The hypothesis.
    finding : {"shown", "refuted", "not decided"}
        The outcome.
    means : (float, float)
        Means of baseline and candidate, over the runs with a value.
    change : Interval
        Change of the mean; each bound has the confidence of the hypothesis.
    is_relative : bool
        Whether the change is a fraction of the baseline's mean instead of in the unit of the metric.
    lacking : (int, int)
        Number of runs of baseline and candidate without a value. With any, the outcome is "not decided".
    needed : int or None
        Number of replications that would probably decide, see `PairedTest.needed`; None if it is too large to state,
        or the hypothesis is decided.
    """

    claim: Hypothesis
    finding: _Finding
    means: tuple[float, float]
    change: Interval
    is_relative: bool
    lacking: tuple[int, int]
    needed: int | None

    @property
    def is_shown(self) -> bool:
        """Whether the hypothesis is shown."""
        return self.finding == "shown"


def judge(claim: Hypothesis, baseline: Values, candidate: Values) -> Judgement:
    """Evaluate a hypothesis by paired replications.

    Parameters
    ----------
    claim : Hypothesis
        The hypothesis.
    baseline, candidate : ndarray of float, shape (num_replications,)
        Metric in the same replications; NaN for a run without a value.

    Raises
    ------
    ScenarioError
        If `by` is a fraction of the baseline's mean, and the mean is <= 0.

    Examples
    --------
    >>> judge(Hypothesis(kind="lower", by=0.2), np.array([10.0, 12.0, 14.0]), np.array([5.0, 6.0, 7.0])).finding
    'shown'
    """
    means = _mean(baseline), _mean(candidate)
    lacking = int((~np.isfinite(baseline)).sum()), int((~np.isfinite(candidate)).sum())
    if claim.by and not claim.absolute and means[0] <= 0:
        rule = "is a fraction of the baseline's mean, which must be > 0"
        raise ScenarioError.at("by", rule, means[0], hint="with absolute=True it is in the unit of the metric")
    change, is_relative = _change(claim, baseline, candidate)
    finding: _Finding = "not decided"
    needed: int | None = None
    if not any(lacking):
        finding, needed = _decide(claim, baseline, candidate)
    return Judgement(
        claim=claim,
        finding=finding,
        means=means,
        change=change,
        is_relative=is_relative,
        lacking=lacking,
        needed=needed,
    )


def _mean(values: Values) -> float:
    present = values[np.isfinite(values)]
    return float(present.mean()) if len(present) else math.nan


def _change(claim: Hypothesis, baseline: Values, candidate: Values) -> tuple[Interval, bool]:
    """Return the interval of the change, and whether it is relative: only if the mean of the baseline is above 0."""
    level = 2 * claim.confidence - 1
    if not claim.absolute and _mean(baseline) > 0:
        ratio = ratio_interval(baseline, candidate, level)
        if math.isfinite(ratio.half_width):
            moved = {name: getattr(ratio, name) - 1 for name in ("estimate", "low", "high")}
            return attrs.evolve(ratio, **moved), True
    return t_interval(candidate - baseline, level), False


def _decide(claim: Hypothesis, baseline: Values, candidate: Values) -> tuple[_Finding, int | None]:
    size, level = claim.by, claim.confidence
    below = baseline - size if claim.absolute else (1 - size) * baseline
    above = baseline + size if claim.absolute else (1 + size) * baseline
    if claim.kind == "lower":
        test = paired_test(below, candidate, alternative="lower", confidence=level)
        against = [paired_test(below, candidate, alternative="higher", confidence=level)]
    elif claim.kind == "higher":
        test = paired_test(above, candidate, alternative="higher", confidence=level)
        against = [paired_test(above, candidate, alternative="lower", confidence=level)]
    else:
        test = equivalence_test(baseline, candidate, by=size, absolute=claim.absolute, confidence=level)
        against = [
            paired_test(below, candidate, alternative="lower", confidence=level),
            paired_test(above, candidate, alternative="higher", confidence=level),
        ]
    if test.holds(level):
        return "shown", None
    unmoved = not size and np.array_equal(baseline, candidate)
    if unmoved or any(other.holds(level) for other in against):
        return "refuted", None
    return "not decided", next((t.needed for t in (test, *against) if t.needed is not None), None)
