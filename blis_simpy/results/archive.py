"""Saved results: what a run left behind, in one archive.

Columns are arrays in numpy's format, figures JSON, and the scenario is YAML, so that other programs can read the file,
too. What is in it are the arguments of `Result`.
"""

from __future__ import annotations

import json
from os import fspath
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.cluster.decision_log import DecisionLog
from blis_simpy.errors import ScenarioError
from blis_simpy.files.zip_archive import read_archive, write_archive
from blis_simpy.replica.log import StepLog
from blis_simpy.results.aggregate import ReplicaOutcome
from blis_simpy.results.requests import RequestTable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from numpy.typing import NDArray

    from blis_simpy.scenario_settings import ScenarioSettings
    from blis_simpy.workload.request_builders import RequestDetails

__all__ = ["read_run", "write_run"]

_ARRAYS = ("rows", "durations", "skipped_tokens", "preemptions")


def write_run(
    path: str | PathLike[str],
    *,
    scenario: ScenarioSettings,
    seed: int,
    requests: RequestTable,
    replicas: Sequence[ReplicaOutcome],
    steps: Sequence[StepLog],
    rejected: NDArray[Any],
    slowed: NDArray[Any],
    routing_rejections: int,
    details: Mapping[str, RequestDetails],
    decisions: DecisionLog | None,
    wall_clock_s: float,
) -> None:
    """Write the parts of a result into a file, whole or not at all.

    Raises
    ------
    ScenarioError
        If the file cannot be written, or the scenario holds a policy that has no registered name.
    """
    is_scalar = attrs.filters.exclude(*(getattr(attrs.fields(ReplicaOutcome), name) for name in _ARRAYS))
    figures = {
        "seed": seed,
        "routing_rejections": routing_rejections,
        "wall_clock_s": wall_clock_s,
        "replicas": [attrs.asdict(replica, filter=is_scalar) for replica in replicas],
        "details": {name: attrs.asdict(modalities) for name, modalities in details.items()},
        "decisions": decisions.to_plain() if decisions is not None else None,
    }
    arrays = {"rejected": rejected, "slowed": slowed}
    arrays |= {f"requests/{name}": requests[name] for name in requests}
    for index, (replica, log) in enumerate(zip(replicas, steps, strict=True)):
        arrays |= {f"replicas/{index}/{name}": getattr(replica, name) for name in _ARRAYS}
        arrays |= {f"steps/{index}/{name}": array for name, array in log.to_arrays().items()}
    write_archive(path, {"scenario.yaml": scenario.to_yaml(), "figures.json": json.dumps(figures)}, arrays)


def read_run(path: str | PathLike[str]) -> tuple[str, dict[str, Any]]:
    """Read the parts of a result.

    Returns
    -------
    scenario : str
        The scenario as YAML.
    parts : dict of str to object
        The other arguments of `write_run` by name.

    Raises
    ------
    ScenarioError
        If the file cannot be read or is none of ours.
    """
    from blis_simpy.workload.request_builders import RequestDetails  # few runs have any

    texts, arrays = read_archive(path)
    try:
        figures, scenario = json.loads(texts["figures.json"]), texts["scenario.yaml"]

        def part(prefix: str) -> dict[str, Any]:
            return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}

        replicas = [
            ReplicaOutcome(**scalars, **part(f"replicas/{index}/")) for index, scalars in enumerate(figures["replicas"])
        ]
        return scenario, {
            "seed": figures["seed"],
            "requests": RequestTable.of(part("requests/")),
            "replicas": replicas,
            "steps": [StepLog.of_arrays(part(f"steps/{index}/")) for index in range(len(replicas))],
            "rejected": arrays["rejected"],
            "slowed": arrays["slowed"],
            "routing_rejections": figures["routing_rejections"],
            "details": {name: RequestDetails(**details) for name, details in figures["details"].items()},
            "decisions": DecisionLog.of_plain(figures["decisions"]) if figures["decisions"] is not None else None,
            "wall_clock_s": figures["wall_clock_s"],
        }
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ScenarioError.at("", f"is no result of this version: {error!r}", file=fspath(path)) from None
