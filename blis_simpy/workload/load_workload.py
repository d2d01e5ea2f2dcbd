"""Reads workload specifications from YAML, and reports all unknown keys and other errors together, with lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from blis_simpy.settings import loader
from blis_simpy.settings.convert import structure
from blis_simpy.workload.inference_perf_config import is_configuration, read_configuration
from blis_simpy.workload.spec.reference_format import TENANT_KEY, from_reference
from blis_simpy.workload.workload_spec import WorkloadSpec

if TYPE_CHECKING:
    from os import PathLike

    from blis_simpy.settings.loader import Document

__all__ = ["load_workload", "read_workload", "workload_schema"]


def load_workload(path: str | PathLike[str]) -> WorkloadSpec:
    """Read a workload specification from a YAML file, in our format or in that of BLIS.

    Parameters
    ----------
    path : str or path-like
        The file, or a configuration of the inference-perf benchmark. Version 1 is upgraded with a warning.

    Raises
    ------
    ScenarioError
        If the file cannot be read or is invalid; all problems together, with their lines.
    """
    document = loader.load(path)
    return read_configuration(document) if is_configuration(document.data) else read_workload(document)


def read_workload(source: Document | Mapping[str, Any]) -> WorkloadSpec:
    """Make a workload specification from plain data, in our format or in that of BLIS.

    Parameters
    ----------
    source : Document or mapping
        A YAML document, whose file and lines the errors name, or data made in Python. Version 1 is upgraded with a
        warning.

    Raises
    ------
    ScenarioError
        With one problem for every unknown or missing key, wrong type and broken rule.
    """
    data: Any = source if isinstance(source, Mapping) else source.data
    new = from_reference(data)
    return structure(new if isinstance(source, Mapping) else source.with_data(new), WorkloadSpec, lenient=True)


def workload_schema() -> dict[str, Any]:
    """JSON Schema of the files that `load_workload` reads, in version 2.

    Returns
    -------
    dict of str to object
        A JSON Schema (draft 2020-12) with the arrival processes and length distributions that are installed.
    """
    from blis_simpy.settings.schema import DIALECT, SchemaWriter  # rarely needed

    writer = SchemaWriter(lenient=True)
    specification = {
        **writer.mapping(WorkloadSpec),
        "anyOf": [{"required": [origin]} for origin in ("clients", "cohorts", "servegen_data", "inference_perf")],
    }
    for name in ("Client", "Cohort"):
        properties = writer.definitions[name]["properties"]
        properties[TENANT_KEY] = {**properties["tenant"], "description": "The same as tenant, in files of BLIS."}
    return {"$schema": DIALECT, "title": "Workload specification", **specification, "$defs": writer.definitions}
