"""Entry point of the program ``blis``. It imports nothing, so that Control-C is one line from the start."""

from __future__ import annotations

import atexit
import gc
import os
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
    if argv is None:
        # A simulation multiplies no large matrices, and starting a thread per core takes longer than a short command.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        # The memory of the process is freed with it: the interpreter's own last collections would take a third of the
        # time of a short command.
        atexit.register(gc.freeze)
    try:
        if argv is None:
            from blis_simpy.core.garbage import collect_rarely

            collect_rarely()
        from blis_simpy.cli.program import program

        return program(argv)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
