"""The processes that send requests: one for all that are known beforehand, one for each conversation.

Requests that users hand in are checked here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.core.environment import CONTROL_PLANE, ControlEvent, event_priority
from blis_simpy.core.request import Request, RequestOutcome
from blis_simpy.errors import ScenarioError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from simpy.events import Event

    from blis_simpy.core.environment import Environment
    from blis_simpy.workload.spec.sessions import SessionBlueprint

__all__ = ["FOLLOWING", "Sessions", "send_all", "validate_requests"]

_KNOWN_BEFOREHAND = event_priority(CONTROL_PLANE, ControlEvent.ARRIVAL, 0)
FOLLOWING = event_priority(CONTROL_PLANE, ControlEvent.ARRIVAL, 1)
"""Place in a tick of requests that were not known beforehand: after those that were."""


def validate_requests(requests: Iterable[Request]) -> list[Request]:
    """Return requests as a list if they can be served.

    Raises
    ------
    ScenarioError
        If one is no request or not new, has an id that another has, or numbers that are not whole.
    """
    requests = list(requests)
    for request in requests:
        if not isinstance(request, Request):
            raise ScenarioError.at("requests", "must be of type Request", request)
    if len({request.id for request in requests}) < len(requests):
        raise ScenarioError.at("requests", "must have different ids")
    for request in requests:
        figures = (request.arrived_at, request.input_tokens, request.output_tokens, request.deadline)
        if any(type(figure) is not int for figure in figures) or min(figures[1:]) < 0:
            raise ScenarioError.at(
                f"requests[{request.id}]",
                "must have whole numbers for tick, tokens and deadline, none negative",
                figures,
            )
        if request.outcome is not RequestOutcome.PENDING or request.replica >= 0:
            raise ScenarioError.at(f"requests[{request.id}]", "must not have been served before")
    return requests


def send_all(
    env: Environment, requests: Iterable[Request], submit: Callable[[Request], None]
) -> Generator[Event, None, None]:
    """Hand over each request at its arrival.

    Parameters
    ----------
    env : Environment
        The simulation's environment.
    requests : iterable of Request
        In order of arrival.
    submit : callable
        Takes a request that arrives now.
    """
    for request in requests:
        yield env.event_at(request.arrived_at, _KNOWN_BEFOREHAND)
        submit(request)


class Sessions:
    """Conversations under way, each a process that waits for an answer, thinks, and goes on.

    Parameters
    ----------
    env : Environment
        The simulation's environment.
    submit : callable
        Takes a request that arrives now.
    on_request : callable
        Told of each further round when it is made, before it arrives.
    on_over : callable
        Told when a conversation is over.
    """

    def __init__(
        self,
        env: Environment,
        *,
        submit: Callable[[Request], None],
        on_request: Callable[[Request], None],
        on_over: Callable[[], None],
    ) -> None:
        self._env = env
        self._submit = submit
        self._on_request = on_request
        self._on_over = on_over
        self._num_rounds = 0

    def start(self, session: SessionBlueprint, first: Request) -> None:
        """Let a conversation go on from its first request, which somebody else sends."""
        self._env.process(self.converse(session, first))

    def converse(self, session: SessionBlueprint, first: Request) -> Generator[Event, None, None]:
        """Wait for the end of each round and send the next one after the time to think."""
        env = self._env
        request = first
        while True:
            request.done = env.event()
            yield request.done
            following = session.next_request(request, request.finished_at, self._num_rounds + 1)
            if following is None:
                break
            self._num_rounds += 1
            self._on_request(following)
            yield env.event_at(following.arrived_at, FOLLOWING)
            self._submit(following)
            request = following
        self._on_over()
