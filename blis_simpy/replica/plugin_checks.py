"""Checks of what schedulers, priority policies and latency models of others return, named with class and value."""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.core.plugin_faults import place_of
from blis_simpy.core.request_view import shown_to
from blis_simpy.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Callable

    from blis_simpy.core.request import Request
    from blis_simpy.latency.base import IntTicks, LatencyModel, StepBatch
    from blis_simpy.replica.schedulers import PriorityPolicy, Scheduler

__all__ = [
    "checked_delay",
    "checked_durations",
    "checked_key",
    "checked_queueing_time",
    "checked_score",
    "checked_step_time",
    "latency_error",
]


def checked_score(priority: PriorityPolicy) -> Callable[[Request, int], float]:
    """Return the method ``score`` of a priority policy with a check that it returns a number."""
    view = shown_to(priority)

    def score(request: Request, now: int) -> float:
        value: Any = priority.score(view(request) if view else request, now)
        if isinstance(value, bool) or not isinstance(value, int | float | np.number) or value != value:
            rule, hint = "score must return a number", place_of(request, now).strip(" ()")
            raise PluginError.at(f"priority {type(priority).__name__}", rule, value, hint=hint)
        return value  # type: ignore[return-value]

    return score


def checked_key(scheduler: Scheduler) -> Callable[[Request, float, int], Any]:
    """Return the method ``key`` of a scheduler with a check that no part of the key is NaN."""
    view = shown_to(scheduler)

    def key(request: Request, priority: float, now: int) -> Any:
        value = scheduler.key(view(request) if view else request, priority, now)
        parts = value if isinstance(value, tuple) else (value,)
        if any(isinstance(part, float) and part != part for part in parts) or value is None:
            rule, hint = "key must return a key that can be sorted", place_of(request, now).strip(" ()")
            raise PluginError.at(f"scheduler {type(scheduler).__name__}", rule, value, hint=hint)
        return value

    return key


def latency_error(latency: LatencyModel, rule: str, value: object) -> PluginError:
    """Return the error of a latency model that breaks a rule with a value."""
    return PluginError.at(f"latency model {type(latency).__name__}", rule, value)


def checked_delay(latency: LatencyModel, method: str, *arguments: int) -> int:
    """Call a method of a latency model and return the delay.

    Raises
    ------
    PluginError
        If it is no whole number of microseconds >= 0.
    """
    value: object = getattr(latency, method)(*arguments)
    try:
        delay = -1 if isinstance(value, bool) else index(value)  # type: ignore[arg-type]
    except TypeError:
        delay = -1
    if delay < 0:
        raise latency_error(latency, f"{method} must return a whole number of microseconds >= 0", value)
    return delay


def checked_queueing_time(latency: LatencyModel) -> Callable[[int], int]:
    """Return the method ``queueing_time`` of a latency model with a check of what it returns."""
    return lambda input_tokens: checked_delay(latency, "queueing_time", input_tokens)


def checked_step_time(latency: LatencyModel) -> Callable[[StepBatch], int]:
    """Return the method ``step_time`` of a latency model with a check that it returns an int >= 0."""

    def step_time(batch: StepBatch) -> int:
        duration: object = latency.step_time(batch)
        if type(duration) is not int:
            raise latency_error(latency, "step_time must return a whole number of microseconds (int)", duration)
        if duration < 0:
            raise latency_error(latency, "step_time must be >= 0", duration)
        return duration

    return step_time


def checked_durations(latency: LatencyModel, durations: Any) -> list[int] | IntTicks | int:
    """Return the durations of decode steps.

    Raises
    ------
    PluginError
        If they are no whole numbers of microseconds >= 1.
    """
    rule = "decode_step_times must return whole numbers of microseconds >= 1"
    try:
        if not isinstance(durations, int | list | np.ndarray):
            durations = list(durations)
        array = np.asarray(durations)
    except (TypeError, ValueError):
        raise latency_error(latency, rule, durations) from None
    if array.dtype.kind not in "iu":
        raise latency_error(latency, rule, durations)
    if array.size and array.min() < 1:
        raise latency_error(latency, rule, int(array.min()))
    return durations  # type: ignore[no-any-return]
