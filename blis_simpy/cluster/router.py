"""The router: admission and routing of requests.

Each is a process that decides after its delay, at its own place in the tick. Within a tick, all admissions come before
the first routing decision, and all routing decisions before the first step of a replica, even with a delay of 0. So the
routing decisions of a tick see the same state of the replicas, but count each other's requests in flight.
"""

from __future__ import annotations

import math
from collections import deque
from operator import index
from typing import TYPE_CHECKING, NamedTuple

import attrs
import numpy as np

from blis_simpy.cluster.policies import AdmissionDecision, RoutingDecision
from blis_simpy.cluster.policy_calls import broken
from blis_simpy.core.environment import CONTROL_PLANE, ControlEvent, Wakeup, event_priority
from blis_simpy.core.plugin_faults import place_of
from blis_simpy.core.request import NEVER, Phase, Request, Route
from blis_simpy.core.request_view import shown_to
from blis_simpy.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from simpy.events import Event

    from blis_simpy.cluster.leg_planner import LegPlanner
    from blis_simpy.cluster.policies import AdmissionPolicy, RoutingPolicy, Snapshot
    from blis_simpy.cluster.snapshots import SnapshotTable
    from blis_simpy.core.environment import Environment
    from blis_simpy.core.observers import Observers

__all__ = ["Router", "RouterTiming", "State", "declares"]

_BOOLS = (bool, np.bool_)
_BOTH = Phase.BOTH


@attrs.frozen(kw_only=True)
class RouterTiming:
    """Delays of the router and maximum age of its snapshots.

    Attributes
    ----------
    admission_delay_us, routing_delay_us : int, µs
        Delay of an admission decision, and of a routing decision.
    snapshot_interval_us : int, µs
        Age from which a snapshot of a replica is refreshed; 0 = always fresh.
    """

    admission_delay_us: int = 0
    routing_delay_us: int = 0
    snapshot_interval_us: int = 0


class State(NamedTuple):
    """Tick of a decision, and snapshots of the replicas that can serve the request."""

    now: int
    snapshots: Sequence[Snapshot]


def _are_finite(scores: Sequence[float], count: int) -> bool:
    try:
        return len(scores) == count and all(map(math.isfinite, scores))
    except TypeError:
        return False


def declares(policy: object, attribute: str, method: str) -> bool:
    """Whether an attribute is set by the class that defines a method of a policy, or by a subclass of it."""
    for kind in type(policy).__mro__:
        if attribute in vars(kind):
            return bool(vars(kind)[attribute])
        if method in vars(kind):
            return False
    return False


class DelayStage:
    """A process that takes one decision per request, after a constant delay.

    Attributes
    ----------
    pending : deque of (int, Request)
        Time of the decision and request, in order. Other objects only read it.
    """

    def __init__(self, env: Environment, kind: ControlEvent, delay_us: int, decide: Callable[[Request], None]) -> None:
        self._env = env
        self._delay_us = delay_us
        self._decide = decide
        self.pending: deque[tuple[int, Request]] = deque()
        self._priority = event_priority(CONTROL_PLANE, kind)
        self._wakeup = Wakeup(env, self._priority)
        self._wakeup.process = env.process(self.serve())

    def takes_place_now(self) -> bool:
        """Move to the place of the stage in this tick, unless it has a delay or another event precedes it."""
        return not self._delay_us and self._env.advance(self._env.now, self._priority)

    def put(self, request: Request) -> None:
        """Add a request."""
        due = self._env.now + self._delay_us
        self.pending.append((due, request))
        if len(self.pending) == 1:
            self._wakeup.move(due)

    def serve(self) -> Generator[Event, None, None]:
        """Decide on each request after its delay."""
        pending = self.pending
        while True:
            yield self._wakeup.at(pending[0][0]) if pending else self._wakeup.never()
            # Removed after the decision: `put` moves the wake-up only if nothing is pending, and this process must not
            # be moved while it is active.
            self._decide(pending[0][1])
            pending.popleft()


