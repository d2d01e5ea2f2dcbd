"""Executors of runs: this process, threads, processes of this machine, a Dask or a Ray cluster."""

from __future__ import annotations

import functools
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import attrs

from blis_simpy import registry
from blis_simpy.errors import BlisError, PluginError, Problem
from blis_simpy.experiment.fingerprint import library_digest
from blis_simpy.experiment.measurement import Measurement, Metrics, WarmUp, measure
from blis_simpy.experiment.run_warnings import Warnings, captured, deferred
from blis_simpy.experiment.store import Store

__all__ = ["EXECUTORS", "REMOTE", "RunContext", "RunTask", "keep", "pickled"]


@attrs.frozen
class RunContext:
    """What all runs of an experiment have in common.

    Attributes
    ----------
    library : str
        Digest of the library, which a worker compares with its own.
    metrics : Metrics
        What to measure.
    warm_up : int or "mser"
        What to leave out at the start of each run.
    plugins : dict of (str, str) to object
        Plug-ins that were registered in this process, by kind and name.
    """

    library: str
    metrics: Metrics
    warm_up: WarmUp
    plugins: dict[tuple[str, str], Any]


@attrs.frozen
class RunTask:
    """One run to be done by an executor.

    Attributes
    ----------
    index : int
        Place of the result.
    scenario : bytes or Scenario
        The scenario, pickled; not pickled if it cannot be and stays in this process, so that runs share it.
    seed : int
        Seed of the run.
    label : str
        Name of the scenario in messages; empty = none.
    key : str
        Digest of the run; empty if there is no store.
    store : Store or None
        Where the executor keeps the measurement; None if the caller does.
    """

    index: int
    scenario: Any
    seed: int
    label: str
    key: str
    store: Store | None


def keep(store: Store, task: RunTask, measurement: Measurement) -> None:
    """Keep the measurement of a task in a store."""
    store.put(task.key, measurement, {"label": task.label, "seed": task.seed})


def pickled(value: Any) -> bytes:
    """Pickle a value for another process; classes of a script or a notebook are pickled with their code.

    Raises
    ------
    PluginError
        If it cannot be pickled.
    """
    import cloudpickle

    try:
        pickled: bytes = cloudpickle.dumps(value)
    except (pickle.PicklingError, TypeError, AttributeError, ValueError) as error:
        raise PluginError.at(
            "", f"scenario or metrics cannot be sent to other processes: {error}", hint="use the executor 'threads'"
        ) from None
    return pickled


def _perform(task: RunTask, kit: RunContext) -> _Finished:
    """Carry out one run in a process that has the plug-ins."""
    # Bytes that this library has pickled itself.
    scenario = pickle.loads(task.scenario) if isinstance(task.scenario, bytes) else task.scenario  # noqa: S301
    try:
        with captured() as warnings:
            measurement = measure(scenario.run(seed=task.seed), kit.metrics, kit.warm_up)
    except BlisError as error:
        raise type(error)(_placed(problem, task, error) for problem in error.problems) from error.__cause__
    if task.store is not None:
        keep(task.store, task, measurement)
    return task.index, measurement, warnings


def _placed(problem: Problem, task: RunTask, error: BlisError) -> Problem:
    """Add the scenario, and for a failing plug-in the seed, to a problem."""
    hint = problem.hint
    if isinstance(error, PluginError):
        hint = f"{hint}; seed {task.seed}" if hint else f"seed {task.seed}"
    return attrs.evolve(problem, file=problem.file or task.label or None, hint=hint)


def _perform_elsewhere(task: RunTask, packed: bytes) -> _Finished:
    """Carry out one run in another process, after registering the plug-ins of the first one."""
    kit = _unpacked(packed)
    if kit.library != library_digest():
        raise PluginError.at(
            "", "a worker has another version of blis_simpy, its tables or numpy", hint="restart program and workers"
        )
    with ExitStack() as stack:
        for (kind, name), plugin in kit.plugins.items():
            stack.enter_context(registry.added(kind, name, plugin))
        stack.enter_context(deferred())
        return _perform(task, kit)


