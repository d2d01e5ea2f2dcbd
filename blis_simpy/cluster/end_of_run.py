"""The end of a run: after the last request and the last step, or at the horizon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.core.environment import FOREVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from simpy.events import Event

    from blis_simpy.cluster.cluster import Cluster
    from blis_simpy.core.environment import Environment
    from blis_simpy.core.observers import Observers
    from blis_simpy.core.request import Request
    from blis_simpy.core.request_log import RequestLog

__all__ = ["EndOfRun"]


_PROGRESS_EVERY = 256
# Before all other events of the first tick beyond the horizon.
_FIRST = -1
# After SimPy's own priorities, so that user processes can act at the last tick.
_AFTER_PROCESSES = 2


class EndOfRun:
    """Stops the environment when nothing is pending.

    Requests, sessions and events that the run waits for are pending. Other processes may be endless, and do not delay
    the end.

    Parameters
    ----------
    env : Environment
        The simulation's environment.
    cluster : Cluster
        The cluster; the run ends only if all replicas are idle.
    horizon : int, tick
        Last tick of the run; `FOREVER` = no horizon.
    observers : Observers
        Observers, for the events `ended` and `idle`.
    requests : RequestLog
        All requests; it gets those that have ended.

    Attributes
    ----------
    is_over : bool
        Whether the run has ended.
    progress : callable or None
        Called about every 256 ended requests, with the number of ended requests and of all.
    """

    def __init__(
        self, env: Environment, cluster: Cluster, horizon: int, observers: Observers, requests: RequestLog
    ) -> None:
        self.is_over = False
        self.progress: Callable[[int, int], None] | None = None
        self._env = env
        self._cluster = cluster
        self._requests = requests
        self._num_pending = len(requests)
        observers.add("ended", self._ended)
        observers.add("idle", self._idle)
        if horizon < FOREVER:
            env.call_at(horizon + 1, _FIRST, self._end)

    def expect(self, count: int = 1) -> None:
        """Add pending items, such as requests; `settle` removes one."""
        self._num_pending += count

    def settle(self) -> None:
        """Remove a pending item, and end the run after the last."""
        self._num_pending -= 1
        if self.progress is not None and self._num_pending % _PROGRESS_EVERY == 0:
            self.progress(len(self._requests) - self._num_pending, len(self._requests))
        if not self._num_pending:
            self.stop_when_done()

    def wait_for(self, event: Event) -> None:
        """Add an event as a pending item, unless it has been processed."""
        if event.callbacks is not None:
            self.expect()
            event.callbacks.append(lambda _event: self.settle())

    def _ended(self, request: Request) -> None:
        if request.done is not None:
            request.done.succeed()
        self._requests.end(request)
        self.settle()

    def _idle(self, _replica: int) -> None:
        self.stop_when_done()

    def stop_when_done(self) -> None:
        """End the run after the user processes of this tick, if nothing is pending and all replicas are idle."""
        if self._num_pending == 0 and self._cluster.is_idle:
            self._env.call_at(self._env.now, _AFTER_PROCESSES, self._end_if_done)

    def _end_if_done(self, event: Event) -> None:
        # Checked again, because a process may have submitted a request at this tick.
        if self._num_pending == 0 and self._cluster.is_idle:
            self._end(event)

    def _end(self, _event: Event) -> None:
        self.is_over = True
        self._env.stop()
