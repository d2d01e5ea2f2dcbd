"""Description of the attainment of SLO targets as lines and tables."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from blis_simpy.core.slo_targets import DIMENSIONS
from blis_simpy.display.text_table import TextColumn, TextTable
from blis_simpy.results.metrics import latency_family

if TYPE_CHECKING:
    from blis_simpy.display.text_table import Line
    from blis_simpy.results.slo import SLOReport

__all__ = ["slo_page", "slo_table"]


def slo_page(report: SLOReport) -> list[Line | TextTable]:
    """Describe a report: the main figures, and tables of the classes and of the causes of misses."""
    if not report.offered:
        return [(f"no request was offered, {report.open:,} open",)]
    low, high = report.interval()
    line = (
        f"{report.good:,} of {report.offered:,} offered requests good: {report.attainment:.2%} "
        f"(95 % interval {low:.2%} to {high:.2%}), goodput {report.goodput_rps:,.2f} requests/s"
    )
    page: list[Line | TextTable] = [(line,)]
    if report.open:
        page.append((f"{report.open:,} open requests are left out",))
    return [*page, slo_table(report), _cause_table(report)]


def slo_table(report: SLOReport) -> TextTable:
    """Describe the attainment of each SLO class."""
    columns = [
        TextColumn("SLO class", align="left"),
        TextColumn("offered", spec=","),
        TextColumn("completed", spec=","),
        TextColumn("good", spec=","),
        TextColumn("open", spec=",", drop=2),
        TextColumn("attainment", spec=".2%"),
        TextColumn("of completed", spec=".2%", drop=1),
        TextColumn("goodput", "requests/s", ",.2f"),
    ]
    rows = [
        [
            name,
            found.offered,
            found.completed,
            found.good,
            found.open,
            _known(found.attainment),
            _known(found.attainment_completed),
            found.goodput_rps,
        ]
        for name, found in report.classes.items()
    ]
    return TextTable(columns, rows)


def _cause_table(report: SLOReport) -> TextTable:
    """Describe why requests are not good."""
    alone = report.sole_misses
    columns = [
        TextColumn("cause", align="left"),
        TextColumn("requests", spec=","),
        TextColumn("nothing else", spec=","),
        TextColumn("attainment", spec=".2%"),
    ]
    rows = [
        [f"{latency_family(name).label} above target", report.misses[name], alone[name], report.attainment_of(name)]
        for name in DIMENSIONS
        if name in alone
    ]
    rows += [[name.replace("_", " "), count, count, None] for name, count in report.not_served.items()]
    return TextTable(columns, rows)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
