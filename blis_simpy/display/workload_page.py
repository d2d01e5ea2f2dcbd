"""The preview of a workload as lines and tables."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from blis_simpy.display.text_table import Bar, Line, Strong, TextColumn, TextTable
from blis_simpy.units import SECOND, format_ticks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blis_simpy.workload.preview import Preview

__all__ = ["preview_page"]

_MOST_CLIENTS = 20


def preview_page(preview: Preview) -> list[Line | TextTable]:
    """Describe a sample of a workload: rate over time, histograms of lengths, shares of clients."""
    if not preview.num_requests:
        return [("no request arrives",)]
    rate = preview.num_requests / max(preview.duration_us, 1) * SECOND
    arrivals = f" in {format_ticks(preview.duration_us)}: {rate:,.2f} requests/s"
    page: list[Line | TextTable] = [(Strong(f"{preview.num_requests:,} requests"), arrivals)]
    if preview.num_sessions:
        sessions = f"{preview.num_sessions:,} of them start closed-loop sessions: "
        page.append((sessions, f"up to {preview.max_further_rounds:,} further rounds"))
    return [
        *page,
        _rates(preview),
        _lengths(preview, "input_tokens"),
        _lengths(preview, "output_tokens"),
        _clients(preview),
    ]


def _rates(preview: Preview) -> TextTable:
    edges, rates = (column.tolist() for column in preview.rate_over_time())
    starts = [start / SECOND for start in edges[:-1]]
    columns = [TextColumn("from", "s", ",.2f"), TextColumn("requests/s", spec=",.2f"), TextColumn("", align="left")]
    return TextTable(columns, list(zip(starts, rates, _bars(rates), strict=True)))


def _lengths(preview: Preview, of: Literal["input_tokens", "output_tokens"]) -> TextTable:
    edges, counts = (column.tolist() for column in preview.histogram(of))
    parts = [f"{first:,}" if end == first + 1 else f"{first:,} - {end - 1:,}" for first, end in pairwise(edges)]
    columns = [TextColumn(of.replace("_", " ")), TextColumn("requests"), TextColumn("", align="left")]
    return TextTable(columns, list(zip(parts, counts, _bars(counts), strict=True)))


def _clients(preview: Preview) -> TextTable:
    shares = preview.client_shares()
    rows: list[tuple[Any, ...]] = [
        (s.client or "(no id)", s.num_requests, s.share, s.mean_input_tokens, s.mean_output_tokens)
        for s in shares[:_MOST_CLIENTS]
    ]
    columns = [
        TextColumn("client", align="left"),
        TextColumn("requests"),
        TextColumn("share", spec=".1%"),
        TextColumn("mean input", spec=",.1f"),
        TextColumn("mean output", spec=",.1f"),
    ]
    if others := shares[_MOST_CLIENTS:]:
        num_requests = sum(share.num_requests for share in others)
        share = sum(share.share for share in others)
        rows.append((f"{len(others):,} others", num_requests, share, "", ""))
    return TextTable(columns, rows)


def _bars(values: Sequence[float]) -> list[Bar]:
    """Return each value as a bar; the longest fills the width."""
    highest = max(values)
    return [Bar(value / highest) for value in values]
