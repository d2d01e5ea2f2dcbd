"""The clock and the one total order of what happens.

Time is a whole number of microseconds (a *tick*). Things of the same tick happen in a fixed order: first whatever a
user's own processes do, then the control plane, then replica 0, replica 1, and so on; within each of these by the kind
of turn, then in the order in which the turns were asked for. SimPy sorts its queue by (time, priority, sequence), so
one priority number per turn is all it takes.
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
"""Lane of everything in front of the replicas."""

# SimPy's own priorities are 0 (urgent) and 1 (normal); turns come after both.
_FIRST_TURN = 16


def replica_actor(index: int) -> int:
    """Lane of a replica."""
    return index + 1


class ControlEvent(IntEnum):
    """Kinds of turns in the control plane, in their order within a tick."""

    NODE = 0
    INSTANCE = 1
    ARRIVAL = 2
    ADMISSION = 3
    ROUTING = 4


class ReplicaEvent(IntEnum):
    """Kinds of turns of a replica, in their order within a tick."""

    ARRIVAL = 0
    QUEUED = 1
    STEP = 2
    TIMEOUT = 5


def event_priority(lane: int, kind: IntEnum, index: int = 0) -> int:
    """Place of a turn within its tick.

    Parameters
    ----------
    lane : int
        `CONTROL_PLANE` or the lane of a replica.
    kind : ControlEvent or ReplicaEvent
        What the turn is for.
    index : int
        Orders turns of one lane and kind, e.g. by source; below 2**32.
    """
    return _FIRST_TURN + (((lane << 3) | kind) << 32) + index


class OrderedEvent(Event):
    """An event at a place in the total order.

    Parameters
    ----------
    env : Environment
        Where it happens.
    at : int, tick
        When it happens.
    priority : int
        Its place within the tick, from `event_priority`.
    value : object
        Handed to whoever waits for it.
    """

    def __init__(self, env: Environment, at: int, priority: int, value: Any = None) -> None:
        # Written out instead of calling Event.__init__ and schedule(): one turn a request and a step adds up.
        self.env = env
        self.callbacks = []
        self._value = value
        self._ok = True
        heappush(env._queue, (at, priority, next(env._eid), self))  # type: ignore[misc]


class Wakeup:
    """What one of our processes waits for: a turn, which can be changed while it waits.

    Parameters
    ----------
    env : Environment
        Where it rings.
    priority : int
        Place of its turns within a tick.
    """

    __slots__ = ("_env", "_event", "_priority", "process")

    def __init__(self, env: Environment, priority: int) -> None:
        self._env = env
        self._priority = priority
        self._event: Event = Event(env)
        self.process: simpy.Process | None = None
        """The process that waits; whoever starts it sets this."""

    def at(self, tick: int) -> Event:
        """Return the event to yield in order to wait for a turn at a tick."""
        self._event = OrderedEvent(self._env, tick, self._priority)
        return self._event

    def off(self) -> Event:
        """Return the event to yield in order to wait until `move` says for what."""
        self._event = Event(self._env)
        return self._event

    def move(self, tick: int) -> None:
        """Let the process that waits take its turn at another tick."""
        turn = OrderedEvent(self._env, tick, self._priority)
        # The process follows its callback to the new event; the old one passes unheard.
        turn.callbacks, self._event.callbacks = self._event.callbacks, []
        self._event = turn
        assert self.process is not None
        self.process._target = turn


class Environment(simpy.Environment):
    """A SimPy environment whose clock only knows whole microseconds.

    Parameters
    ----------
    start : int, tick
        Where the clock starts.

    Attributes
    ----------
    place : int
        How far the present tick has got in the total order: the largest priority that had its turn in it.
    """

    def __init__(self, start: int = 0) -> None:
        super().__init__(start)
        self.place = 0

    @property
    def now(self) -> int:
        """The current tick."""
        return self._now  # type: ignore[return-value]

    def step(self) -> None:
        """Process the next event, as in SimPy, and keep track of the place within the tick.

        Raises
        ------
        simpy.core.EmptySchedule
            If there is none.
        """
        try:
            now, priority, _, event = heappop(self._queue)
        except IndexError:
            raise EmptySchedule from None
        if now != self._now:
            self._now = now
            self.place = priority
        elif priority > self.place:
            self.place = priority
        callbacks, event.callbacks = event.callbacks, None  # type: ignore[assignment]
        try:
            for callback in callbacks:
                callback(event)
        except StopSimulation:
            event.callbacks = callbacks[callbacks.index(callback) + 1 :]
            if event.callbacks:
                self.schedule(event, EventPriority(-1))
            raise
        if not event._ok and not hasattr(event, "_defused"):
            # Itself, not a copy made from its arguments: errors of ours carry more than those.
            raise event._value

    def stop(self, _event: Event | None = None) -> None:
        """End `run`; usable as a callback."""
        raise StopSimulation(None)

    def schedule(self, event: Event, priority: EventPriority = NORMAL, delay: float = 0) -> None:
        """Put an event into the queue, as in SimPy.

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

    def turn(self, at: int, priority: int, value: Any = None) -> OrderedEvent:
        """Return an event at a tick and a place within it; yield it to wait for that turn."""
        return OrderedEvent(self, at, priority, value)

    def call_at(self, at: int, priority: int, callback: Callable[[Event], None], value: Any = None) -> OrderedEvent:
        """Call a function with the turn as its argument when that turn comes."""
        turn = OrderedEvent(self, at, priority, value)
        turn.callbacks.append(callback)
        return turn
