"""``blis workload``: look at the traffic of a workload specification without serving it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.cli.common import LOG_FLAG, log_lines, named_by_origin
from blis_simpy.cli.flags import Flag, read_flags
from blis_simpy.errors import Problem, ScenarioError
from blis_simpy.settings.updates import updated
from blis_simpy.workload.spec.load_workload import load_workload

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["workload"]

_SPEC_FLAGS = (
    Flag(name="--seed", target="seed", hint=int, help="Seed of the sample; that of the specification unless given."),
    Flag(
        name="--num-requests",
        target="num_requests",
        hint=int,
        help="Number of requests of the sample; that of the specification unless given; 0 means up to the horizon.",
    ),
    Flag(
        name="--horizon",
        target="horizon",
        hint=int,
        help="End of the sample, in ticks or as text such as 2s.",
        absent="",
    ),
)


def workload(argv: Sequence[str]) -> None:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str
        Words after ``workload``: the file of the specification, then flags.
    """
    file = argv[0] if argv and not argv[0].startswith("-") else None
    flags = (*_SPEC_FLAGS, LOG_FLAG)
    about = "Summarize one sample of a workload specification: rate over time, lengths, shares of the clients."
    given = read_flags(argv if file is None else argv[1:], flags, command="workload SPEC", about=about)
    if file is None:
        raise ScenarioError(Problem(path="workload", rule="needs the file of a specification as its first argument"))
    with log_lines(given.pop("log", None)), named_by_origin(None, flags, given):
        preview = updated(load_workload(file), given).preview()
    from blis_simpy.display.workload_page import print_preview

    print_preview(preview)
