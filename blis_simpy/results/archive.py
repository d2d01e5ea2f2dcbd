"""Saved results: the record of a run in one archive.

Columns are arrays in numpy's format, other figures JSON, and the scenario YAML, so that other programs can read it. The
time that the run took is not kept: the same run gives the same bytes.
"""

from __future__ import annotations

import json
from math import nan
from os import fspath
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.cluster.decision_log import DecisionLog
from blis_simpy.core.slo_targets import SLOTargets
from blis_simpy.core.table import Table
from blis_simpy.errors import ScenarioError
from blis_simpy.files.zip_archive import read_archive, write_archive
from blis_simpy.network.record import NetworkRecord, TransferTable
from blis_simpy.recorded_workloads import RequestWorkload, TraceWorkload
from blis_simpy.replica.kv_tier import TierTable
from blis_simpy.replica.log import StepLog
from blis_simpy.results.legs import LegTable
from blis_simpy.results.requests import RequestTable
from blis_simpy.results.run_record import ReplicaOutcome
from blis_simpy.results.token_gaps import StepGaps
from blis_simpy.settings.fields import evolved
from blis_simpy.settings.serialize import to_plain, to_yaml
from blis_simpy.trace_files.trace import Trace
from blis_simpy.workload.request_builders import RequestDetails

if TYPE_CHECKING:
    from os import PathLike

    from blis_simpy.results.run_record import RunRecord
    from blis_simpy.scenario_settings import ScenarioSettings

__all__ = ["read_run", "write_run"]

_ROWS = ("rejected", "slowed", "off_critical_path", "restarts")
_NETWORK = ("transfers", "links", "loads")
_ARRAYS = ("rows", "skipped_tokens", "segments", "carried_gaps", "preemptions", "resumptions", "placed")


def write_run(path: str | PathLike[str], record: RunRecord) -> None:
    """Write the record of a run into a file, whole or not at all.

    Raises
    ------
    ScenarioError
        If the file cannot be written, or the scenario holds a value that is no plain data.
    """
    others = (*_ARRAYS, "step_gaps")
    is_scalar = attrs.filters.exclude(*(getattr(attrs.fields(ReplicaOutcome), name) for name in others))
    figures = {
        "seed": record.seed,
        "is_over": record.is_over,
        "observed_at": record.observed_at,
        "routing_rejections": record.routing_rejections,
        "replicas": [attrs.asdict(replica, filter=is_scalar) for replica in record.replicas],
        "gaps_include_pauses": [replica.step_gaps.includes_pauses for replica in record.replicas],
        "samples": len(record.samples),
        "details": {name: attrs.asdict(modalities) for name, modalities in record.details.items()},
        "slo_targets": {str(row): to_plain(targets) for row, targets in record.slo_targets.items()},
        "decisions": record.decisions.to_plain() if record.decisions is not None else None,
    }
    arrays = {name: getattr(record, name) for name in _ROWS}
    for index, table in enumerate(record.samples):
        arrays |= {f"samples/{index}/{name}": column for name, column in table.items()}
    for part in _NETWORK:
        arrays |= {f"network/{part}/{name}": column for name, column in getattr(record.network, part).items()}
    arrays |= {f"kv_tiers/{name}": column for name, column in record.kv_tiers.items()}
    arrays |= {f"requests/{name}": column for name, column in record.requests.items()}
    arrays |= {f"legs/{name}": column for name, column in record.legs.items()}
    for index, (replica, log) in enumerate(zip(record.replicas, record.steps, strict=True)):
        arrays |= {f"replicas/{index}/{name}": getattr(replica, name) for name in _ARRAYS}
        arrays |= {f"steps/{index}/{name}": array for name, array in log.to_arrays().items()}
    write_archive(
        path,
        {
            "scenario.yaml": to_yaml(to_plain(_writable(record.scenario), stand_ins=True)),
            "figures.json": json.dumps(figures),
        },
        arrays,
    )


def _writable(scenario: ScenarioSettings) -> ScenarioSettings:
    """Return a scenario without a workload that is no settings, but requests or a trace in memory."""
    workload = scenario.workload
    is_trace = isinstance(workload, TraceWorkload) and isinstance(workload.trace, Trace)
    return evolved(scenario, workload=None) if is_trace or isinstance(workload, RequestWorkload) else scenario


def read_run(path: str | PathLike[str]) -> tuple[str, dict[str, Any]]:
    """Read the record of a run.

    Returns
    -------
    scenario : str
        The scenario as YAML.
    parts : dict of str to object
        The other attributes of the `RunRecord` by name.

    Raises
    ------
    ScenarioError
        If the file cannot be read or is not a saved result.
    """
    texts, arrays = read_archive(path)
    try:
        figures, scenario = json.loads(texts["figures.json"]), texts["scenario.yaml"]

        def part(prefix: str) -> dict[str, Any]:
            return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}

        steps = [StepLog.of_arrays(part(f"steps/{index}/")) for index in range(len(figures["replicas"]))]
        gaps = map(StepGaps, steps, figures["gaps_include_pauses"])
        replicas = [
            ReplicaOutcome(**scalars, **part(f"replicas/{index}/"), step_gaps=step_gaps)
            for index, (scalars, step_gaps) in enumerate(zip(figures["replicas"], gaps, strict=True))
        ]
        return scenario, {
            "seed": figures["seed"],
            "is_over": figures["is_over"],
            "observed_at": figures["observed_at"],
            "requests": RequestTable.of(part("requests/")),
            "legs": LegTable.of(part("legs/")),
            "replicas": replicas,
            "steps": steps,
            **{name: arrays[name] for name in _ROWS},
            "routing_rejections": figures["routing_rejections"],
            "details": {name: RequestDetails(**details) for name, details in figures["details"].items()},
            "slo_targets": {int(row): SLOTargets(**given) for row, given in figures["slo_targets"].items()},
            "decisions": DecisionLog.of_plain(figures["decisions"]) if figures["decisions"] is not None else None,
            "samples": [Table.of(part(f"samples/{index}/")) for index in range(figures["samples"])],
            "network": NetworkRecord(
                TransferTable.of(part("network/transfers/")),
                *(Table.of(part(f"network/{name}/")) for name in _NETWORK[1:]),
            ),
            "kv_tiers": TierTable.of(part("kv_tiers/")),
            "wall_clock_s": nan,
        }
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ScenarioError.at("", f"is not a result of this version: {error!r}", file=fspath(path)) from None
