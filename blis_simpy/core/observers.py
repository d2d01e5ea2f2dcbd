"""Events in the life of a request, and the objects that observe them.

Each part of a simulation announces what it did: the router, the replicas, the life cycle of replicas. Whatever reacts
to it is an observer: the cluster hands a routed request to its replica, the decision log records decisions, the end of
the run counts the requests that have ended, a user's object does what its author wants. An event without observers
costs the test of one attribute.

In the order in which they happen to a request::

    arrived -> admitted -> routed -> enqueued -> scheduled -> first_token -> leg_finished -> ended
            -> rejected ------------------------------------------------------------------> ended

`preempted` leads back to `scheduled`. A leg that its replica gave up leads back to `admitted` or `rejected`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from blis_simpy.errors import ScenarioError

if TYPE_CHECKING:
    from collections.abc import Callable

    from simpy.events import Event

    from blis_simpy.core.environment import Environment
    from blis_simpy.core.request import Leg, Request, Route

__all__ = ["EVENTS", "Observer", "Observers"]

# Priority of deferred calls: before a pause at this tick (-1), and before everything else of it.
_RIGHT_AFTER = -2


class Observer:
    """Base class of observers: override the methods of the events that are of interest.

    Deriving from it is optional. Any object with some of these methods is an observer.
    """

    def arrived(self, request: Request) -> None:
        """Observe that a request arrives at the router."""

    def admitted(self, request: Request, reason: str) -> None:
        """Observe that admission accepts a request, for a reason that may be empty."""

    def rejected(self, request: Request, reason: str) -> None:
        """Observe that a request is refused: by admission, or by routing if it was admitted (`request.admitted_at`)."""

    def routed(self, route: Route) -> None:
        """Observe that routing chooses the replica of a request."""

    def enqueued(self, leg: Leg) -> None:
        """Observe that a request enters the wait queue of its replica."""

    def scheduled(self, leg: Leg) -> None:
        """Observe that a request joins the running batch."""

    def first_token(self, leg: Leg) -> None:
        """Observe that a step ends the prefill of a request: at its start, while `leg.ttft` counts to its end."""

    def preempted(self, leg: Leg) -> None:
        """Observe that a running request loses its KV blocks and waits again."""

    def leg_finished(self, leg: Leg) -> None:
        """Observe that a leg is completed, timed out, dropped or withdrawn (`leg.outcome`), but not preempted."""

    def ended(self, request: Request) -> None:
        """Observe that a request is over, in whatever way (`request.outcome`)."""

    def replica_state(self, replica: int, state: str) -> None:
        """Observe that a replica changes its state, see `blis_simpy.cluster.lifecycle.ReplicaState`."""

    def idle(self, replica: int) -> None:
        """Observe that a replica runs out of work."""


EVENTS = tuple(name for name in vars(Observer) if not name.startswith("_"))
"""Names of all events, which are those of the methods of an observer."""


class Observers:
    """The observers of one simulation.

    Parameters
    ----------
    env : Environment
        Where deferred calls take place.

    Attributes
    ----------
    arrived, admitted, rejected, routed, enqueued, scheduled, first_token, preempted, leg_finished, ended,
    replica_state, idle : callable or None
        Announces the event to all its observers in the order in which they were added; None without any.
    """

    __slots__ = ("_env", "_functions", "_last", *EVENTS)

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._functions: dict[str, list[Callable[..., object]]] = {event: [] for event in EVENTS}
        self._last: dict[str, Callable[..., object]] = {}
        self.arrived: Callable[[Request], object] | None = None
        self.admitted: Callable[[Request, str], object] | None = None
        self.rejected: Callable[[Request, str], object] | None = None
        self.routed: Callable[[Route], object] | None = None
        self.enqueued: Callable[[Leg], object] | None = None
        self.scheduled: Callable[[Leg], object] | None = None
        self.first_token: Callable[[Leg], object] | None = None
        self.preempted: Callable[[Leg], object] | None = None
        self.leg_finished: Callable[[Leg], object] | None = None
        self.ended: Callable[[Request], object] | None = None
        self.replica_state: Callable[[int, Any], object] | None = None
        self.idle: Callable[[int], object] | None = None

    def add(self, event: str, function: Callable[..., object], *, last: bool = False) -> None:
        """Call a function at each event of a kind, within the change that it announces.

        Parameters
        ----------
        event : str
            One of `EVENTS`.
        function : callable
            Takes what the method of `Observer` with this name takes. It must not change what is being changed.
        last : bool, default False
            Whether it is called after all others, those that are added later included, because it makes further events
            happen. One function an event.
        """
        if last:
            self._last[event] = function
        else:
            self._functions[event].append(function)
        functions = [*self._functions[event], *([self._last[event]] if event in self._last else [])]
        setattr(self, event, functions[0] if len(functions) == 1 else _calling_all(tuple(functions)))

    def add_deferred(self, event: str, function: Callable[..., object]) -> None:
        """Call a function right after each event of a kind, at the same tick, as an event of its own.

        Then the change that it announces is complete, and the function may do whatever a process may do.
        """
        env = self._env

        def call(event: Event) -> None:
            function(*cast("tuple[object, ...]", event.value))

        def defer(*details: object) -> None:
            env.call_at(env.now, _RIGHT_AFTER, call, details)

        self.add(event, defer)

    def subscribe(self, observer: object, *, deferred: bool = False) -> None:
        """Add the methods of an observer.

        Parameters
        ----------
        observer : object
            Has some of the methods of `Observer`.
        deferred : bool, default False
            Whether they are called right after the event (`add_deferred`) instead of within it (`add`).

        Raises
        ------
        ScenarioError
            If the object has no such method.
        """
        add = self.add_deferred if deferred else self.add
        observed = [event for event in EVENTS if _observes(observer, event)]
        if not observed:
            raise ScenarioError.at("observer", f"must have a method named {', '.join(EVENTS)}", observer)
        for event in observed:
            add(event, getattr(observer, event))


def _observes(observer: object, event: str) -> bool:
    method = getattr(observer, event, None)
    return callable(method) and getattr(method, "__func__", None) is not getattr(Observer, event)


def _calling_all(functions: tuple[Callable[..., object], ...]) -> Callable[..., None]:
    def announce(*details: object) -> None:
        for function in functions:
            function(*details)

    return announce
