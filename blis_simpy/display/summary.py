"""What a run came to, described as lines and tables that text and HTML share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.display.text_table import Line, Strong, TextColumn, TextTable
from blis_simpy.settings.plugin_options import plugin_label
from blis_simpy.units import format_ticks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from blis_simpy.results.aggregate import Aggregate
    from blis_simpy.results.evaluation import Group
    from blis_simpy.results.percentiles import Percentiles
    from blis_simpy.results.result import Result
    from blis_simpy.results.subset import RequestSubset
    from blis_simpy.scenario_settings import ScenarioSettings

__all__ = [
    "class_table",
    "column_table",
    "group_table",
    "replica_table",
    "result_page",
    "selection_page",
    "summary_page",
]

_PERCENTILES = (50, 90, 95, 99)
_MS = ",.3f"
_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


def summary_page(result: Result) -> list[Line | TextTable]:
    """Describe a run in short: what was simulated, what became of the requests, latencies, KV cache."""
    figures, rates = result.summary, result.kv_rates
    throughput = (
        f"{format_ticks(result.aggregate.ended_at)} simulated: {figures['responses_per_sec']:,.2f} requests/s, "
        f"{figures['tokens_per_sec']:,.1f} output tokens/s"
    )
    cache = f"KV cache: prefix hit rate {rates['cache_hit_rate']:.1%}, {figures['preemption_count']:,} preemptions"
    deployments = [_deployment(group) for group in result.scenario.by_group()]
    return [*deployments, (_outcomes(result),), (throughput,), _latencies(result.aggregate), (cache,)]


def result_page(result: Result) -> list[Line | TextTable]:
    """Describe a run at length: the summary, and tables of whatever there is more than one of."""
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


def selection_page(selection: RequestSubset) -> list[Line | TextTable]:
    """Describe some requests of a run: what became of them, latencies."""
    outcomes, counts = np.unique(selection.requests["outcome"], return_counts=True)
    shown = zip(outcomes.tolist(), counts.tolist(), strict=True)
    rates = (
        f"{format_ticks(selection.duration_us)} simulated: {selection.metric('requests_per_s'):,.2f} requests/s, "
        f"{selection.metric('output_tokens_per_s'):,.1f} output tokens/s"
    )
    parts = [f"{selection.requests.num_rows:,} requests", *(f"{n:,} {name.replace('_', ' ')}" for name, n in shown)]
    return [(", ".join(parts),), (rates,), _latencies(selection)]


def replica_table(result: Result) -> TextTable:
    """Describe what each replica did."""
    columns = [
        TextColumn("replica", align="left"),
        TextColumn("completed"),
        TextColumn("requests/s", spec=",.2f"),
        TextColumn("output tokens/s", spec=",.1f"),
        TextColumn("TTFT mean", "ms", _MS),
        TextColumn("TTFT p99", "ms", _MS),
        TextColumn("E2E mean", "ms", _MS),
        TextColumn("preemptions"),
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
    columns = [TextColumn("SLO class", align="left"), TextColumn("completed"), *_latency_columns()]
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
        What a group is: ``tenant``, ``model``.
    """
    columns = [
        TextColumn(name, align="left"),
        TextColumn("completed"),
        TextColumn("requests/s", spec=",.2f"),
        TextColumn("output tokens/s", spec=",.1f"),
        *_latency_columns(),
    ]
    rows = [
        [label, group.completed, group.requests_per_s, group.tokens_per_s, *_figures(group.ttft), *_figures(group.e2e)]
        for label, group in groups.items()
    ]
    return TextTable(columns, rows)


def column_table(columns: Mapping[str, NDArray[Any]], max_rows: int = 10) -> TextTable:
    """Describe a table of columns by its first and last rows.

    Parameters
    ----------
    columns : mapping of str to ndarray, shape (num_rows,)
        Columns whose names carry their units, such as ``ttft_us``; in them -1 stands for what has not come about.
    max_rows : int, default 10
        How many rows to show at most, >= 2; from the beginning and the end, if there are more.
    """
    names = list(columns)
    num_rows = len(columns[names[0]]) if names else 0
    cut = num_rows > max_rows
    head = max_rows - max_rows // 2 if cut else num_rows
    shown = [*range(head), *(range(num_rows - max_rows // 2, num_rows) if cut else ())]
    picked = {name: columns[name][shown].tolist() for name in names}
    rows = [[str(row), *(_cell(name, picked[name][i]) for name in names)] for i, row in enumerate(shown)]
    if cut:
        rows.insert(head, [_ELLIPSIS] * (1 + len(names)))
    texts = {name for name in names if columns[name].dtype.kind in "OUb"}
    described = [
        TextColumn(name, align="left" if name in texts else "right", spec=_spec(columns[name])) for name in names
    ]
    title = f"{num_rows:,} rows, {len(names)} columns"
    return TextTable([TextColumn("row"), *described], rows, title)


def _spec(column: NDArray[Any]) -> str:
    return ",.3f" if column.dtype.kind == "f" else ","


def _cell(name: str, value: object) -> object:
    return None if value == -1 and (name.endswith("_us") or name == "replica") else value


def _latency_columns() -> list[TextColumn]:
    return [TextColumn(f"{latency} {figure}", "ms", _MS) for latency in ("TTFT", "E2E") for figure in ("mean", "p99")]


def _figures(latency: Percentiles) -> list[float | None]:
    return [latency.mean_ms, latency.percentile_ms(99)] if latency.count else [None, None]


def _deployment(scenario: ScenarioSettings) -> Line:
    """Say what serves: replicas, model, hardware as far as it was given, latency model."""
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
        "dropped (can never fit)": figures["dropped_unservable"],
        "rejected at admission": result.anomalies["rejected_requests_admission"],
        "rejected for want of a replica": result.anomalies["rejected_requests_routing"],
        "cut at the maximum length": figures["length_capped_requests"],
        "still running": figures["still_running"],
        "still queued": figures["still_queued"],
    }
    parts += [f"{count:,} {what}" for what, count in others.items() if count]
    return ", ".join(parts)


def _latencies(figures: Aggregate | RequestSubset) -> TextTable:
    rows: dict[str, Percentiles] = {
        "TTFT, time to first token": figures.ttft,
        "ITL, gap between tokens": figures.itl,
        "E2E, arrival to last token": figures.e2e,
        "scheduling delay": figures.scheduling_delay,
    }
    columns = [
        TextColumn("latency", "ms", align="left"),
        TextColumn("mean", spec=_MS),
        *(TextColumn(f"p{percent}", spec=_MS) for percent in _PERCENTILES),
    ]
    return TextTable(columns, [(label, *_percentiles(distribution)) for label, distribution in rows.items()])


def _percentiles(distribution: Percentiles) -> list[float | None]:
    if not distribution.count:
        return [None] * (1 + len(_PERCENTILES))
    return [distribution.mean_ms, *(distribution.percentile_ms(percent) for percent in _PERCENTILES)]
