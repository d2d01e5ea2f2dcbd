"""Plots of the phases of requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.display import figure_style
from blis_simpy.results.phases import phase_bounds, phases_of
from blis_simpy.units import MS, SECOND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from blis_simpy.results.phases import Explanation
    from blis_simpy.results.result import Result

__all__ = ["plot_explanation", "plot_gantt", "plot_request"]

_PHASE_COLOURS = {
    "admission": figure_style.PURPLE,
    "routing": figure_style.GREY,
    "queue": figure_style.ORANGE,
    "preempted": figure_style.VERMILLION,
    "prefill": figure_style.BLUE,
    "reserve": figure_style.BLACK,
    "transfer": figure_style.GREEN,
    "join": figure_style.ORANGE,
    "recompute": figure_style.BLUE,
    "decode": figure_style.SKY,
}
_MOST_NAMES = 40


def plot_gantt(result: Result, most: int = 30, ax: Axes | None = None, **where: Any) -> Axes:
    """Draw the phases of requests as bars, one request a row, by arrival.

    Preemptions are marked; time before the last preemption of a request belongs to its phase ``preempted``.

    Parameters
    ----------
    result : Result
        The run.
    most : int, default 30
        Maximum number of requests; the first ones are drawn.
    ax : matplotlib Axes, optional
        Axes to draw on; default is a new figure.
    **where
        Which requests, as for `Result.where`: ``start="10s", end="12s"`` for those that arrived in between,
        ``replica=0``, ``tenant=...``.

    Raises
    ------
    ScenarioError
        If there is no such label.
    """
    requests = result.where(**where).requests if where else result.requests
    shown = np.argsort(requests["arrived_at_us"], kind="stable")[:most]
    requests, num_found = requests.take(shown), requests.num_rows
    bounds = phase_bounds(requests, result.preemptions, result.aggregate.ended_at)
    ax = figure_style.one(ax, max(2.2, 1.0 + 0.2 * min(len(shown), _MOST_NAMES)))
    _draw_phases(ax, bounds, list(phases_of(requests)), height=0.8)
    names = requests["id"].tolist()
    line_of = {name: line for line, name in enumerate(names)}
    lost = [(at, line_of[name]) for name, at in result.preemptions if name in line_of]
    if lost:
        at, line = zip(*lost, strict=True)
        ax.plot(np.divide(at, SECOND), line, "x", color=figure_style.BLACK, markersize=5, label="preemption")
    if len(shown) <= _MOST_NAMES:
        ax.set_yticks(range(len(shown)), names)
    else:
        ax.set_yticks([])
    cut = f", the first {len(shown):,} of {num_found:,}" if num_found > len(shown) else ""
    ax.set(xlabel="time (s)", ylabel=f"requests{cut}", ylim=(max(len(shown), 1) - 0.5, -0.5))
    ax.grid(visible=False, axis="y")
    figure_style.add_legend(ax, "above")
    if not np.ptp(bounds, axis=1).any():
        figure_style.add_note(ax, "no request was served")
    return ax


def plot_request(result: Result, request_id: str, ax: Axes | None = None) -> Axes:
    """Draw the phases of one request as a bar.

    Parameters
    ----------
    result : Result
        The run.
    request_id : str
        Id of the request.
    ax : matplotlib Axes, optional
        Axes to draw on; default is a new figure.

    Raises
    ------
    ScenarioError
        If the run has no such request.
    """
    return plot_explanation(result.explain(request_id), ax)


def plot_explanation(explanation: Explanation, ax: Axes | None = None) -> Axes:
    """Draw the phases of one request one after the other as a bar.

    Parameters
    ----------
    explanation : Explanation
        Object to draw.
    ax : matplotlib Axes, optional
        Axes to draw on; default is a new figure.
    """
    ax = figure_style.one(ax, 1.9)
    bounds = np.concatenate(([0], np.cumsum(list(explanation.phases.values()))))
    _draw_phases(ax, bounds[None, :], list(explanation.phases), height=0.6, unit=MS)
    ax.set(xlabel="since its arrival (ms)", ylim=(0.6, -0.6))
    ax.set_yticks([])
    ax.grid(visible=False, axis="y")
    ax.xaxis.set_major_formatter(figure_style.NUMBERS)
    figure_style.set_title(ax, f"{explanation.request}: {explanation.outcome}, {explanation.total_us / MS:,.3f} ms")
    figure_style.add_legend(
        ax, "beside", [f"{name} {us / MS:,.3f} ms" for name, us in explanation.phases.items() if us]
    )
    return ax


def _draw_phases(
    ax: Axes, bounds: NDArray[np.int64], phases: Sequence[str], *, height: float, unit: int = SECOND
) -> None:
    durations = np.diff(bounds, axis=1) / unit
    lines = np.arange(len(bounds))
    for phase, name in enumerate(phases):
        some = durations[:, phase] > 0
        if some.any():
            ax.barh(
                lines[some],
                durations[some, phase],
                left=bounds[some, phase] / unit,
                height=height,
                color=_PHASE_COLOURS[name],
                label=name,
            )
