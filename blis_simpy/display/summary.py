"""Descriptions of results as lines and tables, for all formats."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.catalog.defaults import Catalog
from blis_simpy.display.slo_page import slo_table
from blis_simpy.display.text_table import Bar, Line, Strong, TextColumn, TextTable
from blis_simpy.errors import ScenarioError
from blis_simpy.results.by_label import several, subsets
from blis_simpy.results.metrics import get_metric, latency_families
from blis_simpy.results.phases import PHASES_WITH_HANDOVERS, PHASES_WITH_LOADS
from blis_simpy.results.remarks import remarks
from blis_simpy.settings.plugin_options import plugin_label
from blis_simpy.units import format_ticks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from blis_simpy.core.table import Table
    from blis_simpy.results.percentiles import Percentiles
    from blis_simpy.results.phases import Explanation
    from blis_simpy.results.result import Result
    from blis_simpy.results.step_terms import DecodeStep
    from blis_simpy.results.subset import RequestSubset
    from blis_simpy.scenario_settings import ScenarioSettings

__all__ = [
    "column_table",
    "explanation_page",
    "label_table",
    "result_page",
    "subset_page",
    "summary_page",
    "table_page",
]

_PHASES = PHASES_WITH_LOADS | PHASES_WITH_HANDOVERS
_PERCENTILES = (50, 90, 95, 99)
_DROP = {95: 3, 90: 2, 50: 1}
"""Order in which percentiles are left out of narrow tables."""
_RATES = ("requests_per_s", "output_tokens_per_s")
_LATENCIES = ("ttft_mean_ms", "ttft_p99_ms", "e2e_mean_ms", "e2e_p99_ms")
_TITLES = {"slo_class": "SLO class", "prefill_replica": "prefill replica"}
_MS = ",.3f"
_SPECS = {"ms": _MS, "requests/s": ",.2f", "output tokens/s": ",.1f"}
"""Formats by unit; other figures are counts."""
_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


def summary_page(result: Result) -> list[Line | TextTable]:
    """Describe a run briefly: deployment, outcomes of the requests, latencies, attainment of SLO targets, KV cache."""
    figures = result.summary
    throughput = (
        f"{format_ticks(result.aggregate.ended_at)} simulated: {figures['responses_per_sec']:,.2f} requests/s, "
        f"{figures['tokens_per_sec']:,.1f} output tokens/s"
    )
    deployments = [_deployment(group) for group in result.scenario.by_group()]
    return [
        *deployments,
        (_outcomes(result),),
        (throughput,),
        *((remark,) for remark in remarks(result)),
        _latencies(result.where()),
        *([slo_table(report)] if (report := result.where().slo_if_any) is not None else []),
        (_cache(result),),
    ]


def result_page(result: Result) -> list[Line | TextTable]:
    """Describe a run: the summary, and tables of replicas, SLO classes, models and tenants if there are several."""
    return [*summary_page(result), *(label_table(result, by) for by in several(result))]


def subset_page(subset: RequestSubset) -> list[Line | TextTable]:
    """Describe some requests of a run: outcomes, rates, latencies."""
    outcomes, counts = np.unique(subset.requests["outcome"], return_counts=True)
    shown = zip(outcomes.tolist(), counts.tolist(), strict=True)
    rates = (
        f"{format_ticks(subset.duration_us)} simulated: {subset.metric('requests_per_s'):,.2f} requests/s, "
        f"{subset.metric('output_tokens_per_s'):,.1f} output tokens/s"
    )
    parts = [f"{subset.requests.num_rows:,} requests", *(f"{n:,} {name.replace('_', ' ')}" for name, n in shown)]
    return [(", ".join(parts),), (rates,), _latencies(subset)]


def explanation_page(explanation: Explanation) -> list[Line | TextTable]:
    """Describe the phases of a request as a line and a table."""
    total = explanation.total_us
    times = len(explanation.preempted_at)
    preemptions = f", {times:,} preemption{'s' if times > 1 else ''}" if times else ""
    columns = [
        TextColumn("phase", align="left"),
        TextColumn("", align="left"),
        TextColumn("time", "ms", ",.3f"),
        TextColumn("share", spec=".1%"),
        TextColumn("", align="left"),
    ]
    rows: list[list[Any]] = [
        [
            name,
            _PHASES[name],
            duration / 1000,
            duration / total if total else None,
            Bar(duration / max(total, 1)),
        ]
        for name, duration in explanation.phases.items()
    ]
    rows.append(["total", "", total / 1000, 1.0, ""])
    page: list[Line | TextTable] = [(f"{explanation.request}: {explanation.outcome}{preemptions}",)]
    page.append(TextTable(columns, rows))
    page += [(remark,) for remark in explanation.remarks]
    return page if explanation.decode_step is None else [*page, _step_table(explanation.decode_step)]


def _step_table(step: DecodeStep) -> TextTable:
    columns = [TextColumn("term", align="left"), TextColumn("time", "ms", ",.3f"), TextColumn("share", spec=".1%")]
    columns.append(TextColumn("", align="left"))
    total = sum(term.value for term in step.terms)
    rows = [
        [term.name, term.value / 1000, term.value / total, Bar(term.value / total)] for term in step.terms if term.value
    ]
    title = (
        f"decode step in the middle of its output: {step.requests:,} requests, "
        f"{step.context_tokens:,} tokens of context"
    )
    return TextTable(columns, rows, title=title)


def label_table(result: Result, by: str) -> TextTable:
    """Describe outcomes, rates and latencies of the requests by a label.

    Parameters
    ----------
    result : Result
        The run.
    by : str
        ``replica``, ``prefill_replica``, ``slo_class``, ``model`` or ``tenant``.
    """
    groups = subsets(result, by)
    outcomes = {name: _outcomes_in_brief(group) for name, group in groups.items()}
    # Most runs complete all their requests.
    shown = [name for name in ("failed", "open") if any(counts[name] for counts in outcomes.values())]
    # Requests with a prefill replica belong to the one that decodes.
    title = "decode replica" if by == "replica" and "prefill_replica" in several(result) else _TITLES.get(by, by)
    columns = [
        TextColumn(title, align="left"),
        *(TextColumn(name) for name in ("requests", "completed", *shown)),
        *_columns(*_RATES, drop=3),
        *_columns(*_LATENCIES, drop=1),
        *_columns(*(["preemptions"] if by == "replica" else []), drop=2),
    ]
    metrics = [*_RATES, *_LATENCIES, *(["preemptions"] if by == "replica" else [])]
    rows = []
    for name, group in groups.items():
        counts = [outcomes[name][key] for key in ("requests", "completed", *shown)]
        figures = [group.metric(metric) for metric in metrics]
        rows.append([name.removeprefix("replica "), *counts, *figures])
    return TextTable(columns, rows)


def _outcomes_in_brief(group: RequestSubset) -> dict[str, int]:
    counts = group.requests.outcomes
    return {
        "requests": group.requests.num_rows,
        "completed": counts["completed"],
        "failed": counts["rejected"] + counts["dropped"] + counts["timed_out"],
        "open": counts["running"] + counts["queued"] + counts["pending"],
    }


def table_page(table: Table) -> list[TextTable]:
    """Describe a table of columns by its first and last rows; see `column_table`."""
    return [column_table(table)]


def column_table(table: Table, max_rows: int = 10) -> TextTable:
    """Describe a table of columns by its first and last rows.

    Parameters
    ----------
    table : Table
        Its missing values are shown as ``-``.
    max_rows : int, default 10
        Maximum number of rows, >= 2; the first and the last ones if there are more.
    """
    names, num_rows = list(table), table.num_rows
    cut = num_rows > max_rows
    head = max_rows - max_rows // 2 if cut else num_rows
    shown = [*range(head), *(range(num_rows - max_rows // 2, num_rows) if cut else ())]
    picked = table.take(np.array(shown, dtype=np.int64)).rows()
    rows = [[str(row), *values.values()] for row, values in zip(shown, picked, strict=True)]
    if cut:
        rows.insert(head, [_ELLIPSIS] * (1 + len(names)))
    texts = {name for name in names if table[name].dtype.kind in "OUb"}
    described = [
        TextColumn(name, align="left" if name in texts else "right", spec=_spec(table[name])) for name in names
    ]
    title = f"{num_rows:,} rows, {len(names)} columns"
    return TextTable([TextColumn("row"), *described], rows, title)


def _spec(column: NDArray[Any]) -> str:
    return ",.3f" if column.dtype.kind == "f" else ","


def _columns(*metrics: str, drop: int) -> list[TextColumn]:
    """Columns of metrics, with their labels and units."""
    return [
        TextColumn(
            metric.label,
            "" if metric.unit in metric.label else metric.unit,
            _SPECS.get(metric.unit, ",.0f"),
            drop=drop,
        )
        for metric in map(get_metric, metrics)
    ]


def _deployment(scenario: ScenarioSettings) -> Line:
    """Describe a group of replicas: number, model, hardware given or looked up, latency model."""
    count = f"{scenario.replicas} x " if scenario.replicas > 1 else ""
    hardware, tp = scenario.hardware, scenario.tp
    if not hardware or not tp:
        with suppress(ScenarioError):  # a saved result may be read where its defaults file is missing
            if (usual := Catalog.load(scenario.defaults).deployment(scenario.model)) is not None:
                hardware, tp = hardware or usual.gpu, tp or usual.tp
    place = f" on {hardware}" if hardware else ""
    width = f" tp {tp}" if tp else ""
    model = plugin_label(scenario.latency.chosen)
    return count, Strong(scenario.model), f"{place}{width}, latency model {model}"


def _outcomes(result: Result) -> str:
    """Count the requests by outcome; the numbers add up to all requests."""
    counts = result.requests.outcomes
    unroutable = result.record.routing_rejections
    others = {
        "timed out": counts["timed_out"],
        "dropped": counts["dropped"],
        "rejected at admission": counts["rejected"] - unroutable,
        "rejected (no replica available)": unroutable,
        "still running": counts["running"],
        "still queued": counts["queued"],
        "not yet queued": counts["pending"],
    }
    capped = result.summary["length_capped_requests"]
    parts = [f"{counts['completed']:,} of {result.requests.num_rows:,} requests completed"]
    parts += [f"{count:,} {what}" for what, count in others.items() if count]
    return ", ".join(parts) + (f"; {capped:,} capped at the maximum length" if capped else "")


def _cache(result: Result) -> str:
    hit_rate = result.metric("prefix_hit_rate")
    parts = ["no prefix cache" if math.isnan(hit_rate) else f"prefix hit rate {hit_rate:.1%}"]
    preemptions = result.summary["preemption_count"]
    parts.append(f"{preemptions:,} preemptions")
    if preemptions:
        parts.append(f"{result.metric('recomputed_tokens'):,.0f} tokens recomputed")
    return f"KV cache: {', '.join(parts)}"


def _latencies(subset: RequestSubset) -> TextTable:
    columns = [
        TextColumn("latency", "ms", align="left", wraps=True),
        TextColumn("mean", spec=_MS),
        *(TextColumn(f"p{percent}", spec=_MS, drop=_DROP.get(percent, 0)) for percent in _PERCENTILES),
    ]
    families = [
        family
        for family in latency_families()
        if family.in_summary and (family.applies is None or family.applies(subset))
    ]
    rows = [(family.title, *_percentiles(family.function(subset))) for family in families]
    return TextTable(columns, rows)


def _percentiles(distribution: Percentiles) -> list[float | None]:
    if not distribution.count:
        return [None] * (1 + len(_PERCENTILES))
    return [distribution.mean_ms, *(distribution.percentile_ms(percent) for percent in _PERCENTILES)]
