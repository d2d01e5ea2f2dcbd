"""Carries out many runs: here, in threads, in processes, on a Dask or a Ray cluster.

A run is a scenario and a seed, and gives a small `Measurement`. It depends on nothing else: each one gets a copy of its
scenario of its own, so that a policy which remembers things cannot carry them from one run to the next, and results
come back in the order in which they were asked for. So figures are the same wherever the work is done, in any order.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from os import fspath
from typing import TYPE_CHECKING, Any, TypedDict

import attrs

from blis_simpy import registry
from blis_simpy.errors import BlisError, PluginError, Problem, ScenarioError, nearest
from blis_simpy.experiment.fingerprint import canonical, digest, library_digest, metrics_form, scenario_form
from blis_simpy.experiment.measurement import Measurement, Metrics, WarmUp, measure, parse_warm_up
from blis_simpy.experiment.number_format import check_count
from blis_simpy.experiment.progress import progress_bar
from blis_simpy.experiment.run_warnings import Warnings, add, captured, deferred, report
from blis_simpy.experiment.store import Store
from blis_simpy.scenario import Scenario

if TYPE_CHECKING:
    from os import PathLike
    from typing import Self

__all__ = ["EXECUTORS", "Job", "Options", "Runner"]


class Options(TypedDict, total=False):
    """How an experiment is carried out; all of its functions take these.

    Attributes
    ----------
    metrics : str, iterable of str, or mapping
        What to report: names that ``Result.metric`` knows, or a mapping of names to functions of a result (None beside
        a name that is known). All registered metrics are kept in any case.
    warm_up : int, µs, or str
        Requests that arrive before it are left out; ``"30s"``, or ``"mser"`` to find it out for each run.
    executor : str
        ``loky`` (processes on this machine, the default), ``threads``, ``serial``, ``dask`` or ``ray``.
    workers : int
        How many runs at a time; all cores, or the whole cluster, unless given.
    store : path-like or Store
        Folder that keeps each run, so that an interrupted experiment goes on where it was.
    progress : bool
        Whether to show a progress bar; unless given, on a terminal and in a notebook.
    """

    metrics: str | Iterable[str] | Mapping[str, Callable[[Any], float] | None] | None
    warm_up: float | str
    executor: str
    workers: int | None
    store: str | PathLike[str] | Store | None
    progress: bool | None


@attrs.frozen
class Job:
    """One run to be done.

    Attributes
    ----------
    scenario : Scenario
        What to simulate.
    seed : int
        Seed of its random streams.
    label : str
        What to call it in messages; empty = nothing.
    """

    scenario: Scenario
    seed: int
    label: str = ""


@attrs.frozen
class _Kit:
    """What every run of an experiment needs, wherever it is done."""

    library: str
    metrics: Metrics
    warm_up: WarmUp
    plugins: dict[tuple[str, str], Any]


@attrs.frozen
class _Task:
    """One run on its way."""

    index: int
    scenario: Any  # pickled; as it is where that is impossible and it need not travel, so that runs share it
    seed: int
    label: str
    key: str
    store: Store | None


class Runner:
    """Carries out the runs of an experiment; what they warn of is logged once, at the end of its ``with`` block.

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
    ) -> None:
        if executor not in EXECUTORS:
            raise ScenarioError.at("executor", "is unknown", executor, hint=nearest(str(executor), EXECUTORS))
        if workers is not None:
            check_count("workers", workers, 1)
        self.metrics = Metrics.of(metrics)
        self.warm_up = parse_warm_up(warm_up)
        self.executor = "serial" if executor in ("loky", "threads") and workers == 1 else executor
        self.workers = workers
        self.store = store if isinstance(store, Store) or store is None else Store(fspath(store))
        self.progress = progress
        self._warnings: dict[int, Warnings] = {}
        self._asked = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        total: Warnings = {}
        for number in sorted(self._warnings):
            for key, warned in self._warnings[number].items():
                add(total, key, warned, runs=1)
        report(total)

    def run(self, jobs: Sequence[Job], what: str = "simulating") -> list[Measurement]:
        """Carry out runs, except for those that the store has.

        Parameters
        ----------
        jobs : sequence of Job
            The runs.
        what : str
            What the progress bar says.

        Returns
        -------
        list of Measurement
            In the order of the jobs.

        Raises
        ------
        ScenarioError
            If a scenario cannot be simulated; runs that were finished stay in the store.
        PluginError
            If a plug-in cannot be sent to where the work is done, or cannot be identified and there is a store.
        """
        tasks = self._tasks(jobs)
        found = self._found(tasks)
        todo = [task for task in tasks if task.index not in found]
        if todo:
            with deferred(), progress_bar(what, len(tasks), len(found), show=self.progress) as advance:
                for index, measurement, warnings in EXECUTORS[self.executor](todo, self._kit(), self.workers):
                    if self.store is not None and self.executor in _ELSEWHERE:
                        _keep(self.store, tasks[index], measurement)
                    found[index] = measurement
                    if warnings:
                        self._warnings[self._asked + index] = warnings
                    advance()
        self._asked += len(tasks)
        return [found[index] for index in range(len(jobs))]

    def _kit(self) -> _Kit:
        return _Kit(library_digest(), self.metrics, self.warm_up, registry.additions())

    def _tasks(self, jobs: Sequence[Job]) -> list[_Task]:
        """Tasks of the jobs; what belongs to a scenario is worked out once for all of its runs."""
        measures = self._measures() if self.store is not None else ""
        packed: dict[int, tuple[Any, str]] = {}
        for job in jobs:
            if id(job.scenario) not in packed:
                form = digest(scenario_form(job.scenario)) if self.store is not None else ""
                packed[id(job.scenario)] = self._packed(job.scenario), form
        local = None if self.executor in _ELSEWHERE else self.store
        return [
            _Task(index, scenario, job.seed, job.label, digest(form, job.seed, measures) if form else "", local)
            for index, job in enumerate(jobs)
            for scenario, form in (packed[id(job.scenario)],)
        ]

    def _packed(self, scenario: Scenario) -> Any:
        try:
            return _pickled(scenario)
        except PluginError:
            if self.executor in ("serial", "threads"):
                return scenario
            raise

    def _measures(self) -> str:
        """Digest of how a run is measured, and by what."""
        functions = {name: canonical(function) for name, function in self.metrics.functions.items()}
        return digest(library_digest(), self.warm_up, functions, sorted(self.metrics.uncommon), metrics_form())

    def _found(self, tasks: Sequence[_Task]) -> dict[int, Measurement]:
        """Measurements that the store has."""
        if self.store is None:
            return {}
        kept = ((task.index, self.store.get(task.key, self.metrics.names)) for task in tasks)
        return {index: measurement for index, measurement in kept if measurement is not None}


