"""Plot of a calibration: simulated against measured latencies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.display import figure_style
from blis_simpy.units import MS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from blis_simpy.calibration.calibrate import Calibration

__all__ = ["plot_calibration"]

_KINDS = (("TTFT", "ttft", figure_style.BLUE, "o"), ("E2E", "e2e", figure_style.ORANGE, "^"))
_MARGIN = 1.5


def plot_calibration(calibration: Calibration, ax: Axes | None = None) -> Axes:
    """Draw simulated against measured latencies, one point per request, on logarithmic axes.

    Points on the diagonal were predicted exactly; above it, the simulation is too slow. Latencies of 0 are left out.

    Parameters
    ----------
    calibration : Calibration
        Object to draw.
    ax : matplotlib Axes, optional
        Axes to draw on; default is a new figure.

    Returns
    -------
    matplotlib Axes
        The Axes.

    Raises
    ------
    PluginError
        If matplotlib is not installed.
    """
    axes: Axes = figure_style.new_axes(height=5.0, figsize=(5.4, 5.0))[0, 0] if ax is None else ax
    axes.set(xscale="log", yscale="log", aspect="equal", xlabel="measured (ms)", ylabel="simulated (ms)")
    drawn: list[float] = []
    for label, name, colour, marker in _KINDS:
        real, simulated = (calibration.pairs[f"{side}_{name}_us"] / MS for side in ("real", "sim"))
        seen = (real > 0) & (simulated > 0)
        drawn += [*real[seen], *simulated[seen]]
        agreement = getattr(calibration, name)
        label = f"{label}: MAPE {agreement.mape:.1%}, r {agreement.pearson_r:.3f}"
        style: dict[str, Any] = {"color": colour, "marker": marker, "alpha": 0.6, "linewidths": 0}
        axes.scatter(real[seen], simulated[seen], s=22, label=label, zorder=2, **style)
    if drawn:
        limits = np.array([min(drawn) / _MARGIN, max(drawn) * _MARGIN])
        axes.plot(limits, limits, color=figure_style.GREY, linewidth=1, zorder=1, label="as measured")
        axes.set(xlim=limits, ylim=limits)
    figure_style.set_title(axes, f"Latency of {calibration.ttft.count:,} requests")
    figure_style.add_legend(axes)
    return axes
