"""Results as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from blis_simpy.units import format_ticks

if TYPE_CHECKING:
    from blis_simpy.metrics.distributions import Distribution
    from blis_simpy.result import Result
    from blis_simpy.scenario import Scenario

__all__ = ["print_summary"]

_PERCENTILES = (50, 90, 95, 99)


def print_summary(result: Result, file: TextIO | None = None) -> None:
    """Print what a run came to: what was simulated, what became of the requests, latencies, KV cache.

    Parameters
    ----------
    result : Result
        The run.
    file : text stream, optional
        Where to; standard output unless given.
    """
    # Whether a terminal or a pipe, text keeps one width, so that output can be compared.
    console = Console(file=file, width=100, highlight=False, soft_wrap=True)
    figures = result.summary
    for group in result.scenario.by_group():
        console.print(_deployment(group))
    console.print(_outcomes(result))
    console.print(
        f"{format_ticks(result.aggregate.ended_at)} simulated: {figures['responses_per_sec']:,.2f} requests/s, "
        f"{figures['tokens_per_sec']:,.1f} output tokens/s"
    )
    console.print(_latencies(result))
    rates = result.kv_rates
    console.print(
        f"KV cache: prefix hit rate {rates['cache_hit_rate']:.1%}, {figures['preemption_count']:,} preemptions"
    )


def _deployment(scenario: Scenario) -> str:
    """Say what serves: replicas, model, hardware as far as it was given, latency model."""
    count = f"{scenario.replicas} x " if scenario.replicas > 1 else ""
    place = f" on {scenario.hardware}" if scenario.hardware else ""
    width = f" tp {scenario.tp}" if scenario.tp else ""
    backend = scenario.latency.chosen
    name = backend.get("policy") if isinstance(backend, Mapping) else backend
    model = name if isinstance(name, str) else getattr(name, "__name__", type(name).__name__)
    return f"{count}[bold]{scenario.model}[/bold]{place}{width}, latency model {model}"


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


def _latencies(result: Result) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("latency (ms)")
    for name in ("mean", *(f"p{percent}" for percent in _PERCENTILES)):
        table.add_column(name, justify="right")
    aggregate = result.aggregate
    rows: dict[str, Distribution] = {
        "TTFT, time to first token": aggregate.ttft,
        "ITL, gap between tokens": aggregate.itl,
        "E2E, arrival to last token": aggregate.e2e,
        "scheduling delay": aggregate.scheduling_delay,
    }
    for label, distribution in rows.items():
        if distribution.count:
            values = [distribution.mean_ms, *(distribution.percentile_ms(percent) for percent in _PERCENTILES)]
            table.add_row(label, *(f"{value:,.3f}" for value in values))
        else:
            table.add_row(label, *["-"] * (1 + len(_PERCENTILES)))
    return table
