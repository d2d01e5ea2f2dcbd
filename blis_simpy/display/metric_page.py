"""Description of the registered metrics as lines and a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.display.text_table import TextColumn, TextTable
from blis_simpy.results.metrics import known_metrics, latency_families
from blis_simpy.results.selectors import LABELS

if TYPE_CHECKING:
    from blis_simpy.display.text_table import Line

__all__ = ["metric_page"]

_STATISTIC = "STATISTIC"


def metric_page() -> list[Line | TextTable]:
    """Describe all metrics: latencies with one row each, then the others."""
    families = latency_families()
    rows: list[tuple[str, str, str, str]] = [
        (f"{family.name}_{_STATISTIC}_ms", "ms", family.direction, family.definition) for family in families
    ]
    of_families = {family.metric(statistic).name for family in families for statistic in family.statistics}
    rows += [
        (metric.name, metric.unit, metric.direction or "", metric.definition)
        for metric in known_metrics().values()
        if metric.name not in of_families
    ]
    columns = [
        TextColumn("metric", align="left"),
        TextColumn("unit", align="left", drop=2),
        TextColumn("better", align="left", drop=1),
        TextColumn("definition", align="left", wraps=True),
    ]
    return [
        TextTable(columns, rows),
        (f"{_STATISTIC} is mean, min, max, std, or a percentile such as p50, p99 or p99.9.",),
        (f"METRIC{{LABEL=VALUE, ...}} is of the requests with these labels: {', '.join(LABELS)}.",),
    ]