class Router:
    """Admits requests and routes them to replicas.

    Parameters
    ----------
    env : Environment
        The simulation's environment.
    admission : AdmissionPolicy
        Decides which requests are accepted.
    routing : RoutingPolicy
        Chooses the replica of each request.
    timing : RouterTiming
        Delays of these decisions.
    snapshots : SnapshotTable
        Snapshots of the replicas.
    observers : Observers
        Observers of the decisions; the cluster observes `routed` and submits the request to its replica.

    Attributes
    ----------
    rejected : list of int
        Rows of the requests rejected by admission, in order.
    num_unroutable : int
        Number of requests without a replica for their model.
    planner : LegPlanner or None
        Plans the legs of requests whose phases have separate replicas; None if each request has one leg.
    """

    def __init__(
        self,
        env: Environment,
        *,
        admission: AdmissionPolicy,
        routing: RoutingPolicy,
        timing: RouterTiming,
        snapshots: SnapshotTable,
        observers: Observers,
    ) -> None:
        self.rejected: list[int] = []
        self.num_unroutable = 0
        self.planner: LegPlanner | None = None
        self._env = env
        self._admission = admission
        self._routing = routing
        self._admission_view, self._routing_view = shown_to(admission), shown_to(routing)
        self._snapshots = snapshots
        self._observers = observers
        # With a single replica and no delays, such policies decide on arrival as they would at their places in the
        # tick, which saves two events per request. They are called nevertheless, because they may keep state, and
        # replicas may be added later.
        self._decides_on_arrival = (
            timing.admission_delay_us == timing.routing_delay_us == 0
            and declares(admission, "may_decide_on_arrival", "admit")
            and declares(routing, "may_decide_on_arrival", "route")
        )
        # A thousand replicas have a thousand scores at each decision.
        self._checks_scores = not declares(routing, "gives_finite_scores", "route")
        self._admissions = DelayStage(env, ControlEvent.ADMISSION, timing.admission_delay_us, self._decide_admission)
        self._routings = DelayStage(env, ControlEvent.ROUTING, timing.routing_delay_us, self._decide_routing)

    def __repr__(self) -> str:
        return f"<Router with {type(self._routing).__name__}>"

    def accept(self, request: Request, *, ends_turn: bool = False) -> None:
        """Accept a request that arrives now.

        Parameters
        ----------
        request : Request
            The request.
        ends_turn : bool, default False
            Whether the caller does nothing else in this event. Then the request is decided on at once if no other event
            precedes the decisions, which saves their events.
        """
        if self._observers.arrived is not None:
            self._observers.arrived(request)
        # Requests that were resubmitted at this tick, and are pending, come first.
        if self._admissions.pending or self._routings.pending:
            self._admissions.put(request)
        elif self._decides_on_arrival and self._snapshots.num_replicas == 1:
            state = self._state(request)
            if self._admit(request, state):
                self._route(request, state)
        elif ends_turn and self._admissions.takes_place_now():
            state = self._state(request)
            if not self._admit(request, state):
                return
            if self._routings.takes_place_now():
                self._route(request, state)
            else:
                self._routings.put(request)
        else:
            self._admissions.put(request)

    def resubmit(self, request: Request) -> None:
        """Accept a request withdrawn from its replica, at any place in the tick; it is admitted and routed again."""
        request.admitted_at = NEVER
        self._admissions.put(request)

    def reroute(self, request: Request) -> None:
        """Choose a replica again for a request that is admitted, at any place in the tick."""
        self._routings.put(request)

    def _state(self, request: Request) -> State:
        now = self._env.now
        return State(now, self._snapshots.snapshots_for(now, request.model))

    def _decide_admission(self, request: Request) -> None:
        if self._admit(request, self._state(request)):
            self._routings.put(request)

    def _decide_routing(self, request: Request) -> None:
        self._route(request, self._state(request))

    def _admit(self, request: Request, state: State) -> bool:
        try:
            shown = self._admission_view(request) if self._admission_view else request
            answer: object = self._admission.admit(shown, state)
        except Exception as error:
            raise broken("policy", self._admission, "admit", error, request, state.now) from error
        decision = answer if isinstance(answer, AdmissionDecision) else AdmissionDecision(answer)  # type: ignore[arg-type]
        if not isinstance(decision.admitted, _BOOLS):
            raise self._misbehaved(self._admission, request, "admit must return an AdmissionDecision or a bool", answer)
        if not decision.admitted:
            self.rejected.append(request.row)
            self._reject(request, decision.reason)
            return False
        request.admitted_at = state.now
        if self._observers.admitted is not None:
            self._observers.admitted(request, decision.reason)
        return True

    def _route(self, request: Request, state: State) -> None:
        now, snapshots = state
        if not snapshots:
            self.num_unroutable += 1
            self._reject(request, "no replica serves this model")
            return
        try:
            answer = self._routing.route(self._routing_view(request) if self._routing_view else request, state)
        except Exception as error:
            raise broken("policy", self._routing, "route", error, request, now) from error
        decision = answer if isinstance(answer, RoutingDecision) else RoutingDecision(answer)
        chosen = decision.replica
        if type(chosen) is not int:
            chosen = self._as_index(chosen, request)
        if not self._snapshots.is_routable(chosen, request.model):
            shown = ", ".join(str(snapshot.replica) for snapshot in snapshots)
            raise self._misbehaved(
                self._routing, request, f"route must return the index of a replica it was shown ({shown})", chosen
            )
        scores = decision.scores
        if scores is not None and self._checks_scores and not _are_finite(scores, len(snapshots)):
            raise self._misbehaved(
                self._routing, request, f"the scores of a decision must be {len(snapshots)} finite numbers", scores
            )
        if self._observers.routed is not None:
            legs: tuple[tuple[int, Phase], ...] = ((chosen, _BOTH),)
            reason = decision.reason
            if self.planner is not None:
                legs, reason = self._planned(request, decision, chosen, now)
            self._observers.routed(Route(request, now, legs, reason, scores, snapshots))

    def _planned(
        self, request: Request, decision: RoutingDecision, chosen: int, now: int
    ) -> tuple[tuple[tuple[int, Phase], ...], str]:
        """Return the legs of a request that the chosen replica decodes, and the reason."""
        assert self.planner is not None
        if self.planner.is_prefilled(request):
            return ((chosen, Phase.DECODE),), decision.reason
        prefill = State(now, self._snapshots.prefill_snapshots_for(now, request.model))
        choice = self.planner.prefill_replica(request, self._snapshots.snapshot(chosen), prefill)
        if choice is None:
            return ((chosen, _BOTH),), decision.reason
        reason = f"{decision.reason}; prefill on replica {choice.replica}: {choice.reason}"
        return ((choice.replica, Phase.PREFILL), (chosen, Phase.DECODE)), reason

    def _as_index(self, chosen: object, request: Request) -> int:
        """Convert an integer of another type, such as numpy's."""
        if not isinstance(chosen, bool):
            try:
                return index(chosen)  # type: ignore[arg-type]
            except TypeError:
                pass
        raise self._misbehaved(
            self._routing, request, "route must return the index of a replica or a RoutingDecision", chosen
        )

    def _reject(self, request: Request, reason: str) -> None:
        request.rejected_at = self._env.now
        if self._observers.rejected is not None:
            self._observers.rejected(request, reason)
        if self._observers.ended is not None:
            self._observers.ended(request)

    def _misbehaved(self, policy: object, request: Request, rule: str, value: object) -> PluginError:
        hint = place_of(request, self._env.now).strip(" ()")
        return PluginError.at(f"policy {type(policy).__name__}", rule, value, hint=hint)
