"""The clock and the total order of events.

Time is an integer number of microseconds; the unit is the *tick*. Events of the same tick have a fixed order: first
those of user processes, then those of the control plane, then those of replica 0, replica 1, and so on; within each of
these *actors* by kind of event, then in the order of their scheduling. SimPy sorts its queue by (time, priority,
sequence number) and accepts any integer as a priority, so the priority of an event encodes its place in this order.
"""

from __future__ import annotations

from enum import IntEnum
from heapq import heappop, heappush
from operator import index
from typing import TYPE_CHECKING, Any, SupportsIndex

import simpy
from simpy.core import BoundClass, EmptySchedule, StopSimulation
from simpy.events import NORMAL, Event, EventPriority, Timeout

from blis_simpy.errors import SimulationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "CONTROL_PLANE",
    "FOLLOWING_ARRIVAL",
    "FOREVER",
    "ControlEvent",
    "Delay",
    "Environment",
    "OrderedEvent",
    "ReplicaEvent",
    "Wakeup",
    "event_priority",
    "replica_actor",
]

FOREVER = 2**63 - 1
"""The largest tick: no horizon."""

CONTROL_PLANE = 0
"""Actor index of nodes, life cycle of replicas, clients and router."""

# SimPy's own priorities are 0 (urgent) and 1 (normal); those of ordered events are larger.
_FIRST_PRIORITY = 16


def replica_actor(replica: int) -> int:
    """Actor index of a replica."""
    return replica + 1


class ControlEvent(IntEnum):
    """Kinds of events of the control plane, in the order of a tick."""

    NODE = 0
    INSTANCE = 1
    ARRIVAL = 2
    ADMISSION = 3
    ROUTING = 4
    LINK = 5
    """Start or end of a transfer over the network."""


class ReplicaEvent(IntEnum):
    """Kinds of events of a replica, in the order of a tick."""

    ARRIVAL = 0
    QUEUED = 1
    ABORT = 2
    """Timeout on an engine that removes requests between steps."""
    STEP = 3
    RESPONSE = 4
    """Arrival of the last output of a request at the client, after its last step."""
    TIMEOUT = 5


def event_priority(actor: int, kind: IntEnum, index: int = 0) -> int:
    """Return the priority of an event, which encodes its place within a tick.

    Parameters
    ----------
    actor : int
        `CONTROL_PLANE`, or `replica_actor` of a replica.
    kind : ControlEvent or ReplicaEvent
        Kind of the event.
    index : int, default 0
        Orders events of the same actor and kind, for instance by client; < 2**32.
    """
    return _FIRST_PRIORITY + (((actor << 3) | kind) << 32) + index


FOLLOWING_ARRIVAL = event_priority(CONTROL_PLANE, ControlEvent.ARRIVAL, 2**32 - 1)
"""Place within a tick of requests that are made during the simulation: after those of the workload."""


class OrderedEvent(Event):
    """An event with a place in the total order.

    Parameters
    ----------
    env : Environment
        The environment.
    at : int, tick
        Time of the event.
    priority : int
        Place within the tick, from `event_priority`.
    value : object, optional
        Value of the event.
    """

    def __init__(self, env: Environment, at: int, priority: int, value: Any = None) -> None:
        # Uses private attributes of SimPy (`_value`, `_ok`, `_queue`, `_eid`). The public way, `Event()` and
        # `schedule()`, takes a delay instead of a time and costs a third more, for several events per request. A test
        # checks the layout of the heap entry.
        self.env = env
        self.callbacks = []
        self._value = value
        self._ok = True
        heappush(env._queue, (at, priority, next(env._eid), self))  # type: ignore[misc]


class Wakeup:
    """Event that a process waits for and that other processes can move to another tick.

    Parameters
    ----------
    env : Environment
        The environment.
    priority : int
        Place of the event within its tick.
    """

    __slots__ = ("_env", "_event", "_priority", "_tick", "process")

    def __init__(self, env: Environment, priority: int) -> None:
        self._env = env
        self._priority = priority
        self._event: Event = Event(env)
        self._tick = FOREVER
        self.process: simpy.Process | None = None
        """The waiting process; set by its owner after the start of the process."""

    def at(self, tick: int) -> Event:
        """Return an event to wait for a tick."""
        self._tick = tick
        self._event = OrderedEvent(self._env, tick, self._priority)
        return self._event

    def never(self) -> Event:
        """Return an event to wait until `move` sets a tick."""
        self._tick = FOREVER
        self._event = Event(self._env)
        return self._event

    def move(self, tick: int) -> None:
        """Resume the waiting process at a tick."""
        if tick == self._tick:
            return
        self._tick = tick
        event = OrderedEvent(self._env, tick, self._priority)
        # SimPy cannot remove an event from its heap, and `Process.interrupt`, the public way, costs four times as much.
        # So the callbacks, which resume the process, move to the new event, and the old event fires without callbacks.
        # `_target` is set because SimPy uses it to detach an interrupted process from its event.
        event.callbacks, self._event.callbacks = self._event.callbacks, []
        self._event = event
        assert self.process is not None
        self.process._target = event