@functools.lru_cache(maxsize=4)
def _unpacked(packed: bytes) -> RunContext:
    kit: RunContext = pickle.loads(packed)  # noqa: S301
    return kit


_Finished = tuple[int, Measurement, Warnings]
_Done = Iterator[_Finished]


def _serial(tasks: Sequence[RunTask], kit: RunContext, workers: int | None) -> _Done:
    for task in tasks:
        yield _perform(task, kit)


def _threads(tasks: Sequence[RunTask], kit: RunContext, workers: int | None) -> _Done:
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=workers or -1, backend="threading", return_as="generator_unordered")
    return parallel(delayed(_perform)(task, kit) for task in tasks)  # type: ignore[no-any-return]


_WATCH_S = 0.5


def _loky(tasks: Sequence[RunTask], kit: RunContext, workers: int | None) -> _Done:
    from joblib import Parallel, delayed

    packed = pickled(kit)
    folder = Path.cwd()
    path = tuple(str(folder / place) for place in sys.path)
    parallel = Parallel(n_jobs=workers or -1, backend="loky", return_as="generator_unordered")
    num_finished = 0
    try:
        for finished in parallel(delayed(_perform_in_child)(task, packed, folder, path) for task in tasks):
            yield finished
            num_finished += 1
    except BrokenExecutor as error:
        rule = f"has lost a process, which was killed or ran out of memory, after {num_finished} of {len(tasks)} runs"
        hint = "use fewer workers; with a store, runs that are finished are kept"
        raise PluginError.at("executor 'loky'", rule, hint=hint) from error


def _perform_in_child(task: RunTask, packed: bytes, folder: Path, path: tuple[str, ...]) -> _Finished:
    """Carry out one run in a process that ends with its parent, in the same folder and with the same import path."""
    _end_with_parent()
    # Processes are kept for later experiments; by then the program may work in another folder and import from it.
    os.chdir(folder)
    sys.path[:] = path
    return _perform_elsewhere(task, packed)


@functools.cache
def _end_with_parent() -> None:
    """End this process within a second after its parent, which may be killed without a word."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _dask(tasks: Sequence[RunTask], kit: RunContext, workers: int | None) -> _Done:
    try:
        from distributed import get_client
    except ImportError:
        raise PluginError("executor 'dask' needs distributed; pip install blis-simpy[dask]") from None
    from joblib import Parallel, delayed, parallel_config

    try:
        client = get_client()
    except ValueError:
        raise PluginError.at("executor 'dask'", "needs a cluster", hint="make a distributed.Client first") from None
    packed = pickled(kit)
    with parallel_config(backend="dask", n_jobs=workers or -1, client=client):
        yield from Parallel(return_as="generator_unordered")(
            delayed(_perform_elsewhere)(task, packed) for task in tasks
        )


def _ray(tasks: Sequence[RunTask], kit: RunContext, workers: int | None) -> _Done:
    # Not through joblib: its Ray back end returns no result before all runs are done.
    try:
        import ray
    except ImportError:
        raise PluginError("executor 'ray' needs ray; pip install blis-simpy[ray]") from None

    if not ray.is_initialized():
        raise PluginError.at("executor 'ray'", "needs a cluster", hint="call ray.init first")
    perform = ray.remote(_perform_elsewhere)
    packed = ray.put(pickled(kit))
    cluster: Any = ray.cluster_resources()
    # Two tasks per core, so that no core waits for its next task.
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


EXECUTORS: dict[str, Callable[[Sequence[RunTask], RunContext, int | None], _Done]] = {
    "loky": _loky,
    "threads": _threads,
    "serial": _serial,
    "dask": _dask,
    "ray": _ray,
}
"""Executors by name."""

# Their workers may not see the disks of this machine: the caller keeps the measurements.
REMOTE = frozenset({"dask", "ray"})
