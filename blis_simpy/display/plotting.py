"""Pictures of a result. Each is computed in `figures_data` or `phases` and drawn here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.display import canvas, figures_data
from blis_simpy.display.phases import PHASES, explain, phase_bounds
from blis_simpy.units import MS, SECOND, format_ticks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from blis_simpy.display.phases import Explanation
    from blis_simpy.metrics.distributions import Distribution
    from blis_simpy.result import Result

__all__ = ["ResultPlots", "plot_explanation"]

_PHASE_COLOURS = {
    "admission": canvas.PURPLE,
    "routing": canvas.GREY,
    "queue": canvas.ORANGE,
    "preempted": canvas.VERMILLION,
    "prefill": canvas.BLUE,
    "decode": canvas.SKY,
}
_NUMBERS = "{x:,g}"
_SHARES = ("share of requests", "share of gaps")
_NOBODY = "no request got that far"
_MOST_NAMES = 40
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
        drawn = np.asarray(canvas.new_axes(1, 3, height=3.0)[0] if axes is None else axes)
        groups_of = {metric: figures_data.latencies(self._result, metric, by) for metric in ("ttft", "itl", "e2e")}
        # A group keeps its colour where another one has no values.
        styles = _styles(name for groups in groups_of.values() for name in groups)
        for ax, (metric, groups) in zip(drawn, groups_of.items(), strict=True):
            _draw_ecdf(ax, groups, styles)
            ax.set_xlabel(f"{metric.upper()} (ms)")
            ax.locator_params(axis="x", nbins=4)
            if not groups:
                canvas.say(ax, _NOBODY)
            elif by is None:
                canvas.set_title(ax, _percentiles(groups[""]))
            ax.set_ylabel(_SHARES[metric == "itl"])
        if by is not None:
            # Whoever has gaps or an end has a first token.
            canvas.add_legend(drawn[-1], "beside", of=drawn[0])
        return drawn

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
        groups = figures_data.latencies(self._result, metric, by)
        ax = _one(ax, 3.6)
        _draw_ecdf(ax, groups, _styles(groups))
        ax.set(xlabel=_axis_label(metric), ylabel=_SHARES[metric == "itl"])
        _name_groups(ax, groups)
        return ax

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
        groups = figures_data.latencies(self._result, metric, by)
        ax = _one(ax, 3.6)
        if groups:
            edges, shares = figures_data.histogram(groups, bins)
            filled: dict[str, Any] = {"fill": True, "alpha": 0.7} if len(groups) == 1 else {}
            for name, style in _styles(groups).items():
                ax.stairs(shares[name], edges, label=name, **style, **filled)
            width = format(edges[1] - edges[0], ",.3g")
            ax.set_ylabel(f"{_SHARES[metric == 'itl']} per {width} ms")
        ax.set(xlabel=_axis_label(metric), ylim=(0, None))
        ax.xaxis.set_major_formatter(_NUMBERS)
        _name_groups(ax, groups)
        return ax

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
        result = self._result
        blocks = result.total_blocks
        lanes = _lanes(len(blocks)) if axes is None else np.asarray(axes)
        steps = result.steps
        owner = dict(zip(result.requests["id"].tolist(), result.requests["replica"].tolist(), strict=True))
        preempted = [(owner[name], at) for name, at in result.preemptions]
        coarsest = 0.0
        for index, (lane, num_blocks) in enumerate(zip(lanes, blocks, strict=True)):
            mine = steps["replica"] == index
            starts, durations = steps["start_us"][mine], steps["duration_us"][mine]
            edges, exact = figures_data.time_edges(starts, durations)
            if not exact:
                coarsest = max(coarsest, edges[1] - edges[0])
            for ax, (column, (_, colour)), scale in zip(
                lane, _QUANTITIES.items(), (1, 1, num_blocks / 100), strict=True
            ):
                if len(edges):
                    values = figures_data.peaks(starts, durations, steps[column][mine], edges) / scale
                    ax.stairs(values, edges / SECOND, color=colour, fill=True, alpha=0.35)
                    ax.stairs(values, edges / SECOND, color=colour, linewidth=1.0, baseline=None)
                else:
                    canvas.say(ax, "no step")
            at = [tick / SECOND for replica, tick in preempted if replica == index]
            if at:
                lane[2].plot(at, [104] * len(at), "|", color=canvas.VERMILLION, markersize=7, label="preemption")
        _finish_lanes(lanes, coarsest)
        return lanes

    def gantt(self, most: int = 30, window: tuple[float, float] | None = None, ax: Axes | None = None) -> Axes:
        """Draw the phases of requests as bars, a line a request, in the order of their arrival.

        Parameters
        ----------
        most : int, default 30
            How many requests to show; the first ones.
        window : (float, float), s, optional
            Show requests that were under way between these instants, and only this time.
        ax : matplotlib Axes, optional
            Where to.
        """
        result = self._result
        requests, ended_at = result.requests, result.aggregate.ended_at
        bounds = phase_bounds(requests, result.preemptions, ended_at)
        shown = np.argsort(bounds[:, 0], kind="stable")
        if window is not None:
            start, end = (second * SECOND for second in window)
            shown = shown[(bounds[shown, 0] <= end) & (bounds[shown, -1] >= start)]
        num_found = len(shown)
        shown = shown[:most]
        ax = _one(ax, max(2.2, 1.0 + 0.2 * min(len(shown), _MOST_NAMES)))
        bars, names = bounds[shown], requests["id"][shown].tolist()
        line_of = {name: line for line, name in enumerate(names)}
        lost = [(at, line_of[name]) for name, at in result.preemptions if name in line_of]
        if window is not None:
            bars = np.clip(bars, start, end)
            lost = [(at, line) for at, line in lost if start <= at <= end]
        _draw_phases(ax, bars, height=0.8)
        if lost:
            at, line = zip(*lost, strict=True)
            ax.plot(np.divide(at, SECOND), line, "x", color=canvas.BLACK, markersize=5, label="preemption")
        if len(shown) <= _MOST_NAMES:
            ax.set_yticks(range(len(shown)), names)
        else:
            ax.set_yticks([])
        cut = f", the first {len(shown):,} of {num_found:,}" if num_found > len(shown) else ""
        ax.set(xlabel="time (s)", ylabel=f"requests{cut}", xlim=window, ylim=(max(len(shown), 1) - 0.5, -0.5))
        ax.grid(visible=False, axis="y")
        canvas.add_legend(ax, "above")
        if not np.ptp(bars, axis=1).any():
            canvas.say(ax, "no request was served in this time")
        return ax

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
        rates = figures_data.throughput(self._result, bins)
        drawn = np.asarray(canvas.new_axes(2, height=4.4, sharex=True)[:, 0] if axes is None else axes)
        edges = rates.edges / SECOND
        upper, lower = drawn
        upper.set(ylabel="requests/s")
        lower.set(xlabel="time (s)", ylabel="output tokens/s")
        if not rates.arrived.any():
            canvas.say(upper, "no request arrived")
            return drawn
        upper.stairs(rates.arrived, edges, color=canvas.ORANGE, linewidth=1.2, label="arrived")
        upper.stairs(rates.completed, edges, color=canvas.BLUE, fill=True, alpha=0.5, label="completed")
        canvas.add_legend(upper, "above")
        lower.stairs(rates.generated, edges, color=canvas.GREEN, fill=True, alpha=0.6)
        lower.yaxis.set_major_formatter(_NUMBERS)
        for ax in drawn:
            ax.set_ylim(0, None)
        canvas.set_title(upper, f"counted every {_span(rates.edges[1])}")
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
            table = figures_data.routed_over_time(self._result, bins)
        else:
            table = figures_data.routed_by_label(self._result, by)
        num_rows, num_columns = table.counts.shape
        ax = _one(ax, max(2.0, 1.0 + 0.28 * num_rows))
        ax.grid(visible=False)
        if by is None:
            ax.set(xlabel="time (s)", ylabel="replica")
        else:
            ax.set(xlabel="replica", ylabel=by.replace("_", " ").replace("slo", "SLO"))
        if not table.counts.any():
            canvas.say(ax, "no request was sent to a replica")
            return ax
        if table.edges is None:
            edges, label = np.arange(num_columns + 1) - 0.5, "share of the group"
            colours = table.counts / table.counts.sum(axis=1, keepdims=True)
            ax.set_xticks(range(num_columns))
            if table.counts.size <= _MOST_CELL_COUNTS:
                _write_counts(ax, table.counts, colours < colours.max() / 2)
        else:
            edges, label = table.edges / SECOND, f"requests in {_span(table.edges[1])}"
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
        return plot_explanation(explain(self._result, request_id), ax)


def plot_explanation(explanation: Explanation, ax: Axes | None = None) -> Axes:
    """Draw the phases of one request one after the other as a bar.

    Parameters
    ----------
    explanation : Explanation
        What to draw.
    ax : matplotlib Axes, optional
        Where to.
    """
    ax = _one(ax, 1.9)
    bounds = np.concatenate(([0], np.cumsum(list(explanation.phases.values()))))
    _draw_phases(ax, bounds[None, :], height=0.6, unit=MS)
    ax.set(xlabel="since its arrival (ms)", ylim=(0.6, -0.6))
    ax.set_yticks([])
    ax.grid(visible=False, axis="y")
    ax.xaxis.set_major_formatter(_NUMBERS)
    canvas.set_title(ax, f"{explanation.request}: {explanation.outcome}, {explanation.total_us / MS:,.3f} ms")
    canvas.add_legend(ax, "beside", [f"{name} {us / MS:,.3f} ms" for name, us in explanation.phases.items() if us])
    return ax


_QUANTITIES = {
    "queue_depth": ("queue depth (requests)", canvas.ORANGE),
    "batch_size": ("batch size (requests)", canvas.BLUE),
    "used_blocks": ("KV in use (%)", canvas.GREEN),
}


def _one(ax: Axes | None, height: float) -> Axes:
    return canvas.new_axes(height=height)[0, 0] if ax is None else ax


def _axis_label(metric: str) -> str:
    name = metric.replace("_", " ") if metric == "scheduling_delay" else metric.upper()
    return f"{name}, {figures_data.METRICS[metric]} (ms)"


def _percentiles(group: Distribution) -> str:
    return f"p50 {group.percentile_ms(50):,.1f}, p99 {group.percentile_ms(99):,.1f} ms"


def _styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    distinct = list(dict.fromkeys(names))
    return dict(zip(distinct, canvas.line_styles(len(distinct)), strict=True))


def _draw_ecdf(ax: Axes, groups: Mapping[str, Distribution], styles: Mapping[str, Mapping[str, Any]]) -> None:
    for name, group in groups.items():
        values, shares = figures_data.ecdf(group)
        # From the ground up, so that a single value shows too.
        ax.step(np.append(values[:1], values), np.append(0, shares), where="post", label=name or None, **styles[name])
    ax.set_ylim(0, 1.02)
    ax.xaxis.set_major_formatter(_NUMBERS)


def _name_groups(ax: Axes, groups: Mapping[str, Distribution]) -> None:
    """Say how large the values are: in the title, or of several groups in the legend."""
    if not groups:
        canvas.say(ax, _NOBODY)
    elif list(groups) == [""]:
        canvas.set_title(ax, _percentiles(groups[""]))
    else:
        labels = [f"{name}: {_percentiles(group)}" for name, group in groups.items()]
        canvas.add_legend(ax, "beside" if len(groups) > 3 else "inside", labels)


def _lanes(num_replicas: int) -> NDArray[np.object_]:
    """Make a line of Axes a replica; those of a single replica stand below each other."""
    if num_replicas == 1:
        return canvas.new_axes(3, height=5.4, sharex=True).T
    height = 1.2 + max(1.1, 3.6 / num_replicas) * min(num_replicas, 4) + 0.6 * max(num_replicas - 4, 0)
    return canvas.new_axes(num_replicas, 3, height=height, sharex=True, sharey="col")


def _finish_lanes(lanes: NDArray[np.object_], coarsest: float) -> None:
    several = len(lanes) > 1
    for column, (label, _) in enumerate(_QUANTITIES.values()):
        top = max(1.0, *(ax.dataLim.y1 * 1.08 for ax in lanes[:, column])) if column < 2 else 108
        for index, ax in enumerate(lanes[:, column]):
            ax.set_ylim(0, top)
            if column < 2:
                ax.yaxis.get_major_locator().set_params(integer=True)
            if several and column == 0:
                ax.set_ylabel(f"replica {index}", rotation=0, ha="right", va="center")
            elif not several:
                ax.set_ylabel(label.replace(" (", "\n("))
        if several:
            canvas.set_title(lanes[0, column], label)
            lanes[-1, column].set_xlabel("time (s)")
    if not several:
        lanes[0, 2].set_xlabel("time (s)")
    for ax in lanes[:, 2]:
        if ax.get_legend_handles_labels()[0]:
            canvas.add_legend(ax, "above")
            break
    if coarsest:
        lanes[0, 0].figure.supxlabel(f"largest value in each {_span(coarsest)}", fontsize="small")


def _draw_phases(ax: Axes, bounds: NDArray[np.int64], *, height: float, unit: int = SECOND) -> None:
    durations = np.diff(bounds, axis=1) / unit
    lines = np.arange(len(bounds))
    for phase, name in enumerate(PHASES):
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


def _write_counts(ax: Axes, counts: NDArray[np.int64], dark: NDArray[np.bool_]) -> None:
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if dark[row, column] else "black"
        ax.text(column, row, f"{count:,}", ha="center", va="center", color=colour, fontsize="small")


def _span(ticks: float) -> str:
    """Write a length of time with three digits."""
    return format_ticks(round(float(f"{ticks:.3g}")))
