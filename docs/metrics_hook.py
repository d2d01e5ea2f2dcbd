"""Writes the tables of metrics into their page, from the registered metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blis_simpy.results.metrics import known_metrics, latency_families
from blis_simpy.results.other_tools import OTHER_TOOLS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blis_simpy.results.metrics import LatencyFamily, Metric

MARK = "[[metrics]]"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the mark on a page by the tables; called by MkDocs for each page."""
    return markdown.replace(MARK, "\n".join(tables())) if MARK in markdown else markdown


def tables() -> Iterator[str]:
    """Lines of tables of the latencies, of the other metrics, and of their names in other tools."""
    families = latency_families()
    yield from ("## Latencies", "", "| names | better | values of | formula |", "|---|---|---|---|")
    for family in families:
        title = f"**{family.title}.** " if family.meaning else ""
        yield f"| {_names(family)} | {family.direction} | {title}{family.definition} | {_code(family.formula)} |"
    starts = tuple(f"{family.name}_" for family in families)
    metrics = [
        metric for name, metric in known_metrics().items() if not (name.startswith(starts) and metric.unit == "ms")
    ]
    for scope, heading in (("requests", "Requests, tokens and preemptions"), ("run", "Whole run")):
        yield from ("", f"## {heading}", "", "| name | unit | better | definition | formula |", "|---|---|---|---|---|")
        for metric in metrics:
            if metric.scope == scope:
                better, formula = metric.direction or "", _code(metric.formula)
                yield f"| `{metric.name}` | {metric.unit} | {better} | {metric.definition} | {formula} |"
    yield from ("", "## Names in other tools", "", f"| here | {' | '.join(OTHER_TOOLS)} |")
    yield f"|---|{'---|' * len(OTHER_TOOLS)}"
    listed: list[tuple[str, LatencyFamily | Metric]] = [(_names(family), family) for family in families]
    listed += [(_code(metric.name), metric) for metric in metrics]
    for names, found in listed:
        if found.other_names:
            yield f"| {names} | {' | '.join(_other_name(found.other_names.get(tool, '')) for tool in OTHER_TOOLS)} |"


def _names(family: LatencyFamily) -> str:
    return f"`{family.name}_mean_ms`, `{family.name}_p99_ms`"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _other_name(text: str) -> str:
    """Return a name as code, without the remark in parentheses behind it."""
    name, bracket, remark = text.partition(" (")
    return f"{_code(name)}{bracket}{remark}"
