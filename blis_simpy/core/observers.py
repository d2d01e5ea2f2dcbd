"""Functions that users want called when something happens to a request.

The rooms announce here what they did. A hook runs at the same tick, as an event of its own right after what is
announced has taken full effect, so it may do anything that a process may: look at replicas, drain them, start
processes. Without hooks an announcement is the test of one attribute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from simpy.events import Event

    from blis_simpy.core.environment import Environment
    from blis_simpy.core.request import Request

__all__ = ["Hooks"]

# Before a run is stopped at this tick, and before everything else of it.
_AT_ONCE = -2


class Hooks:
    """Who listens to what.

    Parameters
    ----------
    env : Environment
        Where the hooks run.

    Attributes
    ----------
    arrival, admitted, routed, first_token, preempted, completed, ended : callable or None
        Announces what happened to a request; None while nobody listens.
    """

    __slots__ = ("_env", "admitted", "arrival", "completed", "ended", "first_token", "preempted", "routed")

    def __init__(self, env: Environment) -> None:
        self._env = env
        self.arrival: Callable[[Request], None] | None = None
        self.admitted: Callable[[Request], None] | None = None
        self.routed: Callable[[Request], None] | None = None
        self.first_token: Callable[[Request], None] | None = None
        self.preempted: Callable[[Request], None] | None = None
        self.completed: Callable[[Request], None] | None = None
        self.ended: Callable[[Request], None] | None = None

    def add(self, what: str, hook: Callable[[Request], object]) -> None:
        """Call a function whenever something happens; several are called in the order in which they were added.

        Parameters
        ----------
        what : str
            Name of an attribute.
        hook : callable
            Gets the request.
        """
        before: Callable[[Request], None] | None = getattr(self, what)
        env = self._env

        def run(turn: Event) -> None:
            hook(turn._value)

        def announce(request: Request) -> None:
            if before is not None:
                before(request)
            env.call_at(env.now, _AT_ONCE, run, request)

        setattr(self, what, announce)
