"""Plot of the preview of a workload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.display.figure_style import BLUE, GREEN, ORANGE, new_axes
from blis_simpy.units import SECOND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from blis_simpy.workload.preview import Preview

__all__ = ["plot_preview"]

_MOST_CLIENTS = 12


def plot_preview(preview: Preview, axes: Sequence[Axes] | None = None) -> Sequence[Axes]:
    """Draw rate over time, lengths, and shares of clients of a workload side by side.

    Parameters
    ----------
    preview : Preview
        Object to draw.
    axes : sequence of three matplotlib Axes, optional
        Axes to draw on; default is a new figure.

    Returns
    -------
    sequence of matplotlib Axes
        The three Axes.

    Raises
    ------
    PluginError
        If matplotlib is not installed.
    """
    rate, lengths, clients = new_axes(1, 3, height=3)[0] if axes is None else axes
    edges, rates = preview.rate_over_time()
    rate.stairs(rates, edges / SECOND, color=BLUE, fill=True, alpha=0.7)
    rate.set(xlabel="time (s)", ylabel="requests/s", title="Rate", ylim=(0, None))
    for of, colour, label in (("input_tokens", ORANGE, "prompt"), ("output_tokens", GREEN, "output")):
        bounds, counts = preview.histogram(of, bins=30)  # type: ignore[arg-type]
        # The line keeps a single length visible.
        lengths.stairs(
            counts, bounds, facecolor=colour, edgecolor=colour, linewidth=1.5, fill=True, alpha=0.6, label=label
        )
    lengths.set(xlabel="tokens", ylabel="requests", title="Lengths")
    lengths.legend()
    shares = preview.client_shares()[:_MOST_CLIENTS]
    names = [share.client or "(no name)" for share in shares]
    clients.barh(range(len(shares)), [share.share for share in shares], color=BLUE, alpha=0.7)
    clients.set_yticks(range(len(shares)), names)
    clients.invert_yaxis()
    clients.set(xlabel="share of requests", title="Clients", xlim=(0, None))
    return rate, lengths, clients
