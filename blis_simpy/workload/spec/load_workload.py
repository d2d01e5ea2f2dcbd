"""Workload specifications from YAML: strict keys, all problems at once, each with its line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from blis_simpy.settings import loader
from blis_simpy.settings.convert import structure
from blis_simpy.workload.spec.upgrade import upgraded
from blis_simpy.workload.spec.workload_spec import WorkloadSpec

if TYPE_CHECKING:
    from os import PathLike

    from blis_simpy.settings.loader import Document

__all__ = ["load_workload", "read_workload", "workload_schema"]


def load_workload(path: str | PathLike[str]) -> WorkloadSpec:
    """Read a workload specification from a YAML file; version 1 is upgraded with a warning.

    Parameters
    ----------
    path : str or path-like
        The file.

    Raises
    ------
    ScenarioError
        If the file cannot be read or something in it is wrong: all problems at once, with their lines.
    """
    return read_workload(loader.load(path))


def read_workload(source: Document | Mapping[str, Any]) -> WorkloadSpec:
    """Make a workload specification from plain data; version 1 is upgraded with a warning.

    Parameters
    ----------
    source : Document or mapping
        A YAML document, whose file and lines then stand in the errors, or data made in Python.

    Raises
    ------
    ScenarioError
        With one problem for every unknown or missing key, wrong type and broken rule.
    """
    data: Any = source if isinstance(source, Mapping) else source.data
    new = upgraded(data)
    return structure(new if isinstance(source, Mapping) else source.with_data(new), WorkloadSpec, lenient=True)


def workload_schema() -> dict[str, Any]:
    """Describe files that `load_workload` reads, in version 2.

    Returns
    -------
    dict of str to object
        A JSON Schema (draft 2020-12), with the arrival processes and length laws that are installed.
    """
    from blis_simpy.settings.schema import DIALECT, SchemaWriter  # rarely asked for

    writer = SchemaWriter(lenient=True)
    specification = {
        **writer.mapping(WorkloadSpec),
        "anyOf": [{"required": [source]} for source in ("clients", "cohorts", "servegen_data", "inference_perf")],
    }
    return {"$schema": DIALECT, "title": "Workload specification", **specification, "$defs": writer.definitions}
