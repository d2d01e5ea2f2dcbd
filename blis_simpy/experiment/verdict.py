"""What can be concluded about one metric of one candidate in a comparison."""

from __future__ import annotations

import math
from typing import Literal

import attrs

from blis_simpy.experiment.number_format import figure, percent
from blis_simpy.experiment.statistics import Interval

__all__ = ["Finding", "Verdict"]

Finding = Literal["lower", "higher", "the same", "not decided"]


@attrs.frozen(kw_only=True)
class Verdict:
    """What can be said of one metric of one candidate.

    Attributes
    ----------
    candidate, baseline : str
        Names of the scenarios.
    metric : str
        Which.
    finding : {"lower", "higher", "the same", "not decided"}
        The candidate's mean beside the baseline's. ``the same``: every pair of runs gave the very same value.
    means : (float, float)
        Of baseline and candidate.
    difference, ratio : Interval
        Candidate minus baseline, and divided by it; each at the confidence of the comparison by itself.
    p_value : float, fraction
        Adjusted for how many verdicts there are.
    needed : int or None
        Replications that would probably decide, 8 times of 10, if means and spread are as found; None = too many to
        say, or nothing to decide.
    correlation : float
        Of the two scenarios' values; NaN where one does not vary.
    variance_reduction : float
        By what factor the pairs reduce the variance of the difference, compared with independent runs; infinite where
        the difference does not vary.
    """

    candidate: str
    baseline: str
    metric: str
    finding: Finding
    means: tuple[float, float]
    difference: Interval
    ratio: Interval
    p_value: float
    needed: int | None
    correlation: float
    variance_reduction: float

    @property
    def change(self) -> str:
        """Relative change with its interval, in percent."""
        ratio = self.ratio
        if not math.isfinite(ratio.estimate):
            return f"{figure(self.difference.estimate)} [{figure(self.difference.low)}, {figure(self.difference.high)}]"
        low, high = (figure(100 * (end - 1), 3) for end in (ratio.low, ratio.high))
        return f"{_signed(ratio.estimate - 1)} [{low}, {high}]"

    def __str__(self) -> str:
        level, count = percent(self.difference.confidence, 4), self.difference.count
        subject = f"{self.metric} of {self.candidate}"
        found = f"{self.change}, {level}, {count} replications"
        if self.finding == "the same":
            return f"{subject} is the same as that of {self.baseline} in all {count} replications"
        if self.finding != "not decided":
            return f"{subject} is {self.finding} than that of {self.baseline}: {found}"
        return f"{subject} against {self.baseline} is not decided: {found}; {self.outlook}"

    @property
    def outlook(self) -> str:
        """Say what would decide."""
        if not math.isfinite(self.difference.estimate):
            return "some runs lack it"
        if self.needed is None:
            return "no reasonable number of replications would decide"
        return f"about {max(self.needed, self.difference.count + 1):,} replications would probably decide"


def _signed(change: float) -> str:
    return f"{'+' if change > 0 else ''}{percent(change)}"