def _keep(store: Store, task: _Task, measurement: Measurement) -> None:
    store.put(task.key, measurement, {"label": task.label, "seed": task.seed})


def _pickled(value: Any) -> bytes:
    """Pickle for another process; classes of a script or a notebook travel with their code."""
    import cloudpickle

    try:
        pickled: bytes = cloudpickle.dumps(value)
    except (pickle.PicklingError, TypeError, AttributeError, ValueError) as error:
        raise PluginError.at(
            "", f"something cannot be sent to other processes: {error}", hint="the executor 'threads' needs not"
        ) from None
    return pickled


def _perform(task: _Task, kit: _Kit) -> _Finished:
    """Do one run where the plug-ins are."""
    # Bytes that this library has pickled itself.
    scenario = pickle.loads(task.scenario) if isinstance(task.scenario, bytes) else task.scenario  # noqa: S301
    try:
        with captured() as warnings:
            measurement = measure(scenario.run(seed=task.seed), kit.metrics, kit.warm_up)
    except BlisError as error:
        raise type(error)(_placed(problem, task, error) for problem in error.problems) from error.__cause__
    if task.store is not None:
        _keep(task.store, task, measurement)
    return task.index, measurement, warnings


def _placed(problem: Problem, task: _Task, error: BlisError) -> Problem:
    """Say which scenario, and of a policy that misbehaves which run, a problem is of."""
    hint = problem.hint
    if isinstance(error, PluginError):
        hint = f"{hint}; seed {task.seed}" if hint else f"seed {task.seed}"
    return attrs.evolve(problem, file=problem.file or task.label or None, hint=hint)


