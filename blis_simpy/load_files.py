"""Reads scenarios and saved results from files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from blis_simpy.cluster.settings import ReplicaGroup
from blis_simpy.errors import ScenarioError, nearest
from blis_simpy.files.paths import exists, is_regular
from blis_simpy.scenario import Scenario
from blis_simpy.settings import loader
from blis_simpy.settings.convert import structure
from blis_simpy.settings.description import setting_of
from blis_simpy.settings.fields import evolved, fields_of
from blis_simpy.settings.saved_plugin import with_saved_plugins

if TYPE_CHECKING:
    from os import PathLike

    from blis_simpy.recorded_workloads import TraceWorkload
    from blis_simpy.results.result import Result

__all__ = ["load_result", "load_scenario", "parse_scenario", "scenario_schema", "shipped_scenarios"]

_Part = TypeVar("_Part", Scenario, ReplicaGroup, "TraceWorkload")


def load_scenario(path: str | PathLike[str]) -> Scenario:
    """Read a scenario from a YAML file.

    Parameters
    ----------
    path : str or path-like
        The file, or the name of a shipped scenario, such as ``quickstart``. Paths inside a file are relative to its
        folder.

    Raises
    ------
    ScenarioError
        If the file cannot be read or something in it is wrong; all problems together, with their lines.
    """
    path = Path(path)
    if len(path.parts) == 1 and not path.suffix and not exists(path):
        shipped = shipped_scenarios()
        if str(path) not in shipped:
            raise ScenarioError.at(
                "",
                "is neither a file nor a shipped scenario",
                file=str(path),
                hint=nearest(str(path), shipped),
            )
        path = shipped[str(path)]
    return _scenario(loader.load(path), path.parent)


def parse_scenario(text: str) -> Scenario:
    """Read a scenario from YAML text, such as `Scenario.to_yaml` gives.

    Raises
    ------
    ScenarioError
        If something in it is wrong; all problems together, with their lines.
    """
    return _scenario(loader.parse(text), Path())


def _scenario(document: loader.Document, folder: Path) -> Scenario:
    assert isinstance(document.data, dict)
    workload = document.data.get("workload")
    if isinstance(workload, str):
        document = document.with_data({**document.data, "workload": folder / workload})
    scenario = structure(document, Scenario)
    if isinstance(workload, Mapping) and "trace" in workload:
        from blis_simpy.recorded_workloads import TraceWorkload  # few scenarios have one

        assert isinstance(scenario.workload, TraceWorkload)
        scenario = evolved(scenario, workload=_relative_to(folder, scenario.workload))
    groups = tuple(_relative_to(folder, group) for group in scenario.groups)
    return evolved(_relative_to(folder, scenario), groups=groups)


def _relative_to(folder: Path, part: _Part) -> _Part:
    inside: dict[str, Any] = {
        attribute.name: str(folder / value)
        for attribute in fields_of(type(part))
        if setting_of(attribute).is_path
        and (value := getattr(part, attribute.name)) is not None
        and not Path(value).is_absolute()
    }
    return evolved(part, **inside)


def scenario_schema() -> dict[str, Any]:
    """Describe files that `load_scenario` reads.

    Returns
    -------
    dict of str to object
        A JSON Schema (draft 2020-12), with the installed plug-ins. It has no rules between settings: a file that fits
        the schema may still be refused.
    """
    from blis_simpy.recorded_workloads import RequestWorkload, TraceWorkload
    from blis_simpy.session_workload import SessionWorkload
    from blis_simpy.settings.schema import DIALECT, SchemaWriter  # rarely asked for
    from blis_simpy.workload.load_workload import workload_schema
    from blis_simpy.workload.users import UserWorkload

    writer = SchemaWriter()
    scenario = writer.mapping(Scenario)
    specification = workload_schema()
    del specification["$schema"]
    traffic = scenario["properties"]["workload"]
    traffic["anyOf"] = [
        {"type": "string", "description": "File of a workload specification."},
        {"$ref": "#/$defs/WorkloadSpec"},
        writer.reference(UserWorkload),
        writer.reference(SessionWorkload),
        writer.reference(TraceWorkload),
        writer.reference(RequestWorkload),
        *traffic["anyOf"],
    ]
    definitions = {**writer.definitions, **specification.pop("$defs"), "WorkloadSpec": specification}
    return {"$schema": DIALECT, "title": "Scenario", **scenario, "$defs": definitions}


def shipped_scenarios() -> dict[str, Path]:
    """Return the shipped scenario files, by name.

    Those of a checkout come first: an editable install has no copy of them in the package.
    """
    package = Path(__file__).resolve().parent
    checkout = package.parent / "scenarios"
    folder = checkout if is_regular(package.parent / "pyproject.toml") else package / "data" / "scenarios"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_result(path: str | PathLike[str]) -> Result:
    """Read a result that `Result.save` wrote.

    Raises
    ------
    ScenarioError
        If the file cannot be read or is not a saved result.
    """
    # Imported here, because numpy takes longer to import than a scenario to load.
    from blis_simpy.results.archive import read_run
    from blis_simpy.results.result import Result
    from blis_simpy.results.run_record import RunRecord

    scenario, parts = read_run(path)
    document = loader.parse(scenario)
    document = document.with_data(with_saved_plugins(document.data))
    return Result(RunRecord(scenario=_scenario(document, Path()), **parts))
