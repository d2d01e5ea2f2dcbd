"""Descriptions of results as lines and tables, for all formats."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.display.slo_page import slo_table
from blis_simpy.display.text_table import Bar, Line, Strong, TextColumn, TextTable
from blis_simpy.results.metrics import get_metric, latency_families
from blis_simpy.results.phases import PHASES
from blis_simpy.results.remarks import remarks
from blis_simpy.settings.plugin_options import plugin_label
from blis_simpy.units import format_ticks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from blis_simpy.core.table import Table
    from blis_simpy.results.evaluation import Group
    from blis_simpy.results.percentiles import Percentiles
    from blis_simpy.results.phases import Explanation
    from blis_simpy.results.result import Result
    from blis_simpy.results.step_terms import DecodeStep
    from blis_simpy.results.subset import RequestSubset
    from blis_simpy.scenario_settings import ScenarioSettings

__all__ = [
    "class_table",
    "column_table",
    "explanation_page",
    "group_table",
    "replica_table",
    "result_page",
    "subset_page",
    "summary_page",
    "table_page",
]

_PERCENTILES = (50, 90, 95, 99)
_DROP = {95: 3, 90: 2, 50: 1}
"""Order in which percentiles are left out of narrow tables."""
_RATES = ("completed", "requests_per_s", "output_tokens_per_s")
_LATENCIES = ("ttft_mean_ms", "ttft_p99_ms", "e2e_mean_ms", "e2e_p99_ms")
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
    page = summary_page(result)
    if len(result.replicas) > 1:
        page.append(replica_table(result))
    evaluation = result.evaluation
    if len(evaluation.slo_classes) > 1:
        page.append(class_table(evaluation.slo_classes))
    page += [
        group_table(groups, title)
        for title, groups in (("model", evaluation.models), ("tenant", evaluation.tenants))
        if len(groups) > 1
    ]
    return page


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
        [name, PHASES[name], duration / 1000, duration / total if total else None, Bar(duration / max(total, 1))]
        for name, duration in explanation.phases.items()
    ]
    rows.append(["total", "", total / 1000, 1.0, ""])
    page: list[Line | TextTable] = [(f"{explanation.request}: {explanation.outcome}{preemptions}",)]
    page.append(TextTable(columns, rows))
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


def replica_table(result: Result) -> TextTable:
    """Describe the figures of each replica."""
    columns = [
        TextColumn("replica", align="left"),
        *_columns(*_RATES, "ttft_mean_ms", "ttft_p99_ms", "e2e_mean_ms", "preemptions"),
    ]
    rows = [
        [
            str(index),
            figures["completed_requests"],
            figures["responses_per_sec"],
            figures["tokens_per_sec"],
            *(
                figures[key] if figures["completed_requests"] else None
                for key in ("ttft_mean_ms", "ttft_p99_ms", "e2e_mean_ms")
            ),
            figures["preemption_count"],
        ]
        for index, figures in enumerate(result.replicas)
    ]
    return TextTable(columns, rows)


def class_table(slo_classes: Mapping[str, Mapping[str, Percentiles]]) -> TextTable:
    """Describe the latencies of each SLO class; for the argument see `Evaluation.slo_classes`."""
    columns = [TextColumn("SLO class", align="left"), *_columns("completed", *_LATENCIES)]
    rows = [
        [name, latencies["e2e"].count, *_figures(latencies["ttft"]), *_figures(latencies["e2e"])]
        for name, latencies in slo_classes.items()
    ]
    return TextTable(columns, rows)


def group_table(groups: Mapping[str, Group], name: str) -> TextTable:
    """Describe rates and latencies of groups of requests.

    Parameters
    ----------
    groups : mapping of str to Group
        Such as `Evaluation.tenants`.
    name : str
        Kind of the groups: ``tenant``, ``model``.
    """
    columns = [TextColumn(name, align="left"), *_columns(*_RATES, *_LATENCIES)]
    rows = [
        [label, group.completed, group.requests_per_s, group.tokens_per_s, *_figures(group.ttft), *_figures(group.e2e)]
        for label, group in groups.items()
    ]
    return TextTable(columns, rows)


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


def _columns(*metrics: str) -> list[TextColumn]:
    """Columns of metrics, with their labels and units."""
    found = map(get_metric, metrics)
    return [
        TextColumn(metric.label, "" if metric.unit in metric.label else metric.unit, _SPECS.get(metric.unit, ","))
        for metric in found
    ]


def _figures(latency: Percentiles) -> list[float | None]:
    return [latency.mean_ms, latency.percentile_ms(99)] if latency.count else [None, None]


def _deployment(scenario: ScenarioSettings) -> Line:
    """Describe a group of replicas: number, model, hardware as far as given, latency model."""
    count = f"{scenario.replicas} x " if scenario.replicas > 1 else ""
    place = f" on {scenario.hardware}" if scenario.hardware else ""
    width = f" tp {scenario.tp}" if scenario.tp else ""
    model = plugin_label(scenario.latency.chosen)
    return count, Strong(scenario.model), f"{place}{width}, latency model {model}"


def _outcomes(result: Result) -> str:
    figures = result.summary
    parts = [f"{figures['completed_requests']:,} of {result.requests.num_rows:,} requests completed"]
    others = {
        "timed out": figures["timed_out_requests"],
        "dropped (do not fit)": figures["dropped_unservable"],
        "rejected at admission": result.anomalies["rejected_requests_admission"],
        "rejected (no replica available)": result.anomalies["rejected_requests_routing"],
        "capped at the maximum length": figures["length_capped_requests"],
        "still running": figures["still_running"],
        "still queued": figures["still_queued"],
    }
    parts += [f"{count:,} {what}" for what, count in others.items() if count]
    return ", ".join(parts)


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
