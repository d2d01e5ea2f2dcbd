"""Faults of plug-ins, hooks and processes: exceptions that they raise, named with class, method, request and tick.

Nothing is wrapped beforehand, so that calls cost nothing: the traceback of an exception says whose code raised it.
"""

from __future__ import annotations

import sysconfig
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.core.request import Leg, Request
from blis_simpy.core.request_view import RequestView
from blis_simpy.errors import PluginError, ScenarioError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

__all__ = ["is_own", "named_faults", "place_of"]

_KINDS = {
    "admit": "admission policy",
    "decode_step_times": "latency model",
    "form": "batch policy",
    "key": "scheduler",
    "observe": "scorer",
    "output_token_processing_time": "latency model",
    "post_decode_overhead": "latency model",
    "queueing_time": "latency model",
    "route": "routing policy",
    "score": "priority policy",
    "step_time": "latency model",
}
"""Kind of a plug-in by the method that raises. Faults of scorers are named where they are called."""

_OWN_MODULES = frozenset(
    {
        "_pytest",
        "attr",
        "attrs",
        "blis_simpy",
        "cattr",
        "cattrs",
        "cloudpickle",
        "dask",
        "distributed",
        "huggingface_hub",
    }
    | {
        "joblib",
        "matplotlib",
        "numpy",
        "pandas",
        "pluggy",
        "pyarrow",
        "pytest",
        "ray",
        "rich",
        "scipy",
        "simpy",
        "yaml",
    }
)
"""Top-level modules of this library and of the libraries that it calls, which are not the user's code."""


_METHODS = {"cached_prefix": "KV store", "step_time": "latency model", "form": "batch policy"} | {
    method: _KINDS[method] for method in ("key", "route", "score")
}
"""Kind of a plug-in by a method that it has, where nothing of its own raises."""

_OF_WRONG_TYPES = (AttributeError, IndexError, KeyError, TypeError, ValueError)
_NEAR_FRAMES = 6


def is_own(plugin: object) -> bool:
    """Whether a plug-in is one of the library, which needs no checks of what it returns."""
    return type(plugin).__module__.startswith("blis_simpy.")


def place_of(request: Request | RequestView | Leg | None, now: int | None) -> str:
    """Say at which request and tick something happened."""
    parts = []
    if request is not None:
        parts.append(f"request {request.request.id if isinstance(request, Leg) else request.id}")
    if now is not None:
        parts.append(f"tick {now}")
    return f" ({', '.join(parts)})" if parts else ""


@contextmanager
def named_faults(now: Callable[[], int] | None = None) -> Iterator[None]:
    """Name the plug-in, hook or process whose code raises an exception within a ``with`` block.

    Parameters
    ----------
    now : callable, optional
        Returns the current tick.

    Raises
    ------
    PluginError
        Raised from the exception. One that is of this library, or that no code of the user has raised, is not changed.
    ScenarioError
        If a time is beyond 64 bits.
    """
    try:
        yield
    except PluginError as error:
        if now is None or any("tick " in str(problem) for problem in error.problems):
            raise
        hint = f"tick {now()}"
        placed = (attrs.evolve(p, hint=f"{p.hint}; {hint}" if p.hint else hint) for p in error.problems)
        raise PluginError(placed) from error.__cause__
    except Exception as error:
        if type(error).__module__.startswith("blis_simpy."):
            raise
        tick = None if now is None else now()
        fault = _wrong_yield(error, tick) or _fault(error, tick)
        if fault is not None:
            raise fault from error
        if isinstance(error, OverflowError):
            raise ScenarioError(f"a time is beyond 2**62 us, the largest tick{place_of(None, tick)}") from error
        raise


def _fault(error: Exception, now: int | None) -> PluginError | None:
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, StopIteration):
        error = error.__cause__  # what Python makes of one that leaves a generator
    frame = _foreign_frame(error)
    if frame is None:
        return _fault_of_an_answer(error, now) if isinstance(error, _OF_WRONG_TYPES) else None
    code = frame.f_code
    owner = frame.f_locals.get("self")
    name = code.co_qualname.rpartition("<locals>.")[2]
    kind = _KINDS.get(code.co_name, "plug-in") if owner is not None else "function"
    if owner is not None:
        name = type(owner).__name__
    values = [v for local in frame.f_locals.values() for v in (local if isinstance(local, tuple) else (local,))]
    request = next((value for value in values if isinstance(value, Request | RequestView | Leg)), None)
    rule = f"raised {error!r} in {code.co_name}{place_of(request, now)}"
    return PluginError.at(f"{kind} {name}", rule, code="plugin_raised")


def _fault_of_an_answer(error: Exception, now: int | None) -> PluginError | None:
    """Name the plug-in whose answer this library cannot use, or whose method it cannot call."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    for frame in frames[:-_NEAR_FRAMES:-1]:
        near = [*frame.f_locals.values(), *(v for k in frame.f_locals.values() for v in _attributes(k))]
        for plugin in near:
            kind = next((kind for method, kind in _METHODS.items() if hasattr(type(plugin), method)), None)
            if kind is not None and type(plugin).__module__.partition(".")[0] not in _OWN_MODULES:
                rule = f"has an answer or a method that cannot be used: {error!r} in {frame.f_code.co_name}"
                return PluginError.at(
                    f"{kind} {type(plugin).__name__}", f"{rule}{place_of(None, now)}", code="plugin_answer"
                )
    return None


def _attributes(owner: object) -> list[object]:
    """Attributes of an object of this library."""
    if not type(owner).__module__.startswith("blis_simpy."):
        return []
    names = [name for cls in type(owner).__mro__ for name in getattr(cls, "__slots__", ())]
    return [getattr(owner, name, None) for name in (*names, *getattr(owner, "__dict__", ()))]


def _wrong_yield(error: Exception, now: int | None) -> PluginError | None:
    """Name a process that yields something else than an event.

    SimPy describes it in several lines, and fails if the code of the process is not in a file.
    """
    from simpy.events import Process

    frames = [frame for frame, _ in walk_tb(error.__traceback__) if frame.f_code is Process._resume.__code__]
    if not frames or hasattr(frames[-1].f_locals["event"], "callbacks"):
        return None
    process, value = frames[-1].f_locals["self"], frames[-1].f_locals["event"]
    rule = f"must yield events in line {process._generator.gi_frame.f_lineno}{place_of(None, now)}"
    hint = "such as simulation.env.timeout(delay) or simulation.submit(request)"
    return PluginError.at(f"process {process.name}", rule, value, hint=hint, code="wrong_yield")


def _foreign_frame(error: Exception) -> FrameType | None:
    """Outermost frame of code that belongs to neither the library nor those that it calls."""
    trace: Any = error.__traceback__
    while trace is not None:
        if _is_foreign(trace.tb_frame):
            return trace.tb_frame  # type: ignore[no-any-return]
        trace = trace.tb_next
    return None


def _is_foreign(frame: FrameType) -> bool:
    file, module = frame.f_code.co_filename, frame.f_globals.get("__name__") or ""
    if file.startswith("<frozen") or module.partition(".")[0] in _OWN_MODULES:
        return False
    path = Path(file)
    return not path.is_relative_to(_standard_library()) or "site-packages" in path.parts


@cache
def _standard_library() -> str:
    return sysconfig.get_path("stdlib")
