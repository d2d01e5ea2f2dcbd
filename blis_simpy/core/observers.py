"""Events of requests and replicas, and their observers.

The router, the replicas and the life cycle of replicas announce events; observers react to them. The cluster submits a
routed request to its replica, the decision log records decisions, the end of the run counts ended requests; users add
observers of their own. An event without observers costs the test of one attribute.

Events of a request, in order::

    arrived -> admitted -> routed -> enqueued -> scheduled -> first_token -> leg_finished -> ended
            -> rejected ------------------------------------------------------------------> ended

After `preempted` comes `scheduled` again; after `leg_finished` of a withdrawn leg, `admitted` or `rejected`. After
`leg_finished` of a leg that is handed over, the next replica announces `enqueued`, `blocks_reserved`, `blocks_received`
and `scheduled`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from blis_simpy.errors import ScenarioError
from blis_simpy.registry import takes

if TYPE_CHECKING:
    from collections.abc import Callable

    from simpy.events import Event

    from blis_simpy.core.environment import Environment
    from blis_simpy.core.request import Leg, Request, Route

__all__ = ["EVENTS", "Observer", "Observers"]

# Priority of deferred calls: before the end of the run at a tick (-1), and before all other events of the tick.
_RIGHT_AFTER = -2


class Observer:
    """Base class of observers: override the methods of the events to observe.

    The base class is optional: any object with some of these methods is an observer.
    """

    def arrived(self, request: Request) -> None:
        """Observe that a request arrives at the router."""

    def admitted(self, request: Request, reason: str) -> None:
        """Observe that admission accepts a request, for a reason that may be empty."""

    def rejected(self, request: Request, reason: str) -> None:
        """Observe that a request is rejected by admission, or by routing if `request.admitted_at` >= 0."""

    def routed(self, route: Route) -> None:
        """Observe that routing chooses the replica of a request."""

    def enqueued(self, leg: Leg) -> None:
        """Observe that a request enters the wait queue of its replica."""

    def blocks_reserved(self, leg: Leg) -> None:
        """Observe that a replica allocates the KV blocks of a request, which another replica sends from now on."""

    def blocks_received(self, leg: Leg) -> None:
        """Observe that the KV blocks of a request have arrived from another replica."""

    def scheduled(self, leg: Leg) -> None:
        """Observe that a request joins the running batch."""

    def first_token(self, leg: Leg) -> None:
        """Observe that a request completes its prefill; `leg.ttft` lasts to the end of the step."""

    def preempted(self, leg: Leg) -> None:
        """Observe that a running request is preempted."""

    def leg_finished(self, leg: Leg) -> None:
        """Observe the end of a leg: completed, timed out, dropped, withdrawn, handed over; not for preemptions."""

    def ended(self, request: Request) -> None:
        """Observe that a request ends, with any outcome (`request.outcome`)."""

    def replica_state(self, replica: int, state: str) -> None:
        """Observe that a replica changes its state, see `blis_simpy.cluster.lifecycle.ReplicaState`."""

    def idle(self, replica: int) -> None:
        """Observe that a replica becomes idle."""

    def blocked(self, replica: int) -> None:
        """Observe that requests wait on a replica that runs none, because slots or KV blocks are held by others."""


EVENTS = tuple(name for name in vars(Observer) if not name.startswith("_"))
"""Names of all events, equal to the names of the methods of `Observer`."""


_ARGUMENTS = {
    event: method.__code__.co_varnames[1 : method.__code__.co_argcount]
    for event, method in vars(Observer).items()
    if event in EVENTS
}


class Observers:
    """The observers of one simulation.

    Parameters
    ----------
    env : Environment
        Environment for deferred calls.

    Attributes
    ----------
    arrived, admitted, rejected, routed, enqueued, blocks_reserved, blocks_received, scheduled, first_token, preempted,
    leg_finished, ended, replica_state, idle, blocked : callable or None
        Calls the observers of the event, in the order in which they were added; None without observers.
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
        self.blocks_reserved: Callable[[Leg], object] | None = None
        self.blocks_received: Callable[[Leg], object] | None = None
        self.scheduled: Callable[[Leg], object] | None = None
        self.first_token: Callable[[Leg], object] | None = None
        self.preempted: Callable[[Leg], object] | None = None
        self.leg_finished: Callable[[Leg], object] | None = None
        self.ended: Callable[[Request], object] | None = None
        self.replica_state: Callable[[int, Any], object] | None = None
        self.idle: Callable[[int], object] | None = None
        self.blocked: Callable[[int], object] | None = None

    def add(self, event: str, function: Callable[..., object], *, last: bool = False) -> None:
        """Call a function at each event of a kind, while the change is in progress.

        Parameters
        ----------
        event : str
            One of `EVENTS`.
        function : callable
            Has the parameters of the method of `Observer` with this name. It must not interfere with the change.
        last : bool, default False
            Whether to call it after all other observers, because it causes further events. At most one per event.
        """
        if last:
            self._last[event] = function
        else:
            self._functions[event].append(function)
        functions = [*self._functions[event], *([self._last[event]] if event in self._last else [])]
        setattr(self, event, functions[0] if len(functions) == 1 else _calling_all(tuple(functions)))

    def add_deferred(self, event: str, function: Callable[..., object]) -> None:
        """Call a function after each event of a kind, at the same tick, as a separate event of the environment.

        The change is complete then, so the function may change the simulation like any process.
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
            Object with some of the methods of `Observer`.
        deferred : bool, default False
            Whether to call them after the change (`add_deferred`) or while it is in progress (`add`).

        Raises
        ------
        ScenarioError
            If the object has none of these methods, or one that does not take the arguments of its event.
        """
        add = self.add_deferred if deferred else self.add
        observed = [event for event in EVENTS if _observes(observer, event)]
        if not observed:
            raise ScenarioError.at("observer", f"must have a method named {', '.join(EVENTS)}", observer)
        for event in observed:
            method, names = getattr(observer, event), _ARGUMENTS[event]
            if not takes(method, len(names)):
                raise ScenarioError.at(
                    f"observer {type(observer).__name__} {event}", f"must take the arguments ({', '.join(names)})"
                )
            add(event, method)


def _observes(observer: object, event: str) -> bool:
    method = getattr(observer, event, None)
    return callable(method) and getattr(method, "__func__", None) is not getattr(Observer, event)


def _calling_all(functions: tuple[Callable[..., object], ...]) -> Callable[..., None]:
    def announce(*details: object) -> None:
        for function in functions:
            function(*details)

    return announce
