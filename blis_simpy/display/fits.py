"""What a fit found: as lines and tables, and as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.display import figure_style
from blis_simpy.display.text_table import Line, TextColumn, TextTable
from blis_simpy.units import SECOND

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from blis_simpy.calibration.fitted import Fit

__all__ = ["fit_page", "plot_fit"]

_FITTED, _HELD_OUT = "fitted", "held out"
_ERRORS = {"before": "held out, before the fit", "fitted": _FITTED, "held out": _HELD_OUT}
_MARGIN = 1.2


def fit_page(fit: Fit[Any]) -> list[Line | TextTable]:
    """Describe a fit as lines and tables: estimates, their identification, and errors."""
    columns = [
        TextColumn("option", align="left"),
        TextColumn("", align="left"),
        TextColumn("value", spec=".4g"),
        TextColumn("standard error", spec=".2g"),
        TextColumn("prior", spec=".4g"),
        TextColumn("posterior/prior sd", spec=".2f"),
    ]
    rows: list[list[Any]] = [
        [
            of.name,
            f"{of.meaning} ({of.unit})" if of.unit else f"{of.meaning}, factor",
            found.value,
            found.standard_error,
            of.prior,
            found.sd_ratio,
        ]
        for found in fit.estimates
        for of in (found.parameter,)
    ]
    title = f"Estimates from {fit.num_fitted:,} requests, {fit.num_simulations} simulations"
    page: list[Line | TextTable] = [TextTable(columns, rows, title=title)]
    if fit.not_identified:
        page.append((f"Not identified by the data: {', '.join(fit.not_identified)}.",))
    one, other, correlation = fit.largest_correlation
    page.append((f"Largest correlation: {one} and {other}, {correlation:.2f}.",))
    columns = [
        TextColumn("requests", align="left"),
        *(TextColumn(name, "%", "+.1f") for name in ("TTFT", "TPOT", "E2E")),
    ]
    columns.append(TextColumn("E2E MAPE", "%", ".1f"))
    rows = [
        [_ERRORS[name], *(100.0 * error for error in (of.ttft, of.tpot, of.e2e, of.e2e_mape))]
        for name, of in fit.errors.items()
    ]
    title = f"Errors of means, and MAPE of E2E; {fit.num_held_out:,} requests are held out"
    page.append(TextTable(columns, rows, title=title))
    return page


def plot_fit(fit: Fit[Any], ax: Axes | None = None) -> Axes:
    """Draw simulated against measured E2E latencies, and beside them, in a new figure, the estimates.

    Parameters
    ----------
    fit : Fit
        What to draw.
    ax : matplotlib Axes, optional
        Where to draw the latencies; a new figure unless given.

    Returns
    -------
    matplotlib Axes
        Those of the latencies.

    Raises
    ------
    PluginError
        If matplotlib is not installed.
    """
    if ax is not None:
        return _draw_latencies(fit, ax)
    latencies, estimates = figure_style.new_axes(1, 2, height=4.2)[0]
    _draw_estimates(fit, estimates)
    return _draw_latencies(fit, latencies)


def _draw_latencies(fit: Fit[Any], ax: Axes) -> Axes:
    measured, simulated = fit.measured.e2e / SECOND, fit.simulated.e2e / SECOND
    parts = (
        (slice(None, fit.num_fitted), _FITTED, figure_style.SKY),
        (slice(fit.num_fitted, None), _HELD_OUT, figure_style.ORANGE),
    )
    for part, label, colour in parts:
        ax.scatter(measured[part], simulated[part], s=22, color=colour, alpha=0.6, linewidths=0, label=label, zorder=2)
    drawn = np.concatenate([measured, simulated])
    limits = np.array([drawn.min() / _MARGIN, drawn.max() * _MARGIN])
    ax.plot(limits, limits, color=figure_style.GREY, linewidth=1, zorder=1, label="as measured")
    ax.set(xscale="log", yscale="log", xlim=limits, ylim=limits, aspect="equal")
    ax.set(xlabel="measured E2E (s)", ylabel="simulated E2E (s)")
    figure_style.set_title(ax, f"Error of the mean E2E, held out: {fit.errors['held out'].e2e:+.1%}")
    figure_style.add_legend(ax)
    return ax


def _draw_estimates(fit: Fit[Any], ax: Axes) -> None:
    """Draw each estimate on the scale of its prior: mean 0, standard deviation 1."""
    for line, found in enumerate(fit.estimates):
        of = found.parameter
        moved = (found.coordinate - of.center) / of.prior_sd
        colour = figure_style.BLUE if found.is_identified else figure_style.GREY
        ax.errorbar(moved, line, xerr=found.sd_ratio, fmt="o", color=colour, capsize=3)
    names = [f"{found.parameter.name} = {found.value:.3g}" for found in fit.estimates]
    ax.axvspan(-1.0, 1.0, color=figure_style.GREY, alpha=0.15, linewidth=0)
    ax.set(ylim=(len(names) - 0.5, -0.5), xlabel="standard deviations from the prior")
    ax.set_yticks(range(len(names)), names)
    ax.grid(visible=False, axis="y")
    figure_style.set_title(ax, "Estimates; grey: not identified")
