"""A look at a workload as text for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from blis_simpy.units import SECOND, format_ticks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blis_simpy.workload.preview import Preview

__all__ = ["print_preview"]

_BAR_WIDTH = 40
_MOST_CLIENTS = 20


def print_preview(preview: Preview, file: TextIO | None = None) -> None:
    """Print a sample of a workload: its rate over time, histograms of its lengths, the shares of its clients.

    Parameters
    ----------
    preview : Preview
        The sample.
    file : text stream, optional
        Where to; standard output unless given.
    """
    # One width in a terminal and in a pipe, as for the summary of a run.
    console = Console(file=file, width=100, highlight=False, soft_wrap=True)
    if not preview.num_requests:
        console.print("no request arrives")
        return
    rate = preview.num_requests / max(preview.duration_us, 1) * SECOND
    console.print(
        f"[bold]{preview.num_requests:,} requests[/bold] in {format_ticks(preview.duration_us)}: {rate:,.2f} requests/s"
    )
    if preview.num_sessions:
        console.print(
            f"{preview.num_sessions:,} of them start sessions that wait for answers: "
            f"up to {preview.max_further_rounds:,} further rounds"
        )
    console.print(_rates(preview))
    console.print(_lengths(preview, "input_tokens"))
    console.print(_lengths(preview, "output_tokens"))
    console.print(_clients(preview))


def _rates(preview: Preview) -> Table:
    edges, rates = preview.rate_over_time()
    table = _table("from (s)", "requests/s")
    for start, rate, bar in zip(edges.tolist(), rates.tolist(), _bars(rates.tolist()), strict=False):
        table.add_row(f"{start / SECOND:,.2f}", f"{rate:,.2f}", bar)
    return table


def _lengths(preview: Preview, of: Literal["input_tokens", "output_tokens"]) -> Table:
    edges, counts = (column.tolist() for column in preview.histogram(of))
    table = _table(of.replace("_", " "), "requests")
    for first, end, count, bar in zip(edges, edges[1:], counts, _bars(counts), strict=False):
        table.add_row(f"{first:,}" if end == first + 1 else f"{first:,} - {end - 1:,}", f"{count:,}", bar)
    return table


def _clients(preview: Preview) -> Table:
    shares = preview.client_shares()
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("client")
    for name in ("requests", "share", "mean input", "mean output"):
        table.add_column(name, justify="right")
    for share in shares[:_MOST_CLIENTS]:
        table.add_row(
            escape(share.client) or "(no id)",
            f"{share.num_requests:,}",
            f"{share.share:.1%}",
            f"{share.mean_input_tokens:,.1f}",
            f"{share.mean_output_tokens:,.1f}",
        )
    others = shares[_MOST_CLIENTS:]
    if others:
        num_requests = sum(share.num_requests for share in others)
        share_of_others = f"{sum(share.share for share in others):.1%}"
        table.add_row(f"{len(others):,} others", f"{num_requests:,}", share_of_others, "", "")
    return table


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right")
    table.add_column("", no_wrap=True)
    return table


def _bars(values: Sequence[float]) -> list[str]:
    """Draw each value as a bar; the longest fills the width."""
    highest = max(values)
    return ["#" * round(_BAR_WIDTH * value / highest) for value in values]
