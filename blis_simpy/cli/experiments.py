"""Parts that the commands of experiments share: flags, loading of scenarios, executors and outputs.

``--set PATH=VALUE`` replaces the flags that ``blis run`` has for single settings. Its value is read as in a scenario
file.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import warnings
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import numpy as np

from blis_simpy.cli.common import LOG_FLAG, find_scenario
from blis_simpy.cli.flags import Flag
from blis_simpy.display.report_page import check_report_path
from blis_simpy.errors import BlisError, PluginError, Problem, ScenarioError
from blis_simpy.experiment.design_points import changed_scenario, setting_label
from blis_simpy.experiment.measurement import DEFAULT_METRICS
from blis_simpy.experiment.runner import EXECUTORS
from blis_simpy.experiment.store import Store
from blis_simpy.export.tables import check_table_path, write_table
from blis_simpy.files.text_files import check_writable
from blis_simpy.load_files import load_scenario
from blis_simpy.settings.loader import parse_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from blis_simpy.display.text_table import TextTable
    from blis_simpy.scenario import Scenario

__all__ = [
    "EXPERIMENT_FLAGS",
    "check_files",
    "connected",
    "engine_options",
    "load_words",
    "pair",
    "read_value",
    "resumable",
    "show",
    "shown_warnings",
    "with_settings",
    "write_files",
]

_log = logging.getLogger(__name__)

_Item = TypeVar("_Item")

_OUTPUTS = (
    Flag(
        name="--results",
        target="results",
        help="Write the results as a table: .csv, .json, .parquet, .csv.gz or .json.gz.",
        absent="",
    ),
    Flag(name="--runs", target="runs", help="Write a table with one row per run, in the same formats.", absent=""),
    Flag(
        name="--html",
        target="html",
        help="Write a report with plots, as one self-contained HTML file.",
        absent="",
    ),
)

EXPERIMENT_FLAGS = (
    Flag(
        name="--set",
        target="set",
        hint=list[str],
        help="Value of a setting, as PATH=VALUE: engine.max_num_seqs=8; can be repeated.",
    ),
    Flag(
        name="--metrics",
        target="metrics",
        hint=tuple[str, ...],
        help="Metrics to report.",
        default=",".join(DEFAULT_METRICS),
    ),
    Flag(
        name="--warm-up",
        target="warm_up",
        help="Exclude requests that arrive before this time from the metrics: 30s, or mser to estimate it.",
    ),
    Flag(
        name="--confidence",
        target="confidence",
        hint=float,
        help="Confidence level of intervals and verdicts.",
        default=0.95,
    ),
    Flag(
        name="--seed",
        target="seed",
        hint=int,
        help="Seed of the experiment, from which the seeds of its runs are derived; that of the scenario unless given.",
    ),
    Flag(
        name="--executor",
        target="executor",
        choices=tuple(EXECUTORS),
        help="Executor of the runs: processes of this machine, or a cluster.",
        default="loky",
    ),
    Flag(name="--workers", target="workers", hint=int, help="Number of runs at a time; one per core unless given."),
    Flag(
        name="--cluster",
        target="cluster",
        help="Address of the cluster: tcp://HOST:8786 of a Dask scheduler, HOST:6379 of Ray, or auto.",
    ),
    Flag(
        name="--store",
        target="store",
        help="Folder that keeps every run, so that an interrupted experiment continues where it stopped.",
        absent="",
    ),
    *_OUTPUTS,
    Flag(name="--report", target="report", choices=("summary", "none"), help="Output.", default="summary"),
    LOG_FLAG,
)
"""Flags of every experiment."""


def pair(flag: str, text: str, form: str = "SETTING=VALUE") -> tuple[str, str]:
    """Split the text of a flag at its first ``=``.

    Raises
    ------
    ScenarioError
        If it has none, or nothing before it.
    """
    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        raise ScenarioError.at(flag, f"must be {form}", text)
    return name.strip(), value


def read_value(text: str, where: str) -> Any:
    """Read a value as a scenario file would.

    Raises
    ------
    ScenarioError
        If it is broken; names its place.
    """
    try:
        return parse_value(text)
    except ScenarioError as error:
        rules = (attrs.evolve(problem, path=where, line=None, value=text) for problem in error.problems)
        raise ScenarioError(rules) from None


def for_each(items: Iterable[_Item], step: Callable[[_Item], None]) -> None:
    """Do something with each item, and report the errors of all of them together.

    Raises
    ------
    BlisError
        With all problems, of the type of the last one.
    """
    problems: list[Problem] = []
    kind: type[BlisError] = ScenarioError
    for item in items:
        try:
            step(item)
        except BlisError as error:
            problems += error.problems
            kind = type(error)
    if problems:
        raise kind(problems)


def load_words(words: Sequence[str]) -> dict[str, Scenario]:
    """Load the scenarios that are named on the command line.

    Parameters
    ----------
    words : sequence of str
        Files, or names of shipped scenarios.

    Returns
    -------
    dict of str to Scenario
        By stem of the file; by the words themselves where two have the same.

    Raises
    ------
    ScenarioError
        With the problems of all files.
    """
    stems = [Path(word).stem for word in words]
    names = list(words) if len(set(stems)) < len(stems) else stems
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ScenarioError(Problem(path="scenario", rule="is given twice", value=name) for name in sorted(twice))
    found: dict[str, Scenario] = {}

    def load(named: tuple[str, str]) -> None:
        file = find_scenario(named[1])
        assert file is not None
        found[named[0]] = load_scenario(file)

    for_each(zip(names, words, strict=True), load)
    return found


def with_settings(scenario: Scenario, texts: Iterable[str], flag: str) -> Scenario:
    """Change settings of a scenario.

    Parameters
    ----------
    scenario : Scenario
        Stays as it is.
    texts : iterable of str
        ``PATH=VALUE`` each; of two for the same path the last one wins.
    flag : str
        Where they come from, for errors.

    Raises
    ------
    ScenarioError
        With one problem for every unknown path and every bad value.
    """
    changes: dict[str, Any] = {}

    def read(text: str) -> None:
        path, value = pair(flag, text)
        changes[path] = read_value(value, f"{flag} {path}")

    for_each(texts, read)
    try:
        return changed_scenario(scenario, changes)
    except ScenarioError as error:
        raise ScenarioError(attrs.evolve(p, path=f"{flag} {p.path}") for p in error.problems) from None


def check_files(given: Mapping[str, Any]) -> None:
    """Check the files to write before anything is simulated.

    Raises
    ------
    ScenarioError
        If a file or the store cannot be written, or a table has an unknown ending.
    PluginError
        If a library that an output needs is not installed.
    """
    checks: dict[str, Callable[[str], None]] = {
        "results": partial(check_table_path, name="--results"),
        "runs": partial(check_table_path, name="--runs"),
        "html": check_report_path,
        "store": _check_store,
    }
    for_each((name for name in checks if name in given), lambda name: checks[name](given[name]))
    if {"results", "runs"} <= given.keys() and Path(given["results"]).resolve() == Path(given["runs"]).resolve():
        raise ScenarioError.at("--runs", "must be another file than --results", given["runs"])


def _check_store(path: str) -> None:
    folder = Path(path)
    if folder.is_dir():
        check_writable(folder / "any")
        return
    nearest = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not nearest.is_dir():
        raise ScenarioError.at("--store", "must be a folder", str(nearest))
    if not os.access(nearest, os.W_OK):
        raise ScenarioError.at("--store", "cannot be made: Permission denied", path)


def engine_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Pick what the functions of all experiments take: see `blis_simpy.experiment.runner.Options`."""
    names = ("metrics", "warm_up", "confidence", "seed", "executor", "workers", "store", "replications")
    return {name: given[name] for name in names if name in given}


