"""Common parts of the experiment commands: flags, scenarios, executors, outputs."""

from __future__ import annotations

import logging
import socket
import sys
import warnings
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blis_simpy.cli.common import LOG_FLAG, base_scenario, find_scenario, record_paths
from blis_simpy.cli.flags import Flag
from blis_simpy.cli.outputs import same_files
from blis_simpy.cli.scenario_flags import for_each, scenario_flags, with_flags
from blis_simpy.display.report_page import check_report_path
from blis_simpy.errors import PluginError, Problem, ScenarioError
from blis_simpy.experiment.findings import columns_of
from blis_simpy.experiment.measurement import DEFAULT_METRICS
from blis_simpy.experiment.runner import EXECUTORS
from blis_simpy.experiment.store import Store
from blis_simpy.export.tables import check_table_path, write_table
from blis_simpy.files.outputs import check_writable, make_folder, written_together
from blis_simpy.files.paths import exists, is_directory, resolved
from blis_simpy.load_files import load_scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from blis_simpy.experiment.findings import ExperimentFindings
    from blis_simpy.scenario import Scenario

__all__ = [
    "EXPERIMENT_FLAGS",
    "carry_out",
    "engine_options",
    "load_words",
    "one_scenario",
]

_log = logging.getLogger(__name__)

_OUTPUTS = (
    Flag(
        name="--results",
        target="results",
        help="Write the findings as a table: .csv, .json, .parquet, .csv.gz or .json.gz.",
        absent="",
    ),
    Flag(name="--runs", target="runs", help="Write a table with one row per run, in the same formats.", absent=""),
    Flag(
        name="--html",
        target="html",
        help="Write a report with plots as a single HTML file.",
        absent="",
    ),
)

EXPERIMENT_FLAGS = (
    *scenario_flags(),
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
        help="Leave out requests that arrive earlier: 30s, or mser to detect the warm-up of each run.",
    ),
    Flag(name="--confidence", target="confidence", hint=float, help="Confidence of intervals.", default=0.95),
    Flag(
        name="--seed",
        target="seed",
        hint=int,
        help="Seed of the experiment, from which the seeds of its runs derive; unset means that of the scenario.",
    ),
    Flag(
        name="--executor",
        target="executor",
        choices=tuple(EXECUTORS),
        help="Executor of the runs: processes of this machine, or a cluster.",
        default="loky",
    ),
    Flag(name="--workers", target="workers", hint=int, help="Number of runs at a time; unset means one per core."),
    Flag(
        name="--cluster",
        target="cluster",
        help="Address of the cluster: tcp://HOST:8786 of a Dask scheduler; HOST:6379 of a Ray cluster, or auto.",
    ),
    Flag(
        name="--store",
        target="store",
        help="Folder that keeps the measurements of all runs, so that an interrupted experiment can be resumed.",
        absent="",
    ),
    *_OUTPUTS,
    Flag(name="--report", target="report", choices=("summary", "none"), help="Output.", default="summary"),
    LOG_FLAG,
)
"""Flags of every experiment."""


def load_words(words: Sequence[str]) -> dict[str, Scenario]:
    """Load the scenarios of the command line.

    Parameters
    ----------
    words : sequence of str
        Files, or names of shipped scenarios.

    Returns
    -------
    dict of str to Scenario
        By stem of the file; by the whole word if two stems are equal.

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
        record_paths(found[named[0]])

    for_each(zip(names, words, strict=True), load)
    return found


def one_scenario(given: Mapping[str, Any]) -> Scenario:
    """Load the scenario on the command line, and change it by the flags; without one, make it of the flags.

    Raises
    ------
    ScenarioError
        If neither a scenario nor a model is given, or something is wrong with it or a setting.
    """
    base = load_words([given["scenario"]]).popitem()[1] if "scenario" in given else base_scenario(None, given)
    return with_flags(base, given)


def _check_files(given: Mapping[str, Any]) -> None:
    """Check before the simulation that the outputs can be written.

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
    outputs = [(f"--{name}", given[name]) for name in ("results", "runs", "html") if name in given]
    problems = list(same_files((), outputs))
    if "store" in given:
        folder = resolved(given["store"])
        rule = f"must not be in the store {given['store']}"
        problems += [
            Problem(path=flag, rule=rule, value=path) for flag, path in outputs if resolved(path).parent == folder
        ]
    if problems:
        raise ScenarioError(problems)


def _check_store(path: str) -> None:
    folder = Path(path)
    if exists(folder) and not is_directory(folder):
        raise ScenarioError.at("--store", "must be a folder", path)
    make_folder(folder)
    check_writable(folder / "any")


def engine_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of all experiments: see `blis_simpy.experiment.runner.Options`."""
    names = ("metrics", "warm_up", "confidence", "seed", "executor", "workers", "store", "replications")
    return {name: given[name] for name in names if name in given}


@contextmanager
def _connected(given: Mapping[str, Any]) -> Iterator[None]:
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
def _resumable(given: Mapping[str, Any]) -> Iterator[None]:
    """Print how to resume an experiment that is interrupted within a ``with`` block."""
    try:
        yield
    except KeyboardInterrupt:
        if "store" in given:
            kept = f"{len(Store(given['store'])):,} runs are kept in {given['store']}: repeat the command to resume"
        else:
            kept = "no runs were kept; with --store FOLDER an interrupted experiment can be resumed"
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
            # Ray itself would retry for minutes.
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
def _shown_warnings() -> Iterator[None]:
    """Log Python's warnings within a ``with`` block."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for warning in caught:
        _log.warning("%s", warning.message)


def carry_out(given: Mapping[str, Any], experiment: Callable[[], ExperimentFindings]) -> None:
    """Carry out an experiment, write the requested files and print the table of its findings.

    Parameters
    ----------
    given : mapping of str to object
        Values of the flags.
    experiment : callable
        Simulates and returns the findings.

    Raises
    ------
    ScenarioError
        If a file cannot be written, which is checked before the simulation, or the experiment is invalid.
    PluginError
        If a library that an output or the executor needs is not installed.
    """
    _check_files(given)
    with _connected(given), _resumable(given), _shown_warnings():
        found = experiment()
    with written_together():
        if "results" in given:
            write_table(columns_of(found.rows), given["results"])
        if "runs" in given:
            write_table(found.runs, given["runs"])
        if "html" in given:
            found.write_html(given["html"])
    if given.get("report") != "none":
        sys.stdout.write(f"{found.table().text()}\n")
