"""Runs of an experiment: simulates scenarios with given seeds, or takes the measurements from a store.

A run is a scenario and a seed; its result is a small `Measurement`. Each run has its own copy of the scenario, so a
policy with state cannot carry it over, and measurements are returned in the order of the jobs: the figures do not
depend on the executor, the number of workers or the order of the runs.
"""

from __future__ import annotations

from os import fspath
from typing import TYPE_CHECKING, Any, TypedDict

import attrs

from blis_simpy import registry
from blis_simpy.errors import PluginError, ScenarioError, nearest, unknown_setting
from blis_simpy.experiment.executors import EXECUTORS, REMOTE, RunContext, RunTask, keep, pickled
from blis_simpy.experiment.fingerprint import canonical, digest, library_digest, metrics_form, scenario_form
from blis_simpy.experiment.measurement import Measurement, Metrics, parse_warm_up
from blis_simpy.experiment.number_format import check_count
from blis_simpy.experiment.progress import progress_bar
from blis_simpy.experiment.run_warnings import Warnings, deferred, log_summaries, merge
from blis_simpy.experiment.store import Store
from blis_simpy.scenario import Scenario
from blis_simpy.unused_settings import shared_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from os import PathLike
    from typing import Self

__all__ = ["EXECUTORS", "Job", "Options", "Runner"]


class Options(TypedDict, total=False):
    """Options of all experiments.

    Attributes
    ----------
    metrics : str, iterable of str, or mapping
        Metrics to report: registered names, or a mapping of names to functions of a result (None for a registered
        name). All registered metrics are measured in any case.
    warm_up : int, µs, or str
        Requests that arrive earlier are left out of all metrics: ``"30s"``, or ``"mser"`` to detect it in each run.
    executor : str
        ``loky`` (processes on this machine, the default), ``threads``, ``serial``, ``dask`` or ``ray``.
    workers : int
        Number of runs at a time; default is all cores, or the whole cluster.
    store : path-like or Store
        Folder that keeps the measurement of each run, so that an interrupted experiment can be resumed.
    progress : bool
        Whether to show a progress bar; default is to show it in a terminal and in a notebook.
    """

    metrics: str | Iterable[str] | Mapping[str, Callable[[Any], float] | None] | None
    warm_up: float | str
    executor: str
    workers: int | None
    store: str | PathLike[str] | Store | None
    progress: bool | None


@attrs.frozen
class Job:
    """One run.

    Attributes
    ----------
    scenario : Scenario
        What to simulate.
    seed : int
        Seed of its random streams.
    label : str
        Name of the scenario in messages; empty = none.
    """

    scenario: Scenario
    seed: int
    label: str = ""


class Runner:
    """Carries out the runs of an experiment; their warnings are logged once, at the end of its ``with`` block.

    Parameters
    ----------
    metrics, warm_up, executor, workers, store, progress
        See `Options`.

    Raises
    ------
    ScenarioError
        If an option is wrong.

    Examples
    --------
    >>> scenario = Scenario(model="qwen/qwen3-14b", workload=Workload(rate=2, num_requests=3))
    >>> with Runner(executor="serial", metrics="completed") as runner:
    ...     [found.metrics["completed"] for found in runner.run([Job(scenario, seed=1), Job(scenario, seed=2)])]
    [3.0, 3.0]
    """

    def __init__(
        self,
        *,
        metrics: str | Iterable[str] | Mapping[str, Callable[[Any], float] | None] | None = None,
        warm_up: float | str = 0,
        executor: str = "loky",
        workers: int | None = None,
        store: str | PathLike[str] | Store | None = None,
        progress: bool | None = None,
        **unknown: object,
    ) -> None:
        if unknown:
            known = Options.__annotations__
            problems = (unknown_setting(name, name, known, "is not an option of experiments") for name in unknown)
            raise ScenarioError(problems)
        if executor not in EXECUTORS:
            raise ScenarioError.at("executor", "is unknown", executor, hint=nearest(str(executor), EXECUTORS))
        if workers is not None:
            workers = check_count("workers", workers, 1)
        self.metrics = Metrics.of(metrics)
        self.warm_up = parse_warm_up(warm_up)
        self.executor = "serial" if executor in ("loky", "threads") and workers == 1 else executor
        self.workers = workers
        self.store = store if isinstance(store, Store) or store is None else Store(fspath(store))
        self.progress = progress
        self._warnings: dict[int, Warnings] = {}
        self._scenarios: dict[int, Scenario] = {}
        self._asked = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        total: Warnings = {}
        for number in sorted(self._warnings):
            for key, warned in self._warnings[number].items():
                merge(total, key, warned, runs=1)
        if total:
            shared = shared_settings(self._scenarios.values())
            total = {key: warned for key, warned in total.items() if warned.text not in shared}
        log_summaries(total)

    def run(self, jobs: Sequence[Job], what: str = "simulating") -> list[Measurement]:
        """Carry out runs, except those that the store has.

        Parameters
        ----------
        jobs : sequence of Job
            The runs.
        what : str
            Label of the progress bar.

        Returns
        -------
        list of Measurement
            In the order of the jobs.

        Raises
        ------
        ScenarioError
            If a scenario cannot be simulated; finished runs stay in the store.
        PluginError
            If a plug-in cannot be pickled for the workers, or has no digest and there is a store.
        """
        tasks = self._tasks(jobs)
        found = self._found(tasks)
        todo = [task for task in tasks if task.index not in found]
        if todo:
            with deferred(), progress_bar(what, len(tasks), len(found), show=self.progress) as advance:
                for index, measurement, warnings in EXECUTORS[self.executor](todo, self._kit(), self.workers):
                    if self.store is not None and self.executor in REMOTE:
                        keep(self.store, tasks[index], measurement)
                    found[index] = measurement
                    if warnings:
                        self._warnings[self._asked + index] = warnings
                    advance()
        self._asked += len(tasks)
        return [found[index] for index in range(len(jobs))]

    def _kit(self) -> RunContext:
        return RunContext(library_digest(), self.metrics, self.warm_up, registry.additions())

    def _tasks(self, jobs: Sequence[Job]) -> list[RunTask]:
        """Tasks of the jobs; each scenario is pickled and digested once for all of its runs."""
        measures = self._measures() if self.store is not None else ""
        packed: dict[int, tuple[Any, str]] = {}
        for job in jobs:
            if id(job.scenario) not in packed:
                form = digest(scenario_form(job.scenario)) if self.store is not None else ""
                packed[id(job.scenario)] = self._packed(job.scenario), form
                self._scenarios[id(job.scenario)] = job.scenario
        local = None if self.executor in REMOTE else self.store
        return [
            RunTask(index, scenario, job.seed, job.label, digest(form, job.seed, measures) if form else "", local)
            for index, job in enumerate(jobs)
            for scenario, form in (packed[id(job.scenario)],)
        ]

    def _packed(self, scenario: Scenario) -> Any:
        try:
            return pickled(scenario)
        except PluginError:
            if self.executor in ("serial", "threads"):
                return scenario
            raise

    def _measures(self) -> str:
        """Digest of the library, the metrics and the warm-up."""
        functions = {name: canonical(function) for name, function in self.metrics.functions.items()}
        return digest(library_digest(), self.warm_up, functions, sorted(self.metrics.uncommon), metrics_form())

    def _found(self, tasks: Sequence[RunTask]) -> dict[int, Measurement]:
        """Measurements that the store has."""
        if self.store is None:
            return {}
        kept = ((task.index, self.store.get(task.key, self.metrics.names)) for task in tasks)
        return {index: measurement for index, measurement in kept if measurement is not None}
