"""Style of all plots: figures, legends, and colours that colour-blind readers can distinguish.

matplotlib comes with the extra ``plot`` and is imported when a plot is drawn. Its global settings are not changed.
"""

from __future__ import annotations

from itertools import islice, product
from typing import TYPE_CHECKING, Any

from blis_simpy.errors import PluginError
from blis_simpy.units import format_ticks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

__all__ = [
    "BLACK",
    "BLUE",
    "GREEN",
    "GREY",
    "NUMBERS",
    "ORANGE",
    "PURPLE",
    "SKY",
    "VERMILLION",
    "add_legend",
    "add_note",
    "line_styles",
    "new_axes",
    "one",
    "set_title",
    "span",
]

# Palette of Okabe and Ito without yellow, which has little contrast on white.
BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, BLACK, GREY = "#CC79A7", "#56B4E9", "#000000", "#7F7F7F"

NUMBERS = "{x:,g}"
"""Format of numbers on an axis that may be large."""

WIDTH_IN = 9.0
"""Width of a figure in inches, about that of a notebook cell."""

STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.alpha": 0.4,
    "grid.linewidth": 0.6,
    "text.parse_math": False,
}


def new_axes(rows: int = 1, columns: int = 1, *, height: float, **options: Any) -> NDArray[np.object_]:
    """Create a figure.

    Parameters
    ----------
    rows, columns : int
        Number of rows and columns of Axes.
    height : float, inches
        Height of the figure.
    **options
        Further arguments of ``matplotlib.pyplot.subplots``.

    Returns
    -------
    ndarray of matplotlib Axes, shape (rows, columns)

    Raises
    ------
    PluginError
        If matplotlib is not installed.
    """
    try:
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise PluginError.at("plot", "needs matplotlib", hint="pip install blis-simpy[plot]") from error
    # Loads the back end: that of notebooks changes the rcParams, which must not happen within the context.
    plt.draw_if_interactive()  # type: ignore[no-untyped-call]
    with plt.rc_context(STYLE):
        options = {"figsize": (WIDTH_IN, height), "layout": "constrained", "squeeze": False, **options}
        axes: NDArray[np.object_] = plt.subplots(rows, columns, **options)[1]
    return axes


def one(ax: Axes | None, height: float) -> Axes:
    """Return the given Axes, or those of a new figure with a height in inches."""
    return new_axes(height=height)[0, 0] if ax is None else ax


def line_styles(count: int) -> Iterator[dict[str, Any]]:
    """Yield styles for `count` lines, at most 28: colours first, then colours with dashes."""
    colours = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, BLACK)
    pairs = product(("-", "--", ":", "-."), colours)
    return ({"color": colour, "linestyle": dashes} for dashes, colour in islice(pairs, count))


def set_title(ax: Axes, text: str) -> None:
    """Set a left-aligned title."""
    ax.set_title(text, loc="left", fontsize="medium")


def add_legend(ax: Axes, place: str = "inside", labels: Sequence[str] | None = None, *, of: Axes | None = None) -> None:
    """Add a legend if there are labelled artists.

    Parameters
    ----------
    ax : matplotlib Axes
        Axes that the legend belongs to.
    place : str
        ``inside``, ``above`` (right-aligned, in one row) or ``beside``.
    labels : sequence of str, optional
        Labels in place of those of the artists.
    of : matplotlib Axes, optional
        Axes with the artists, if not `ax`.
    """
    handles, names = (of or ax).get_legend_handles_labels()
    if not handles:
        return
    options: dict[str, dict[str, Any]] = {
        "inside": {"loc": "best"},
        "above": {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "ncols": len(handles), "columnspacing": 1.2},
        "beside": {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)},
    }
    ax.legend(handles, names if labels is None else labels, frameon=False, handlelength=1.5, **options[place])


def add_note(ax: Axes, message: str) -> None:
    """Write into empty Axes why they are empty."""
    ax.text(0.5, 0.5, message, transform=ax.transAxes, ha="center", va="center", color=GREY)


def span(ticks: float) -> str:
    """Format a duration in ticks with three significant digits."""
    return format_ticks(round(float(f"{ticks:.3g}")))
