"""Scenarios and saved results, read from files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from blis_simpy.cluster.settings import ReplicaGroup
from blis_simpy.errors import Problem, ScenarioError, joined, nearest
from blis_simpy.results.archive import read_run
from blis_simpy.results.result import Result
from blis_simpy.results.run_record import RunRecord
from blis_simpy.scenario import Scenario
from blis_simpy.settings import fields, loader
from blis_simpy.settings.convert import structure

if TYPE_CHECKING:
    from os import PathLike

    from blis_simpy.workload.workload_spec import WorkloadSpec

__all__ = ["load_result", "load_scenario", "parse_scenario", "scenario_schema", "shipped_scenarios"]

# What tells a specification, client by client, from the settings of one stream of requests.
_SPECIFICATION_KEYS = frozenset({"clients", "cohorts", "aggregate_rate", "servegen_data", "inference_perf"})

_Part = TypeVar("_Part", Scenario, ReplicaGroup)


def load_scenario(path: str | PathLike[str]) -> Scenario:
    """Read a scenario from a YAML file.

    Parameters
    ----------
    path : str or path-like
        The file, or the name of a scenario that is shipped, such as ``quickstart``. Paths inside it are relative to its
        folder.

    Raises
    ------
    ScenarioError
        If the file cannot be read or something in it is wrong: all problems at once, with their lines.
    """
    path = Path(path)
    if len(path.parts) == 1 and not path.suffix and not path.exists():
        shipped = shipped_scenarios()
        if str(path) not in shipped:
            raise ScenarioError.at(
                "",
                "is neither a file nor a scenario that is shipped",
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
        If something in it is wrong: all problems at once, with their lines.
    """
    return _scenario(loader.parse(text), Path())


def _scenario(document: loader.Document, folder: Path) -> Scenario:
    specification: WorkloadSpec | None = None
    scenario: Scenario | None = None
    problems: list[Problem] = []
    try:
        specification = _specification(document, folder)
    except ScenarioError as error:
        problems += error.problems
    try:
        scenario = structure(document, Scenario)
    except ScenarioError as error:
        problems += error.problems
    if problems or scenario is None:
        raise ScenarioError(sorted(problems, key=lambda problem: problem.line or 0))
    if specification is not None:
        scenario = attrs.evolve(scenario, workload=specification)
    groups = tuple(_relative_to(folder, group) for group in scenario.groups)
    return attrs.evolve(_relative_to(folder, scenario), groups=groups)


def _specification(document: loader.Document, folder: Path) -> WorkloadSpec | None:
    """Take the workload out of a scenario if it is a specification, by file name or in place."""
    # Few scenarios have one, and its classes take a while to make.
    from blis_simpy.workload.load_workload import load_workload, read_workload

    assert isinstance(document.data, dict)
    workload = document.data.get("workload")
    if isinstance(workload, str):
        del document.data["workload"]
        return load_workload(folder / workload)
    if not isinstance(workload, dict) or _SPECIFICATION_KEYS.isdisjoint(workload):
        return None
    part = document.part("workload")
    del document.data["workload"]
    try:
        return read_workload(part)
    except ScenarioError as error:
        inside = [attrs.evolve(problem, path=joined("workload", problem.path)) for problem in error.problems]
        raise ScenarioError(inside) from None


def _relative_to(folder: Path, part: _Part) -> _Part:
    inside: dict[str, Any] = {
        attribute.name: str(folder / value)
        for attribute in attrs.fields(type(part))
        if fields.of(attribute).is_path
        and (value := getattr(part, attribute.name)) is not None
        and not Path(value).is_absolute()
    }
    return attrs.evolve(part, **inside)


def scenario_schema() -> dict[str, Any]:
    """Describe files that `load_scenario` reads.

    Returns
    -------
    dict of str to object
        A JSON Schema (draft 2020-12), with the plug-ins that are installed. Rules that hold between settings are not
        in it: a file that fits the schema may still be refused.
    """
    from blis_simpy.settings.schema import DIALECT, SchemaWriter  # rarely asked for
    from blis_simpy.workload.load_workload import workload_schema

    writer = SchemaWriter()
    scenario = writer.mapping(Scenario)
    specification = workload_schema()
    del specification["$schema"]
    traffic = scenario["properties"]["workload"]
    traffic["anyOf"] = [
        {"type": "string", "description": "File of a workload specification."},
        {"$ref": "#/$defs/WorkloadSpec"},
        *traffic["anyOf"],
    ]
    definitions = {**writer.definitions, **specification.pop("$defs"), "WorkloadSpec": specification}
    return {"$schema": DIALECT, "title": "Scenario", **scenario, "$defs": definitions}


def shipped_scenarios() -> dict[str, Path]:
    """Scenario files that come with the library, by name.

    A checkout's own come first: an editable install leaves no copy of them in the package.
    """
    package = Path(__file__).resolve().parent
    checkout = package.parent / "scenarios"
    folder = checkout if (package.parent / "pyproject.toml").is_file() else package / "data" / "scenarios"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_result(path: str | PathLike[str]) -> Result:
    """Read a result that `Result.save` wrote.

    Raises
    ------
    ScenarioError
        If the file cannot be read or is not a saved result.
    """
    scenario, parts = read_run(path)
    return Result(RunRecord(scenario=parse_scenario(scenario), **parts))
