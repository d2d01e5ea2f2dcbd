"""A result as JSON: outcomes, all metrics, sections by label, remarks."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from blis_simpy.errors import PluginError
from blis_simpy.results.by_label import several, subsets
from blis_simpy.results.metrics import known_metrics
from blis_simpy.results.remarks import remarks
from blis_simpy.results.result import Result

if TYPE_CHECKING:
    from blis_simpy.results.subset import RequestSubset

__all__ = ["plain_report", "report_json"]


def plain_report(result: Result) -> dict[str, Any]:
    """Return the figures of a run as JSON-compatible data.

    Returns
    -------
    dict
        ``seed``; ``outcomes``, the number of requests by outcome; ``metrics``, all metrics by name, None for one
        without a value; ``sections``, for each label with several values the outcomes and metrics by value;
        ``remarks``.
    """
    metrics = [
        metric for metric in known_metrics().values() if not metric.needs or getattr(result.scenario, metric.needs)
    ]

    def figures(of: Result | RequestSubset, scope: str) -> dict[str, float | None]:
        values = {metric.name: metric.value(of) for metric in metrics if metric.scope == scope}
        return {name: value if math.isfinite(value) else None for name, value in values.items()}

    def section(by: str) -> dict[str, Any]:
        return {
            name: {"outcomes": group.requests.outcomes, "metrics": figures(group, "requests")}
            for name, group in subsets(result, by).items()
        }

    return {
        "seed": result.seed,
        "outcomes": result.requests.outcomes,
        "metrics": figures(result.where(), "requests") | figures(result, "run"),
        "sections": {by: section(by) for by in several(result)},
        "remarks": remarks(result),
    }


def report_json(thing: object) -> str:
    """Render a result as JSON.

    Raises
    ------
    PluginError
        If it is no result.
    """
    if not isinstance(thing, Result):
        raise PluginError.at("renderer json", f"cannot render objects of type {type(thing).__name__}")
    return json.dumps(plain_report(thing), indent=2, ensure_ascii=False)
