"""Where pictures are drawn: new figures in one style, and colours that all readers can tell apart.

matplotlib comes with the extra ``plot`` and is imported when a picture is drawn. Its global settings stay as they are.
"""

from __future__ import annotations

from itertools import islice, product
from typing import TYPE_CHECKING, Any

from blis_simpy.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

__all__ = ["BLACK", "BLUE", "GREEN", "GREY", "ORANGE", "PURPLE", "SKY", "VERMILLION", "line_styles", "new_axes", "say"]

# The palette of Okabe and Ito without its yellow, which is hard to see on white.
BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, BLACK, GREY = "#CC79A7", "#56B4E9", "#000000", "#7F7F7F"

WIDTH_IN = 9.0
"""Width of a picture in inches, about that of a notebook cell."""

_STYLE = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "grid.alpha": 0.4,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}


def new_axes(rows: int = 1, columns: int = 1, *, height: float, **options: Any) -> NDArray[np.object_]:
    """Make a figure.

    Parameters
    ----------
    rows, columns : int
        How many Axes below and beside each other.
    height : float, inches
        Of the figure.
    **options
        More arguments of ``matplotlib.pyplot.subplots``.

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
    with plt.rc_context(_STYLE):
        options = {"figsize": (WIDTH_IN, height), "layout": "constrained", "squeeze": False, **options}
        axes: NDArray[np.object_] = plt.subplots(rows, columns, **options)[1]
    return axes


def line_styles(count: int) -> Iterator[dict[str, Any]]:
    """Colours, and once they are used up colours and dashes, for `count` lines, at most 28."""
    colours = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, BLACK)
    pairs = product(("-", "--", ":", "-."), colours)
    return ({"color": colour, "linestyle": dashes} for dashes, colour in islice(pairs, count))


def say(ax: Axes, message: str) -> None:
    """Write into an empty picture why it is empty."""
    ax.text(0.5, 0.5, message, transform=ax.transAxes, ha="center", va="center", color=GREY)
