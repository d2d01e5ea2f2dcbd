"""Pictures of a result. What they show is computed in `figures_data`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.display import figure_style, plot_data
from blis_simpy.display.plot_latencies import draw_ecdf, draw_ecdfs, draw_histogram
from blis_simpy.display.plot_phases import draw_gantt, plot_explanation
from blis_simpy.display.plot_timeline import draw_timeline
from blis_simpy.units import SECOND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from blis_simpy.results.result import Result

__all__ = ["ResultPlots"]

_MOST_CELL_COUNTS = 200


class ResultPlots:
    """Pictures of one run; they need the extra ``plot``.

    Each method draws on new Axes unless some are given, and returns those it drew on.

    Parameters
    ----------
    result : Result
        The run.
    """

    def __init__(self, result: Result) -> None:
        self._result = result

    def latencies(self, by: str | None = None, axes: Sequence[Axes] | None = None) -> NDArray[np.object_]:
        """Draw what share of the values of TTFT, ITL and E2E is at most how large, side by side.

        Parameters
        ----------
        by : str, optional
            A line for each ``replica``, ``slo_class``, ``tenant``, ``model``, ``client``, ``session`` or
            ``prefix_group``.
        axes : sequence of three matplotlib Axes, optional
            Where to.

        Returns
        -------
        ndarray of matplotlib Axes, shape (3,)
        """
        groups_of = {metric: plot_data.latencies(self._result, metric, by) for metric in ("ttft", "itl", "e2e")}
        return draw_ecdfs(groups_of, axes)

    def ecdf(self, metric: str = "ttft", by: str | None = None, ax: Axes | None = None) -> Axes:
        """Draw which share of the values of a latency is at most how large.

        Parameters
        ----------
        metric : str
            ``ttft``, ``itl``, ``e2e`` or ``scheduling_delay``.
        by : str, optional
            A line for each group, as for `latencies`.
        ax : matplotlib Axes, optional
            Where to.

        Raises
        ------
        ScenarioError
            If `metric` or `by` is unknown.
        """
        return draw_ecdf(plot_data.latencies(self._result, metric, by), metric, ax)

    def histogram(self, metric: str = "ttft", by: str | None = None, bins: int = 50, ax: Axes | None = None) -> Axes:
        """Draw how the values of a latency are distributed.

        Parameters
        ----------
        metric, by, ax
            As for `ecdf`.
        bins : int, default 50
            How many bars.

        Raises
        ------
        ScenarioError
            If `metric` or `by` is unknown.
        """
        return draw_histogram(plot_data.latencies(self._result, metric, by), metric, bins, ax)

    def timeline(self, axes: Sequence[Sequence[Axes]] | None = None) -> NDArray[np.object_]:
        """Draw queue depth, batch size and KV use over time, a lane a replica.

        Between steps nothing is drawn. Of a long run, each point is the largest value in a short time, and the picture
        says how short. Preemptions are marked on top of the KV use.

        Parameters
        ----------
        axes : array of matplotlib Axes, shape (num_replicas, 3), optional
            Where to.

        Returns
        -------
        ndarray of matplotlib Axes, shape (num_replicas, 3)
        """
        return draw_timeline(self._result, axes)

    def gantt(self, most: int = 30, ax: Axes | None = None, **where: Any) -> Axes:
        """Draw the phases of requests as bars, a line a request, in the order of their arrival.

        Preemptions are marked; what was computed before the last one is part of the phase ``preempted``.

        Parameters
        ----------
        most : int, default 30
            How many requests to show; the first ones.
        ax : matplotlib Axes, optional
            Where to.
        **where
            Which requests, as for `Result.where`: ``start="10s", end="12s"`` for those that arrived in between,
            ``replica=0``, ``tenant=...``.

        Raises
        ------
        ScenarioError
            If there is no such label.
        """
        requests = self._result.where(**where).requests if where else self._result.requests
        return draw_gantt(self._result, requests, most, ax)

    def throughput(self, bins: int = 60, axes: Sequence[Axes] | None = None) -> NDArray[np.object_]:
        """Draw requests and output tokens a second over time.

        Parameters
        ----------
        bins : int, default 60
            In how many equal parts of the time they are counted.
        axes : sequence of two matplotlib Axes, optional
            Where to.

        Returns
        -------
        ndarray of matplotlib Axes, shape (2,)
        """
        rates = plot_data.throughput(self._result, bins)
        drawn = np.asarray(figure_style.new_axes(2, height=4.4, sharex=True)[:, 0] if axes is None else axes)
        edges = rates.edges / SECOND
        upper, lower = drawn
        upper.set(ylabel="requests/s")
        lower.set(xlabel="time (s)", ylabel="output tokens/s")
        if not rates.arrived.any():
            figure_style.say(upper, "no request arrived")
            return drawn
        upper.stairs(rates.arrived, edges, color=figure_style.ORANGE, linewidth=1.2, label="arrived")
        upper.stairs(rates.completed, edges, color=figure_style.BLUE, fill=True, alpha=0.5, label="completed")
        figure_style.add_legend(upper, "above")
        lower.stairs(rates.generated, edges, color=figure_style.GREEN, fill=True, alpha=0.6)
        lower.yaxis.set_major_formatter(figure_style.NUMBERS)
        for ax in drawn:
            ax.set_ylim(0, None)
        figure_style.set_title(upper, f"counted every {figure_style.span(rates.edges[1])}")
        return drawn

    def routing(self, by: str | None = None, bins: int = 60, ax: Axes | None = None) -> Axes:
        """Draw as a heat map how many requests went to which replica.

        Parameters
        ----------
        by : str, optional
            A line for each group, as for `latencies`, and a column a replica; without it, a line a replica over time.
        bins : int, default 60
            In how many parts of the time they are counted, without `by`.
        ax : matplotlib Axes, optional
            Where to.

        Raises
        ------
        ScenarioError
            If `by` is unknown.
        """
        if by is None:
            table = plot_data.routed_over_time(self._result, bins)
        else:
            table = plot_data.routed_by_label(self._result, by)
        num_rows, num_columns = table.counts.shape
        ax = figure_style.one(ax, max(2.0, 1.0 + 0.28 * num_rows))
        ax.grid(visible=False)
        if by is None:
            ax.set(xlabel="time (s)", ylabel="replica")
        else:
            ax.set(xlabel="replica", ylabel=by.replace("_", " ").replace("slo", "SLO"))
        if not table.counts.any():
            figure_style.say(ax, "no request was sent to a replica")
            return ax
        if table.edges is None:
            edges, label = np.arange(num_columns + 1) - 0.5, "share of the group"
            colours = table.counts / table.counts.sum(axis=1, keepdims=True)
            ax.set_xticks(range(num_columns))
            if table.counts.size <= _MOST_CELL_COUNTS:
                _write_counts(ax, table.counts, colours < colours.max() / 2)
        else:
            edges, label = table.edges / SECOND, f"requests in {figure_style.span(table.edges[1])}"
            colours = table.counts
        heat = ax.pcolormesh(edges, np.arange(num_rows + 1) - 0.5, colours, cmap="cividis", vmin=0)
        ax.figure.colorbar(heat, ax=ax, label=label)
        ax.set_yticks(range(num_rows), table.rows)
        ax.set_ylim(num_rows - 0.5, -0.5)
        return ax

    def explain(self, request_id: str, ax: Axes | None = None) -> Axes:
        """Draw where the time of one request went, as a bar.

        Raises
        ------
        ScenarioError
            If the run has no such request.
        """
        return plot_explanation(self._result.explain(request_id), ax)


def _write_counts(ax: Axes, counts: NDArray[np.int64], dark: NDArray[np.bool_]) -> None:
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if dark[row, column] else "black"
        ax.text(column, row, f"{count:,}", ha="center", va="center", color=colour, fontsize="small")
