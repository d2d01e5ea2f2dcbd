"""Plot of queue depth, batch size and KV use over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from blis_simpy.display import figure_style
from blis_simpy.results.over_time import peaks, time_edges
from blis_simpy.units import SECOND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from blis_simpy.results.result import Result

__all__ = ["plot_timeline"]

_QUANTITIES = {
    "queue_depth": ("queue depth (requests)", figure_style.ORANGE),
    "batch_size": ("batch size (requests)", figure_style.BLUE),
    "used_blocks": ("KV in use (%)", figure_style.GREEN),
}


def plot_timeline(result: Result, axes: Sequence[Sequence[Axes]] | None = None) -> NDArray[np.object_]:
    """Draw queue depth, batch size and KV use over time, a row of Axes a replica.

    Nothing is drawn between steps. In a long run each point is the maximum of a short interval, whose length the plot
    states. Preemptions are marked above the KV use.

    Parameters
    ----------
    result : Result
        The run.
    axes : array of matplotlib Axes, shape (num_replicas, 3), optional
        Axes to draw on; default is a new figure.

    Returns
    -------
    ndarray of matplotlib Axes, shape (num_replicas, 3)
    """
    blocks = result.total_blocks
    lanes = _lanes(len(blocks)) if axes is None else np.asarray(axes)
    steps = result.steps
    owner = dict(zip(result.requests["id"].tolist(), result.requests["replica"].tolist(), strict=True))
    preempted = [(owner[name], at) for name, at in result.preemptions]
    coarsest = 0.0
    for index, (lane, num_blocks) in enumerate(zip(lanes, blocks, strict=True)):
        mine = steps["replica"] == index
        starts, durations = steps["start_us"][mine], steps["duration_us"][mine]
        edges, exact = time_edges(starts, durations)
        if not exact:
            coarsest = max(coarsest, edges[1] - edges[0])
        for ax, (column, (_, colour)), scale in zip(lane, _QUANTITIES.items(), (1, 1, num_blocks / 100), strict=True):
            if len(edges):
                values = peaks(starts, durations, steps[column][mine], edges) / scale
                ax.stairs(values, edges / SECOND, color=colour, fill=True, alpha=0.35)
                ax.stairs(values, edges / SECOND, color=colour, linewidth=1.0, baseline=None)
            else:
                figure_style.add_note(ax, "no step")
        at = [tick / SECOND for replica, tick in preempted if replica == index]
        if at:
            lane[2].plot(at, [104] * len(at), "|", color=figure_style.VERMILLION, markersize=7, label="preemption")
    _finish_lanes(lanes, coarsest)
    return lanes


def _lanes(num_replicas: int) -> NDArray[np.object_]:
    """Make a row of Axes per replica; those of a single replica are stacked."""
    if num_replicas == 1:
        return figure_style.new_axes(3, height=5.4, sharex=True).T
    height = 1.2 + max(1.1, 3.6 / num_replicas) * min(num_replicas, 4) + 0.6 * max(num_replicas - 4, 0)
    return figure_style.new_axes(num_replicas, 3, height=height, sharex=True, sharey="col")


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
            figure_style.set_title(lanes[0, column], label)
            lanes[-1, column].set_xlabel("time (s)")
    if not several:
        lanes[0, 2].set_xlabel("time (s)")
    for ax in lanes[:, 2]:
        if ax.get_legend_handles_labels()[0]:
            figure_style.add_legend(ax, "above")
            break
    if coarsest:
        lanes[0, 0].figure.supxlabel(f"largest value in each {figure_style.span(coarsest)}", fontsize="small")