@contextmanager
def connected(given: Mapping[str, Any]) -> Iterator[None]:
    """Connect to the cluster of the executor, if it has one, within a ``with`` block.

    Raises
    ------
    ScenarioError
        If a cluster has no address.
    PluginError
        If it cannot be reached, or its library is not installed.
    """
    executor, address = given.get("executor"), given.get("cluster")
    if executor in _CLUSTERS and address is None:
        raise ScenarioError.at("--cluster", f"is required with --executor {executor}")
    if executor not in _CLUSTERS and address is not None:
        raise ScenarioError.at("--cluster", f"needs --executor {' or '.join(_CLUSTERS)}")
    with nullcontext() if executor not in _CLUSTERS else _CLUSTERS[executor](str(address)):
        yield


@contextmanager
def resumable(given: Mapping[str, Any]) -> Iterator[None]:
    """Say how to go on where the work is interrupted within a ``with`` block."""
    try:
        yield
    except KeyboardInterrupt:
        if "store" in given:
            kept = (
                f"{len(Store(given['store'])):,} runs are kept in {given['store']}: the same command goes on from there"
            )
        else:
            kept = "nothing was kept; with --store FOLDER the same command could have gone on from here"
        sys.stderr.write(f"{kept}\n")
        raise


@contextmanager
def _dask(address: str) -> Iterator[None]:
    try:
        from distributed import Client
    except ImportError:
        raise PluginError.at("--executor dask", "needs distributed", hint="pip install blis-simpy[dask]") from None
    try:
        client = Client(address, timeout="10s")  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise PluginError.at("--cluster", f"cannot be reached: {error}", address) from None
    with client:
        yield


