"""``blis workload``: show the traffic of a workload specification or of a scenario without serving it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blis_simpy.cli.common import LOG_FLAG, find_scenario, log_lines, named_by_origin
from blis_simpy.cli.flags import Flag, read_flags
from blis_simpy.errors import Problem, ScenarioError
from blis_simpy.load_files import load_scenario
from blis_simpy.settings import loader
from blis_simpy.settings.updates import updated
from blis_simpy.workload.load_workload import load_workload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from blis_simpy.workload.preview import Preview

__all__ = ["workload"]

_SAMPLE_FLAGS = (
    Flag(name="--seed", target="seed", hint=int, help="Seed of the sample, in place of that of the file."),
    Flag(
        name="--num-requests",
        target="num_requests",
        hint=int,
        help="Number of requests, in place of that of the file; 0 means all that arrive before the horizon.",
    ),
    Flag(name="--horizon", target="horizon", hint=int, help="End of the sample: ticks, or text such as 2s.", absent=""),
)


def workload(argv: Sequence[str]) -> None:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str
        Words after ``workload``: the file of a specification or a scenario, or the name of a shipped scenario; then
        flags.
    """
    file = argv[0] if argv and not argv[0].startswith("-") else None
    flags = (*_SAMPLE_FLAGS, LOG_FLAG)
    about = "Show the traffic of a workload specification or a scenario: rate over time, lengths, share of each client."
    given = read_flags(argv if file is None else argv[1:], flags, command="workload FILE", about=about)
    if file is None:
        raise ScenarioError(Problem(path="workload", rule="needs a file or the name of a scenario"))
    with log_lines(given.pop("log", None)), named_by_origin(None, flags, given):
        path = find_scenario(file)
        assert path is not None
        preview = _preview(path, given)
    from blis_simpy.display.text_table import print_page
    from blis_simpy.display.workload_page import preview_page

    print_page(preview_page(preview))


def _preview(path: Path, given: Mapping[str, Any]) -> Preview:
    """Draw the traffic that a run of the file with the same seed simulates."""
    data: Any = loader.load(path).data
    if "model" not in data:
        return updated(load_workload(path), given).preview()
    inside = {"num_requests": "workload.num_requests"}
    return load_scenario(path).with_(**{inside.get(name, name): value for name, value in given.items()}).preview()