class Delay(Timeout):
    """SimPy's timeout, with a delay that is checked.

    Parameters
    ----------
    env : Environment
        The environment.
    delay : int, µs
        Delay, >= 0.
    value : object, optional
        Value of the event.

    Raises
    ------
    SimulationError
        If the delay is no integer, because the clock would take its type, or is negative.
    """

    def __init__(self, env: Environment, delay: int, value: Any = None) -> None:
        delay = _whole(delay)
        if delay < 0:
            raise SimulationError.at("delay", "must be >= 0", delay)
        super().__init__(env, delay, value)


def _whole(delay: object) -> int:
    if type(delay) is int:
        return delay
    if isinstance(delay, bool) or not isinstance(delay, SupportsIndex):
        rule, hint = "must be a whole number of microseconds (int)", "e.g. 5 * blis_simpy.SECOND"
        raise SimulationError.at("delay", rule, delay, hint=hint)
    return index(delay)


class Environment(simpy.Environment):
    """A SimPy environment with an integer clock in microseconds.

    Parameters
    ----------
    start : int, tick
        Initial time.

    Attributes
    ----------
    tick_position : int
        Position in the order of the current tick: the largest priority of its events so far.
    """

    def __init__(self, start: int = 0) -> None:
        super().__init__(start)
        self.tick_position = 0

    if not TYPE_CHECKING:
        timeout = BoundClass(Delay)

    @property
    def now(self) -> int:
        """The current tick."""
        # As in SimPy, but with the type int.
        return self._now  # type: ignore[return-value]

    def step(self) -> None:
        """Process the next event as SimPy does, and update the tick position.

        Raises
        ------
        simpy.core.EmptySchedule
            If there is no event.
        """
        # A copy of SimPy 4.1's method, private attributes included, because that does not return the priority of the
        # event. To read the priority from `_queue[0]`, private as well, and then call the method would cost a tenth
        # more per event.
        try:
            now, priority, _, event = heappop(self._queue)
        except IndexError:
            raise EmptySchedule from None
        if now != self._now:
            self._now = now
            self.tick_position = priority
        elif priority > self.tick_position:
            self.tick_position = priority
        callbacks, event.callbacks = event.callbacks, None  # type: ignore[assignment]
        try:
            for callback in callbacks:
                callback(event)
        except StopSimulation:
            # The remaining callbacks of this event run when the simulation continues.
            event.callbacks = callbacks[callbacks.index(callback) + 1 :]
            if event.callbacks:
                self.schedule(event, EventPriority(-1))
            raise
        if not event._ok and not hasattr(event, "_defused"):
            # SimPy raises a copy made from the arguments of the exception, which would lose the attributes of
            # `BlisError`.
            raise event._value

    def advance(self, tick: int, priority: int) -> bool:
        """Move to a place in the total order, if no event precedes it.

        A process that calls it last in its turn, and goes on, saves the event that would resume it at this place.

        Returns
        -------
        bool
            False if there is such an event, or one at the same place; then nothing has changed.
        """
        queue = self._queue
        if queue and (queue[0][0] < tick or (queue[0][0] == tick and queue[0][1] <= priority)):
            return False
        if tick != self._now:
            self._now = tick
            self.tick_position = priority
        elif priority > self.tick_position:
            self.tick_position = priority
        return True

    def stop(self, _event: Event | None = None) -> None:
        """End `run`; can be used as a callback."""
        raise StopSimulation(None)

    def schedule(self, event: Event, priority: EventPriority = NORMAL, delay: float = 0) -> None:
        """Put an event into the queue as SimPy does.

        Raises
        ------
        SimulationError
            If the delay is not an integer, because the clock would take the type of the delay.
        """
        super().schedule(event, priority, delay if type(delay) is int else _whole(delay))

    def event_at(self, tick: int, priority: int, value: Any = None) -> OrderedEvent:
        """Return an event with a tick and a place within it, for a process to wait for."""
        return OrderedEvent(self, tick, priority, value)

    def call_at(self, tick: int, priority: int, callback: Callable[[Event], None], value: Any = None) -> OrderedEvent:
        """Schedule a call of a function at a tick and a place within it; its argument is the event."""
        event = OrderedEvent(self, tick, priority, value)
        event.callbacks.append(callback)
        return event
