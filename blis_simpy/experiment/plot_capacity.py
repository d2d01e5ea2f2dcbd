"""Plot of a search for a capacity: the probes and the limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.display import figure_style
from blis_simpy.display.comparisons import plot_saturation
from blis_simpy.errors import ScenarioError, nearest
from blis_simpy.experiment.number_format import format_number
from blis_simpy.experiment.plot_axes import HEIGHT, name_axis
from blis_simpy.results.metrics import metric_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from blis_simpy.experiment.capacity import Capacity

__all__ = ["plot_capacity"]


def plot_capacity(capacity: Capacity, metric: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw the probes of a capacity and the limit of a metric.

    Parameters
    ----------
    capacity : Capacity
        Object to draw.
    metric : str, optional
        Metric with a limit; default is the first.
    ax : matplotlib Axes, optional
        Axes to draw on; default is a new figure.

    Raises
    ------
    ScenarioError
        If the metric has no limit.
    """
    limits = {limit.metric: limit for limit in capacity.limits}
    if metric is not None and metric not in limits:
        raise ScenarioError.at("metric", "has no limit", metric, hint=nearest(metric, tuple(limits)))
    limit = limits[metric] if metric is not None else capacity.limits[0]
    ax = figure_style.one(ax, HEIGHT)
    for purpose, label in (("search", "searching"), ("confirm", "confirming, with new seeds")):
        probes = [probe for probe in capacity.probes if probe.purpose == purpose]
        if probes:
            low, high = zip(*(probe.bounds[limit.metric] for probe in probes), strict=True)
            plot_saturation(
                [probe.value for probe in probes],
                [probe.replications.mean(limit.metric) for probe in probes],
                low,
                high,
                ylabel=metric_label(limit.metric),
                label=label,
                target=limit.value if purpose == "search" else None,
                ax=ax,
            )
    if capacity.value is not None:
        ax.axvline(capacity.value, color=figure_style.GREEN, linewidth=1.2, zorder=1)
        ax.annotate(
            format_number(capacity.value),
            (capacity.value, 1),
            xycoords=("data", "axes fraction"),
            xytext=(4, -10),
            textcoords="offset points",
        )
    name_axis(ax, capacity.vary, [probe.value for probe in capacity.probes])
    return ax
