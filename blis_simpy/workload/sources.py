"""The processes that send requests: one for all that are known beforehand, one for each conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.core.environment import CONTROL_PLANE, ControlTurn, turn_priority

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from simpy.events import Event

    from blis_simpy.core.environment import Environment
    from blis_simpy.core.request import Request
    from blis_simpy.workload.sessions import SessionBlueprint

__all__ = ["Sessions", "send_all"]

_KNOWN_BEFOREHAND = turn_priority(CONTROL_PLANE, ControlTurn.ARRIVAL, 0)
# At one tick, requests that were known beforehand come first.
_FOLLOWING = turn_priority(CONTROL_PLANE, ControlTurn.ARRIVAL, 1)


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
        yield env.turn(request.arrived_at, _KNOWN_BEFOREHAND)
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
            yield env.turn(following.arrived_at, _FOLLOWING)
            self._submit(following)
            request = following
        self._on_over()
