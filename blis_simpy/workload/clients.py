"""SimPy processes that send requests: one per client, per cohort, per session and per closed-loop user.

A client sends requests that were generated before the simulation; a session makes each round when the previous one has
ended. All of them wait for their place in the tick, so that simultaneous arrivals are submitted in the order of the
workload, independent of the number of processes.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

from blis_simpy.core.environment import CONTROL_PLANE, FOLLOWING_ARRIVAL, ControlEvent, event_priority
from blis_simpy.core.request import Request, RequestOutcome
from blis_simpy.core.slo_targets import SLOTargets
from blis_simpy.errors import ScenarioError
from blis_simpy.workload.in_flight import InFlightCap
from blis_simpy.workload.session_pool import SessionPoolProcesses
from blis_simpy.workload.user_processes import UserProcesses

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from simpy.events import Event

    from blis_simpy.core.environment import Environment
    from blis_simpy.core.request_log import RequestLog
    from blis_simpy.workload.generator import GeneratedWorkload
    from blis_simpy.workload.sessions import SessionBlueprint

__all__ = ["ClientProcesses", "validate_requests"]

_BLOCK = 256
_FIRST_ARRIVAL = event_priority(CONTROL_PLANE, ControlEvent.ARRIVAL, 0)
"""Place within a tick of the first request of a workload; the request of rank n comes n places later."""


def validate_requests(requests: Iterable[Request]) -> list[Request]:
    """Return requests as a list if they can be served.

    Raises
    ------
    ScenarioError
        If an item is not a new request, two requests have the same id, a number is not an integer >= 0, an id or label
        is not text, or targets are not of type `SLOTargets`.
    """
    requests = list(requests)
    for request in requests:
        if not isinstance(request, Request):
            raise ScenarioError.at("requests", "must be of type Request", request)
    if len({request.id for request in requests}) < len(requests):
        raise ScenarioError.at("requests", "must have different ids")
    for request in requests:
        numbers = (request.arrived_at, request.input_tokens, request.output_tokens, request.deadline)
        if any(type(number) is not int for number in numbers) or min(numbers[1:]) < 0:
            raise ScenarioError.at(
                f"requests[{request.id}]",
                "must have whole numbers for tick, tokens and deadline, none negative",
                numbers,
            )
        texts = (request.id, request.slo_class, request.tenant, request.model, request.client, request.session)
        if any(not isinstance(text, str) for text in (*texts, request.prefix_group)):
            raise ScenarioError.at(f"requests[{request.id}]", "must have text as id and labels")
        if request.slo_targets is not None and not isinstance(request.slo_targets, SLOTargets):
            raise ScenarioError.at(
                f"requests[{request.id}].slo_targets", "must be SLOTargets or None", request.slo_targets
            )
        if request.outcome is not RequestOutcome.PENDING or request.replica >= 0:
            raise ScenarioError.at(f"requests[{request.id}]", "must not have been served before")
    return requests


class SubmitRequest(Protocol):
    """Function that accepts a request, see `Router.accept`."""

    def __call__(self, request: Request, *, ends_turn: bool = ...) -> None: ...


class ClientProcesses:
    """The processes of one simulation that send requests.

    Parameters
    ----------
    env : Environment
        The simulation's environment.
    submit : callable
        Called with each request at its arrival.
    on_request : callable
        Called with each later round of a session when it is made, before it arrives.
    on_session_end : callable
        Called when a session is over, and when no user or session of a pool will send another request.

    Attributes
    ----------
    off_critical_path : list of int
        Rows of the requests of sessions of calls that did not decide when their session ended.
    """

    def __init__(
        self,
        env: Environment,
        *,
        submit: SubmitRequest,
        on_request: Callable[[Request], None],
        on_session_end: Callable[[], None],
    ) -> None:
        self._env = env
        self._submit = submit
        self._on_request = on_request
        self._on_session_end = on_session_end
        self._sessions: dict[str, SessionBlueprint] = {}
        self._num_rounds = 0
        self.off_critical_path: list[int] = []

    def start(self, workload: GeneratedWorkload, requests: RequestLog) -> None:
        """Start a process for each client and cohort, the users, the pool; sessions start with their first request.

        Parameters
        ----------
        workload : GeneratedWorkload
            What to send.
        requests : RequestLog
            Its requests.
        """
        self._sessions = {session.session: session for session in workload.sessions}
        if workload.max_in_flight is not None:
            self._submit = InFlightCap(self._env, workload.max_in_flight, self._submit).submit
        for client in workload.clients:
            self._env.process(self.send_requests(requests, client.ranks))
        if workload.users is not None:
            assert workload.streams is not None
            users = UserProcesses(
                self._env,
                workload.users,
                workload.streams,
                submit=self._submit,
                on_request=self._on_request,
                on_end=self._on_session_end,
            )
            self._env.process(users.run_stages())
        if workload.pool is not None:
            pool = SessionPoolProcesses(
                self._env,
                workload.pool,
                submit=self._submit,
                on_request=self._on_request,
                on_end=self._on_session_end,
            )
            self.off_critical_path = pool.off_critical_path
            self._env.process(pool.start_sessions())

    def send_requests(self, requests: RequestLog, ranks: Sequence[int]) -> Generator[Event, Any, None]:
        """Submit the requests of one client, or of all members of a cohort, at their arrivals.

        Parameters
        ----------
        requests : RequestLog
            All requests of the workload. The position of a request orders it within its tick.
        ranks : sequence of int
            Positions of the requests to send, ascending by arrival. They are made in blocks.
        """
        env, submit, sessions = self._env, self._submit, self._sessions
        blocks = (requests.block(ranks[start : start + _BLOCK]) for start in range(0, len(ranks), _BLOCK))
        arrivals = (
            env.event_at(request.arrived_at, _FIRST_ARRIVAL + request.row, request)
            for request in chain.from_iterable(blocks)
        )
        arrival = next(arrivals, None)
        while arrival is not None:
            request = yield arrival
            # The next arrival comes first: with it in its queue, the environment shows whether it precedes a decision.
            arrival = next(arrivals, None)
            if sessions and request.session in sessions:
                # Before the submission, because the request may end at once.
                request.done = request.done or env.event()
                env.process(self.converse(sessions[request.session], request, request.done))
            submit(request, ends_turn=True)

    def converse(self, session: SessionBlueprint, first: Request, ended: Event) -> Generator[Event, None, None]:
        """Send the later rounds of a session: wait for the end of a round, think, send the next one.

        Parameters
        ----------
        session : SessionBlueprint
            The session.
        first : Request
            Its first request, which its client sends.
        ended : simpy.Event
            Succeeds when the first request has ended.
        """
        env = self._env
        request = first
        while True:
            yield ended
            following = session.next_request(request, request.finished_at, self._num_rounds + 1)
            if following is None:
                break
            request = following
            request.done = ended = env.event()
            self._num_rounds += 1
            self._on_request(request)
            yield env.event_at(request.arrived_at, FOLLOWING_ARRIVAL)
            self._submit(request, ends_turn=True)
        self._on_session_end()
