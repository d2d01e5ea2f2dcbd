"""The way of a request into the cluster: admission, then routing, then a replica.

Two processes take these decisions, each after the delay of its stage and in its own turn, even where the delay is 0: of
the requests of one tick all are admitted before the first is routed, and all are routed before any replica moves. So
routing decisions of one tick see the same replicas, but each other's requests in flight.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from operator import index
from typing import TYPE_CHECKING

import attrs
import numpy as np

from blis_simpy.cluster.admission import AlwaysAdmit
from blis_simpy.cluster.policies import AdmissionDecision, RoutingDecision, Snapshot, broken
from blis_simpy.core.environment import CONTROL_PLANE, ControlEvent, Wakeup, event_priority
from blis_simpy.core.request import Request, RequestOutcome
from blis_simpy.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from simpy.events import Event

    from blis_simpy.cluster.decision_log import DecisionLog
    from blis_simpy.cluster.policies import AdmissionPolicy, RoutingPolicy
    from blis_simpy.cluster.snapshots import SnapshotTable
    from blis_simpy.core.environment import Environment
    from blis_simpy.core.observers import Hooks

__all__ = ["Router", "State"]


@attrs.frozen
class State:
    """What there is to decide on: the tick, and the replicas that may get the request."""

    now: int
    snapshots: Sequence[Snapshot]


def _are_finite(scores: Sequence[float], count: int) -> bool:
    try:
        return len(scores) == count and all(map(math.isfinite, scores))
    except TypeError:
        return False


class DelayStage:
    """A process that deals with requests one by one, each after the same delay."""

    def __init__(self, env: Environment, kind: ControlEvent, delay_us: int, decide: Callable[[Request], None]) -> None:
        self._env = env
        self._delay_us = delay_us
        self._decide = decide
        self._pending: deque[tuple[int, Request]] = deque()
        self._alarm = Wakeup(env, event_priority(CONTROL_PLANE, kind))
        self._alarm.process = env.process(self.serve())

    def put(self, request: Request) -> None:
        """Hand over a request."""
        due = self._env.now + self._delay_us
        self._pending.append((due, request))
        if len(self._pending) == 1:
            self._alarm.move(due)

    def serve(self) -> Generator[Event, None, None]:
        """Deal with each request in its turn."""
        pending = self._pending
        while True:
            yield self._alarm.at(pending[0][0]) if pending else self._alarm.off()
            self._decide(pending[0][1])
            pending.popleft()


class Router:
    """Admits requests and sends them to replicas.

    Parameters
    ----------
    env : Environment
        The simulation's environment.
    admission : AdmissionPolicy
        Who is let in.
    admission_delay_us : int, µs
        Time that takes.
    routing : RoutingPolicy
        Who goes where.
    routing_delay_us : int, µs
        Time that takes.
    book : SnapshotTable
        What is known of the replicas.
    dispatch : callable
        Sends a request to the replica of an index.
    log : DecisionLog or None
        Told of each decision.
    on_rejected : callable
        Told of each request that was refused.
    hooks : Hooks
        Told of each request that was let in, and of each that was handed to a replica.

    Attributes
    ----------
    rejected : list of Request
        Requests refused at admission, in order.
    num_unroutable : int
        Requests that found no replica for their model.
    """

    def __init__(
        self,
        env: Environment,
        *,
        admission: AdmissionPolicy,
        admission_delay_us: int,
        routing: RoutingPolicy,
        routing_delay_us: int,
        book: SnapshotTable,
        dispatch: Callable[[int, Request], None],
        log: DecisionLog | None,
        on_rejected: Callable[[Request], None],
        hooks: Hooks,
    ) -> None:
        self.rejected: list[Request] = []
        self.num_unroutable = 0
        self._env = env
        self._admission = admission
        self._routing = routing
        self._book = book
        self._dispatch = dispatch
        self._log = log
        self._on_rejected = on_rejected
        self._hooks = hooks
        # Without delays, these policies decide the same for a single replica at once as in the turns of their stages.
        # The routing policy is asked all the same: other replicas may be added, and it may have learnt something.
        self._trivial = (
            admission_delay_us == routing_delay_us == 0
            and log is None
            and type(admission) is AlwaysAdmit
            and getattr(routing, "takes_the_only_one", False)
        )
        self._admissions = DelayStage(env, ControlEvent.ADMISSION, admission_delay_us, self._admit)
        self._routings = DelayStage(env, ControlEvent.ROUTING, routing_delay_us, self._route)

    def accept(self, request: Request) -> None:
        """Take a request that arrives now."""
        if not (self._trivial and self._book.num_replicas == 1):
            self._admissions.put(request)
        else:
            self._admitted(request)
            self._route(request)

    def resubmit(self, request: Request) -> None:
        """Take a request that a replica gave up, at any place in the tick; it goes through both stages again."""
        self._admissions.put(request)

    def _admit(self, request: Request) -> None:
        now = self._env.now
        state = State(now, self._book.look(now, request.model))
        try:
            answer: object = self._admission.admit(request, state)
        except Exception as error:
            raise broken("policy", self._admission, "admit", error) from error
        decision = answer if isinstance(answer, AdmissionDecision) else AdmissionDecision(answer)  # type: ignore[arg-type]
        if not isinstance(decision.admitted, bool | np.bool_):
            raise self._misbehaved(self._admission, "admit must return an AdmissionDecision or a bool", answer)
        if self._log is not None:
            self._log.admission(request, now, decision)
        if decision.admitted:
            self._admitted(request)
            self._routings.put(request)
        else:
            self.rejected.append(request)
            self._reject(request)

    def _admitted(self, request: Request) -> None:
        request.admitted_at = self._env.now
        if self._hooks.admitted is not None:
            self._hooks.admitted(request)

    def _route(self, request: Request) -> None:
        now = self._env.now
        snapshots = self._book.look(now, request.model)
        if not snapshots:
            self._turn_away(request)
            return
        try:
            answer = self._routing.route(request, State(now, snapshots))
        except Exception as error:
            raise broken("policy", self._routing, "route", error) from error
        decision = answer if isinstance(answer, RoutingDecision) else RoutingDecision(answer)
        if type(decision.replica) is not int:
            decision = attrs.evolve(decision, replica=self._as_index(decision.replica))
        chosen = decision.replica
        if not self._book.shows(chosen, request.model):
            shown = ", ".join(str(snapshot.replica) for snapshot in snapshots)
            raise self._misbehaved(
                self._routing, f"route must return the index of a replica it was shown ({shown})", chosen
            )
        scores = decision.scores
        if scores is not None and not _are_finite(scores, len(snapshots)):
            raise self._misbehaved(
                self._routing, f"the scores of a decision must be {len(snapshots)} finite numbers", scores
            )
        if self._log is not None:
            self._log.routing(request, now, decision, snapshots)
        self._dispatch(chosen, request)
        if self._hooks.routed is not None:
            self._hooks.routed(request)

    def _as_index(self, chosen: object) -> int:
        """Take any whole number, such as numpy's, for an index."""
        if not isinstance(chosen, bool):
            try:
                return index(chosen)  # type: ignore[arg-type]
            except TypeError:
                pass
        raise self._misbehaved(self._routing, "route must return the index of a replica or a RoutingDecision", chosen)

    def _turn_away(self, request: Request) -> None:
        self.num_unroutable += 1
        self._reject(request)

    def _reject(self, request: Request) -> None:
        request.outcome = RequestOutcome.REJECTED
        request.finished_at = self._env.now
        self._on_rejected(request)

    @staticmethod
    def _misbehaved(policy: object, rule: str, value: object) -> PluginError:
        return PluginError.at(f"policy {type(policy).__name__}", rule, value)
