"""What the commands of experiments share: flags, the scenarios they name, where the work is done, what is written.

A flag such as ``--set PATH=VALUE`` takes the place of the flags that ``blis run`` has for single settings. Its value is
read as it would be in a scenario file.
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

from blis_simpy.cli.common import LOG_FLAG, find_scenario
from blis_simpy.cli.flags import Flag
from blis_simpy.display.report_page import check_report_path
from blis_simpy.errors import BlisError, PluginError, Problem, ScenarioError
from blis_simpy.experiment.design_points import changed_scenario
from blis_simpy.experiment.findings import columns_of
from blis_simpy.experiment.measurement import DEFAULT_METRICS
from blis_simpy.experiment.runner import EXECUTORS
from blis_simpy.experiment.store import Store
from blis_simpy.export.tables import check_table_path, write_table
from blis_simpy.files.text_files import check_writable
from blis_simpy.load_files import load_scenario
from blis_simpy.settings.loader import parse_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from blis_simpy.experiment.findings import ExperimentFindings
    from blis_simpy.scenario import Scenario

__all__ = [
    "EXPERIMENT_FLAGS",
    "carry_out",
    "engine_options",
    "load_words",
    "one_scenario",
    "pair",
    "read_value",
    "with_settings",
]

_log = logging.getLogger(__name__)

_Item = TypeVar("_Item")

_OUTPUTS = (
    Flag(
        name="--results",
        target="results",
        help="Write what was found as a table: .csv, .json, .parquet, .csv.gz or .json.gz.",
        absent="",
    ),
    Flag(name="--runs", target="runs", help="Write all runs as a table, a row a run, in the same formats.", absent=""),
    Flag(
        name="--html",
        target="html",
        help="Write a report with pictures: one HTML file that stands alone.",
        absent="",
    ),
)

EXPERIMENT_FLAGS = (
    Flag(
        name="--set",
        target="set",
        hint=list[str],
        help="Change a setting, as PATH=VALUE: engine.max_num_seqs=8; repeat it for each one.",
    ),
    Flag(
        name="--metrics",
        target="metrics",
        hint=tuple[str, ...],
        help="What to report.",
        default=",".join(DEFAULT_METRICS),
    ),
    Flag(
        name="--warm-up",
        target="warm_up",
        help="Requests that arrive before it count in no metric: 30s, or mser to find it out for each run.",
    ),
    Flag(name="--confidence", target="confidence", hint=float, help="Of intervals and verdicts.", default=0.95),
    Flag(
        name="--seed",
        target="seed",
        hint=int,
        help="Seed of the experiment, which those of its runs are made from; unset means that of the scenario.",
    ),
    Flag(
        name="--executor",
        target="executor",
        choices=tuple(EXECUTORS),
        help="Where to simulate: processes of this machine, or a cluster.",
        default="loky",
    ),
    Flag(name="--workers", target="workers", hint=int, help="How many runs at a time; unset means one a core."),
    Flag(
        name="--cluster",
        target="cluster",
        help="Address of the cluster: tcp://HOST:8786 of a Dask scheduler; HOST:6379 of a Ray, or auto.",
    ),
    Flag(
        name="--store",
        target="store",
        help="Folder that keeps every run: what was interrupted goes on where it was.",
        absent="",
    ),
    *_OUTPUTS,
    Flag(name="--report", target="report", choices=("summary", "none"), help="What to print.", default="summary"),
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
        If it is broken; says where it stands.
    """
    try:
        return parse_value(text)
    except ScenarioError as error:
        rules = (attrs.evolve(problem, path=where, line=None, value=text) for problem in error.problems)
        raise ScenarioError(rules) from None


def for_each(items: Iterable[_Item], step: Callable[[_Item], None]) -> None:
    """Do something with each item, and report the mistakes of all of them at once.

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
    """Load the scenarios that stand on the command line.

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


def one_scenario(given: Mapping[str, Any]) -> Scenario:
    """Load the scenario on the command line, with the settings of ``--set``.

    Raises
    ------
    ScenarioError
        If none is given, or something is wrong with it or a setting.
    """
    if "scenario" not in given:
        raise ScenarioError(Problem(path="scenario", rule="is required"))
    (scenario,) = load_words([given["scenario"]]).values()
    return with_settings(scenario, given.get("set", []), "--set")


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


def _check_files(given: Mapping[str, Any]) -> None:
    """Find out before anything is simulated what could not be written after it.

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
def _connected(given: Mapping[str, Any]) -> Iterator[None]:
    """Be connected to the cluster where the work is done, if it is one, within a ``with`` block.

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
def _shown_warnings() -> Iterator[None]:
    """Turn Python's warnings within a ``with`` block into log lines."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for warning in caught:
        _log.warning("%s", warning.message)


def carry_out(given: Mapping[str, Any], experiment: Callable[[], ExperimentFindings]) -> None:
    """Carry out an experiment, write the files that were asked for and print the table of its findings.

    Parameters
    ----------
    given : mapping of str to object
        Values of the flags.
    experiment : callable
        Simulates, and returns what was found.

    Raises
    ------
    ScenarioError
        If a file cannot be written, which is found out before anything is simulated, or the experiment is wrong.
    PluginError
        If a library that an output or the executor needs is not installed.
    """
    _check_files(given)
    with _connected(given), _resumable(given), _shown_warnings():
        found = experiment()
    if "results" in given:
        write_table(columns_of(found.rows), given["results"])
    if "runs" in given:
        write_table(found.runs, given["runs"])
    if "html" in given:
        found.write_html(given["html"])
    if given.get("report") != "none":
        sys.stdout.write(f"{found.table().text()}\n")