def _perform_elsewhere(task: _Task, packed: bytes) -> _Finished:
    """Do one run in another process, where plug-ins that were added in the first one have to be added first."""
    kit = _unpacked(packed)
    if kit.library != library_digest():
        raise PluginError.at(
            "", "a worker has another version of blis_simpy, its tables or numpy", hint="start program and workers anew"
        )
    with ExitStack() as stack:
        for (kind, name), plugin in kit.plugins.items():
            stack.enter_context(registry.added(kind, name, plugin))
        stack.enter_context(deferred())
        return _perform(task, kit)


@functools.lru_cache(maxsize=4)
def _unpacked(packed: bytes) -> _Kit:
    kit: _Kit = pickle.loads(packed)  # noqa: S301
    return kit


_Finished = tuple[int, Measurement, Warnings]
_Done = Iterator[_Finished]


def _serial(tasks: Sequence[_Task], kit: _Kit, workers: int | None) -> _Done:
    for task in tasks:
        yield _perform(task, kit)


def _threads(tasks: Sequence[_Task], kit: _Kit, workers: int | None) -> _Done:
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=workers or -1, backend="threading", return_as="generator_unordered")
    return parallel(delayed(_perform)(task, kit) for task in tasks)  # type: ignore[no-any-return]


def _loky(tasks: Sequence[_Task], kit: _Kit, workers: int | None) -> _Done:
    from joblib import Parallel, delayed

    packed = _pickled(kit)
    parallel = Parallel(n_jobs=workers or -1, backend="loky", return_as="generator_unordered")
    return parallel(delayed(_perform_elsewhere)(task, packed) for task in tasks)  # type: ignore[no-any-return]


def _dask(tasks: Sequence[_Task], kit: _Kit, workers: int | None) -> _Done:
    try:
        from distributed import get_client
    except ImportError:
        raise PluginError("executor 'dask' needs distributed; pip install blis-simpy[dask]") from None
    from joblib import Parallel, delayed, parallel_config

    try:
        client = get_client()
    except ValueError:
        raise PluginError.at("executor 'dask'", "needs a cluster", hint="make a distributed.Client first") from None
    packed = _pickled(kit)
    with parallel_config(backend="dask", n_jobs=workers or -1, client=client):
        yield from Parallel(return_as="generator_unordered")(
            delayed(_perform_elsewhere)(task, packed) for task in tasks
        )


def _ray(tasks: Sequence[_Task], kit: _Kit, workers: int | None) -> _Done:
    # Not through joblib: Ray's back end for it makes a pool of actors, which gives no result before it has all.
    try:
        import ray
    except ImportError:
        raise PluginError("executor 'ray' needs ray; pip install blis-simpy[ray]") from None

    if not ray.is_initialized():
        raise PluginError.at("executor 'ray'", "needs a cluster", hint="call ray.init first")
    perform = ray.remote(_perform_elsewhere)
    packed = ray.put(_pickled(kit))
    cluster: Any = ray.cluster_resources()
    # Two a core, so that none waits for the next one to arrive.
    limit = workers or max(2 * int(cluster.get("CPU", 1)), 1)
    waiting = iter(tasks)
    running: list[Any] = []
    try:
        while True:
            running += [perform.remote(task, packed) for task in islice(waiting, limit - len(running))]
            if not running:
                return
            done, running = ray.wait(running)
            yield from map(_ray_result(ray), done)
    finally:
        for reference in running:
            ray.cancel(reference)


def _ray_result(ray: Any) -> Callable[[Any], _Finished]:
    def result(reference: Any) -> _Finished:
        try:
            finished: _Finished = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, BlisError):
                raise error.cause from None
            raise
        return finished

    return result


EXECUTORS: dict[str, Callable[[Sequence[_Task], _Kit, int | None], _Done]] = {
    "loky": _loky,
    "threads": _threads,
    "serial": _serial,
    "dask": _dask,
    "ray": _ray,
}
"""Where runs can be done."""

# Workers there may see no disk of this machine: measurements are kept here as they come back.
_ELSEWHERE = frozenset({"dask", "ray"})
