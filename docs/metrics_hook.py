"""Writes the tables of metrics into their page, from the registered metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blis_simpy.results.metrics import known_metrics, latency_families

if TYPE_CHECKING:
    from collections.abc import Iterator

MARK = "[[metrics]]"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the mark on a page by the tables; called by MkDocs for each page."""
    return markdown.replace(MARK, "\n".join(tables())) if MARK in markdown else markdown


def tables() -> Iterator[str]:
    """Lines of a table of the latencies, one of the other metrics of requests, and one of those of a whole run."""
    families = latency_families()
    yield from ("## Latencies", "", "| names | better | values of |", "|---|---|---|")
    for family in families:
        names = f"`{family.name}_mean_ms`, `{family.name}_p99_ms`"
        title = f"**{family.title}.** " if family.meaning else ""
        yield f"| {names} | {family.direction} | {title}{family.definition} |"
    starts = tuple(f"{family.name}_" for family in families)
    for scope, heading in (("requests", "Requests, tokens and preemptions"), ("run", "Whole run")):
        yield from ("", f"## {heading}", "", "| name | unit | better | definition |", "|---|---|---|---|")
        for name, metric in known_metrics().items():
            if metric.scope == scope and not (name.startswith(starts) and metric.unit == "ms"):
                yield f"| `{name}` | {metric.unit} | {metric.direction or ''} | {metric.definition} |"