@contextmanager
def _ray(address: str) -> Iterator[None]:
    try:
        import ray
    except ImportError:
        raise PluginError.at("--executor ray", "needs ray", hint="pip install blis-simpy[ray]") from None
    host, colon, port = address.rpartition(":")
    try:
        if colon and "://" not in address:
            # Ray itself would try for minutes.
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        raise PluginError.at("--cluster", f"cannot be reached: {error}", address) from None
    try:
        yield
    finally:
        ray.shutdown()


_CLUSTERS = {"dask": _dask, "ray": _ray}


@contextmanager
def shown_warnings() -> Iterator[None]:
    """Turn Python's warnings within a ``with`` block into log lines."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for warning in caught:
        _log.warning("%s", warning.message)


def write_files(
    given: Mapping[str, Any],
    *,
    results: Callable[[], Iterable[Mapping[str, Any]]],
    runs: Callable[[], Mapping[str, NDArray[Any]]],
    html: Callable[[str], None],
) -> None:
    """Write the output files.

    Parameters
    ----------
    given : mapping of str to object
        Values of the flags.
    results : callable
        Returns the rows of what was found.
    runs : callable
        Returns the columns of all runs.
    html : callable
        Writes the report to a path.

    Raises
    ------
    ScenarioError
        If one cannot be written.
    """
    if "results" in given:
        write_table(_columns(list(results())), given["results"])
    if "runs" in given:
        write_table(runs(), given["runs"])
    if "html" in given:
        html(given["html"])


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    return {name: _column([row[name] for row in rows]) for name in rows[0]}


def _column(values: list[Any]) -> NDArray[Any]:
    """Array of values: of flags or numbers where all are such or None, which becomes NaN, else of text."""
    kinds = {type(value) for value in values}
    if kinds == {bool} or kinds == {int}:
        return np.array(values)
    if kinds <= {int, float, type(None)}:
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return np.array([value if isinstance(value, str) else setting_label(value) for value in values], dtype=object)


def show(table: TextTable, given: Mapping[str, Any]) -> None:
    """Print a table on stdout, unless nothing is to be printed."""
    if given.get("report") != "none":
        sys.stdout.write(f"{table.text()}\n")
