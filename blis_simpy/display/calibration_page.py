"""A calibration as a table of measured and simulated latencies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blis_simpy.calibration.agreement import PERCENTS
from blis_simpy.display.text_table import TextColumn, TextTable

if TYPE_CHECKING:
    from blis_simpy.calibration.calibrate import Calibration

__all__ = ["calibration_page"]


def calibration_page(calibration: Calibration) -> list[TextTable]:
    """Describe the agreement of TTFT and E2E: percentiles, error, correlation, quality."""
    columns = [TextColumn("latency", align="left"), TextColumn("", align="left")]
    columns += [TextColumn(f"p{percent}", "ms", ",.3f") for percent in PERCENTS]
    columns += [TextColumn("MAPE", spec=".1%"), TextColumn("r", spec=".3f")]
    columns += [TextColumn(name, align="left") for name in ("bias", "quality")]
    rows: list[list[Any]] = []
    for name, agreement in (("TTFT", calibration.ttft), ("E2E", calibration.e2e)):
        real, simulated = ([of[p] / 1000 for p in PERCENTS] for of in (agreement.real, agreement.simulated))
        verdict = [agreement.mape, agreement.pearson_r, agreement.bias, agreement.quality]
        rows += [[name, "measured", *real, *[None] * len(verdict)], ["", "simulated", *simulated, *verdict]]
    return [TextTable(columns, rows, title=f"{len(calibration.pairs['request_id']):,} requests compared")]
