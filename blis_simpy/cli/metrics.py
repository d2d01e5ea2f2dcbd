"""``blis metrics``: list the metrics of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.cli.flags import read_flags

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["metrics"]


def metrics(argv: Sequence[str]) -> None:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str
        Arguments after ``metrics``.
    """
    about = "List the metrics of a run: names for --metrics, --slo and result.metric, units and definitions."
    read_flags(argv, (), command="metrics", about=about)
    from blis_simpy.display.metric_page import metric_page
    from blis_simpy.display.text_table import print_page

    print_page(metric_page())
