"""Service level: limits of metrics that a deployment has to meet."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from typing import Any, Literal

import attrs

from blis_simpy.errors import ScenarioError
from blis_simpy.experiment.number_format import format_number
from blis_simpy.plain_values import plain
from blis_simpy.results.metrics import higher_is_better

__all__ = ["Compliance", "Limit"]

Compliance = Literal["meets", "misses", "unclear"]

_LIMIT = re.compile(r"\s*(<=|>=)\s*([+-]?[0-9.]+(?:e[+-]?[0-9]+)?)\s*", re.IGNORECASE)


@attrs.frozen
class Limit:
    """A limit of the mean of a metric over replications.

    Attributes
    ----------
    metric : str
        Name of the metric.
    value : float
        The limit; equality meets it.
    at_least : bool
        Whether it is a lower limit.
    """

    metric: str
    value: float
    at_least: bool = False

    @classmethod
    def of(cls, metric: str, limit: Any) -> Limit:
        """Read a limit: a number, or text such as ``<= 200`` or ``>= 0.95``.

        A number is a lower limit of a metric whose higher values are better, else an upper one.

        Raises
        ------
        ScenarioError
            If it is neither.
        """
        at_least, value = higher_is_better(metric), plain(limit)
        if isinstance(limit, str) and (match := _LIMIT.fullmatch(limit)):
            with suppress(ValueError):  # 1.2.3
                at_least, value = match[1] == ">=", float(match[2])
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ScenarioError.at(f"slo[{metric!r}]", "must be a number, or text such as '<= 200'", limit)
        return cls(metric, float(value), at_least)

    def judge(self, bounds: tuple[float, float]) -> Compliance:
        """Return whether a mean between two bounds is within the limit."""
        low, high = bounds if not self.at_least else (-bounds[1], -bounds[0])
        limit = -self.value if self.at_least else self.value
        return "meets" if high <= limit else "misses" if low > limit or math.isnan(low) else "unclear"

    def __str__(self) -> str:
        return f"{self.metric} {'>=' if self.at_least else '<='} {format_number(self.value)}"
