"""Limit on the requests of a workload that are in flight; the others wait at the client, first in, first out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import simpy

from blis_simpy.core.environment import FOLLOWING_ARRIVAL
from blis_simpy.workload.user_processes import ended_at

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from simpy.events import Event

    from blis_simpy.core.environment import Environment
    from blis_simpy.core.request import Request

__all__ = ["InFlightCap"]


class InFlightCap:
    """A `simpy.Resource` with a slot for each request in flight.

    A request that has to wait arrives when it gets its slot; `Request.due_at` keeps the planned arrival. A slot is free
    again when the client knows that its request has ended: at the arrival of the last token, at the deadline, or when
    the request is refused.

    Parameters
    ----------
    env : Environment
        The simulation's environment.
    limit : int
        Number of slots, >= 1.
    submit : callable
        Called with each request at its arrival.
    """

    def __init__(self, env: Environment, limit: int, submit: Callable[[Request], None]) -> None:
        self._env = env
        self._slots = simpy.Resource(env, limit)
        self._submit = submit

    def submit(self, request: Request, *, ends_turn: bool = False) -> None:
        """Submit a request now if a slot is free, else as soon as one is free.

        `ends_turn` is not passed on: the process that holds the slot starts in the same event.
        """
        slot = self._slots.request()
        request.done = request.done or self._env.event()
        is_free = slot.triggered
        if is_free:
            self._submit(request)
        self._env.process(self._hold(request, slot, is_sent=is_free))

    def _hold(
        self, request: Request, slot: simpy.resources.resource.Request, *, is_sent: bool
    ) -> Generator[Event, None, None]:
        env = self._env
        if not is_sent:
            yield slot
            yield env.event_at(env.now, FOLLOWING_ARRIVAL)
            if env.now > request.arrived_at:
                request.due_at, request.arrived_at = request.arrived_at, env.now
                if request.deadline:
                    request.deadline += env.now - request.due_at
            self._submit(request)
        assert request.done is not None
        yield request.done
        end = ended_at(request)
        if end > env.now:
            yield env.timeout(end - env.now)
        self._slots.release(slot)
