"""``blis compose``: combine the clients of several workload specifications, as YAML on stdout."""

from __future__ import annotations

import logging
import math
import sys
from typing import TYPE_CHECKING

from blis_simpy.cli.common import LOG_FLAG, log_lines
from blis_simpy.cli.flags import Flag, read_flags
from blis_simpy.errors import Problem, ScenarioError
from blis_simpy.workload.compose import compose as combined
from blis_simpy.workload.load_workload import load_workload

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from blis_simpy.workload.workload_spec import WorkloadSpec

__all__ = ["compose"]

_log = logging.getLogger(__name__)

_FLAGS = (
    Flag(
        name="--from",
        target="from",
        hint=tuple[str, ...],
        help="File of a workload specification; can be repeated.",
    ),
    LOG_FLAG,
)
_NOT_CLIENTS = {
    "cohorts": "write the members as clients",
    "servegen_data": "convert it with 'blis convert servegen' first",
    "inference_perf": "convert it with 'blis convert inference-perf' first",
}
"""Sources of traffic that a composition cannot contain, with a remedy."""
_BOUNDS = ("seed", "horizon", "num_requests")


def compose(argv: Sequence[str]) -> None:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str
        Arguments after ``compose``.
    """
    about = "Combine the clients of several workload specifications; prints a specification (YAML)."
    given = read_flags(argv, _FLAGS, command="compose", about=about)
    if "from" not in given:
        raise ScenarioError(Problem(path="--from", rule="is required"))
    with log_lines(given.get("log")):
        specs = {str(file): load_workload(str(file)) for file in given["from"]}
        if problems := list(_lost_traffic(specs)):
            raise ScenarioError(problems)
        for file, spec in specs.items():
            _warn(file, spec)
        text = combined([specs[str(file)] for file in given["from"]]).to_yaml()
    sys.stdout.write(text)


def _lost_traffic(specs: Mapping[str, WorkloadSpec]) -> Iterator[Problem]:
    for file, spec in specs.items():
        for name, hint in _NOT_CLIENTS.items():
            if getattr(spec, name):
                yield Problem(path=name, rule="cannot be composed", file=file, hint=hint)


def _warn(file: str, spec: WorkloadSpec) -> None:
    """Warn of what the composition does not keep."""
    dropped = [name for name in _BOUNDS if getattr(spec, name)]
    if dropped:
        _log.warning("%s: %s not kept; set them in the result", file, ", ".join(dropped))
    total = sum(client.rate_fraction for client in spec.clients if not client.has_own_rates)
    if not spec.has_own_rates and not math.isclose(total, 1.0, rel_tol=1e-6):
        _log.warning(
            "%s: rate fractions add up to %g, not 1: in the result the weight of its clients is multiplied by %g",
            file,
            total,
            total,
        )
