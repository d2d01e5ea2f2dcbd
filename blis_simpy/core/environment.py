"""The clock and the total order of events.

Time is a whole number of microseconds (a *tick*). Events of the same tick happen in a fixed order: first those of the
user's own processes, then those of the control plane, then those of replica 0, replica 1, and so on; within each of
these *actors* by the kind of event, then in the order in which they were scheduled. SimPy sorts its queue by (time,
priority, sequence number) and accepts any integer as a priority, so one number an event states its place in this order.
"""

from __future__ import annotations

from enum import IntEnum
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

import simpy
from simpy.core import EmptySchedule, StopSimulation
from simpy.events import NORMAL, Event, EventPriority

from blis_simpy.errors import SimulationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "CONTROL_PLANE",
    "FOLLOWING_ARRIVAL",
    "FOREVER",
    "ControlEvent",
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
"""Actor index of the nodes, the life cycle of replicas, the clients and the router."""

# SimPy's own priorities are 0 (urgent) and 1 (normal); those of ordered events are larger.
_FIRST_PRIORITY = 16


def replica_actor(replica: int) -> int:
    """Actor index of a replica."""
    return replica + 1


class ControlEvent(IntEnum):
    """Kinds of events of the control plane, in their order within a tick."""

    NODE = 0
    INSTANCE = 1
    ARRIVAL = 2
    ADMISSION = 3
    ROUTING = 4


class ReplicaEvent(IntEnum):
    """Kinds of events of a replica, in their order within a tick."""

    ARRIVAL = 0
    QUEUED = 1
    ABORT = 2
    """A client gives up, on an engine that removes requests between steps."""
    STEP = 3
    RESPONSE = 4
    """The last output of a request reaches the client, after its last step."""
    TIMEOUT = 5


def event_priority(actor: int, kind: IntEnum, index: int = 0) -> int:
    """Priority of an event, which is its place within a tick.

    Parameters
    ----------
    actor : int
        `CONTROL_PLANE`, or `replica_actor` of a replica.
    kind : ControlEvent or ReplicaEvent
        Kind of the event.
    index : int, default 0
        Orders events of the same actor and kind, e.g. by their source; below 2**32.
    """
    return _FIRST_PRIORITY + (((actor << 3) | kind) << 32) + index


FOLLOWING_ARRIVAL = event_priority(CONTROL_PLANE, ControlEvent.ARRIVAL, 2**32 - 1)
"""Place within a tick of requests that are made during the simulation: after those of the workload."""


class OrderedEvent(Event):
    """An event at a place in the total order.

    Parameters
    ----------
    env : Environment
        The environment.
    at : int, tick
        When it happens.
    priority : int
        Its place within the tick, from `event_priority`.
    value : object, optional
        Value of the event.
    """

    def __init__(self, env: Environment, at: int, priority: int, value: Any = None) -> None:
        # Private parts of SimPy (`_value`, `_ok`, `_queue`, `_eid`): the public way, Event() and schedule(), knows no
        # absolute time and costs a third more, for several events a request. A test checks the layout of the heap
        # entry.
        self.env = env
        self.callbacks = []
        self._value = value
        self._ok = True
        heappush(env._queue, (at, priority, next(env._eid), self))  # type: ignore[misc]


class Wakeup:
    """The event that one process waits for, which other processes can move to another tick.

    Parameters
    ----------
    env : Environment
        The environment.
    priority : int
        Place of the event within its tick.
    """

    __slots__ = ("_env", "_event", "_priority", "process")

    def __init__(self, env: Environment, priority: int) -> None:
        self._env = env
        self._priority = priority
        self._event: Event = Event(env)
        self.process: simpy.Process | None = None
        """The process that waits; set where it is started."""

    def at(self, tick: int) -> Event:
        """Return the event to yield in order to wait for a tick."""
        self._event = OrderedEvent(self._env, tick, self._priority)
        return self._event

    def never(self) -> Event:
        """Return the event to yield in order to wait until `move` sets a tick."""
        self._event = Event(self._env)
        return self._event

    def move(self, tick: int) -> None:
        """Let the waiting process resume at another tick."""
        event = OrderedEvent(self._env, tick, self._priority)
        # SimPy cannot take an event off its heap, and `Process.interrupt`, the public way, costs four times as much. So
        # the callbacks, which resume the process, are handed to the new event; the old one fires without any. SimPy
        # reads `_target` to find the callback of a process that is interrupted.
        event.callbacks, self._event.callbacks = self._event.callbacks, []
        self._event = event
        assert self.process is not None
        self.process._target = event


class Environment(simpy.Environment):
    """A SimPy environment whose clock counts whole microseconds.

    Parameters
    ----------
    start : int, tick
        Start of the clock.

    Attributes
    ----------
    tick_position : int
        How far the current tick has advanced in the total order: the largest priority of its events so far.
    """

    def __init__(self, start: int = 0) -> None:
        super().__init__(start)
        self.tick_position = 0

    @property
    def now(self) -> int:
        """The current tick."""
        # SimPy's own property, with the type that the clock has here.
        return self._now  # type: ignore[return-value]

    def step(self) -> None:
        """Process the next event as SimPy does, and record the position within the tick.

        Raises
        ------
        simpy.core.EmptySchedule
            If there is none.
        """
        # SimPy's method does not return the priority of the event that it takes off the heap. Reading it beforehand
        # from `_queue[0]`, private as well, and calling the method would add a tenth to the cost of each event. The
        # rest is as in SimPy 4.1, private attributes included.
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
            # The other callbacks of this event follow when the run goes on.
            event.callbacks = callbacks[callbacks.index(callback) + 1 :]
            if event.callbacks:
                self.schedule(event, EventPriority(-1))
            raise
        if not event._ok and not hasattr(event, "_defused"):
            # The exception itself, not a copy made from its arguments as in SimPy: errors of ours carry more than
            # those.
            raise event._value

    def stop(self, _event: Event | None = None) -> None:
        """End `run`; usable as a callback."""
        raise StopSimulation(None)

    def schedule(self, event: Event, priority: EventPriority = NORMAL, delay: float = 0) -> None:
        """Put an event into the queue as SimPy does.

        Raises
        ------
        SimulationError
            If the delay is not a Python int: a float or a numpy integer would turn the clock into one.
        """
        if type(delay) is not int:
            raise SimulationError.at(
                "delay", "must be a whole number of microseconds (int)", delay, hint="e.g. 5 * blis_simpy.SECOND"
            )
        super().schedule(event, priority, delay)

    def event_at(self, tick: int, priority: int, value: Any = None) -> OrderedEvent:
        """Return an event at a tick and a place within it; a process yields it to wait for that place."""
        return OrderedEvent(self, tick, priority, value)

    def call_at(self, tick: int, priority: int, callback: Callable[[Event], None], value: Any = None) -> OrderedEvent:
        """Call a function with an event at a tick and a place within it, when it happens."""
        event = OrderedEvent(self, tick, priority, value)
        event.callbacks.append(callback)
        return event
