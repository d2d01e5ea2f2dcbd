"""Pictures with matplotlib, which comes with the extra ``plot`` and is imported when a picture is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blis_simpy.errors import PluginError
from blis_simpy.units import SECOND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from blis_simpy.workload.preview import Preview

__all__ = ["plot_preview"]

# Blue, orange, green of a palette that colour-blind readers can tell apart (Okabe and Ito).
_RATE, _PROMPT, _OUTPUT = "#0072B2", "#E69F00", "#009E73"
_MOST_CLIENTS = 12


def plot_preview(preview: Preview, axes: Sequence[Axes] | None = None) -> Sequence[Axes]:
    """Draw the rate over time, the lengths, and the shares of the clients of a workload side by side.

    Parameters
    ----------
    preview : Preview
        What to draw.
    axes : sequence of three matplotlib Axes, optional
        Where to; a new figure unless given.

    Returns
    -------
    sequence of matplotlib Axes
        The three that were drawn on.

    Raises
    ------
    PluginError
        If matplotlib is not installed.
    """
    rate, lengths, clients = _new_axes(3) if axes is None else axes
    edges, rates = preview.rate_over_time()
    rate.stairs(rates, edges / SECOND, color=_RATE, fill=True, alpha=0.7)
    rate.set(xlabel="time (s)", ylabel="requests/s", title="Rate", ylim=(0, None))
    for of, colour, label in (("input_tokens", _PROMPT, "prompt"), ("output_tokens", _OUTPUT, "output")):
        bounds, counts = preview.histogram(of, bins=30)  # type: ignore[arg-type]
        # The line keeps a single length visible.
        lengths.stairs(
            counts, bounds, facecolor=colour, edgecolor=colour, linewidth=1.5, fill=True, alpha=0.6, label=label
        )
    lengths.set(xlabel="tokens", ylabel="requests", title="Lengths")
    lengths.legend()
    shares = preview.client_shares()[:_MOST_CLIENTS]
    names = [share.client or "(no name)" for share in shares]
    clients.barh(range(len(shares)), [share.share for share in shares], color=_RATE, alpha=0.7)
    clients.set_yticks(range(len(shares)), names)
    clients.invert_yaxis()
    clients.set(xlabel="share of requests", title="Clients", xlim=(0, None))
    return rate, lengths, clients


def _new_axes(count: int) -> Any:
    try:
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise PluginError.at("plot", "needs matplotlib", hint="pip install blis-simpy[plot]") from error
    return plt.subplots(1, count, figsize=(4 * count, 3), layout="constrained")[1]
