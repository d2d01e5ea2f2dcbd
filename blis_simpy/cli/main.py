"""Entry point of the program ``blis``. It imports nothing, so that Control-C is one line from the start."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program.

    Parameters
    ----------
    argv : sequence of str
        Words after the program's name; those of the process if not given.

    Returns
    -------
    int
        Exit status.
    """
    try:
        from blis_simpy.cli.program import program

        return program(argv)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
