"""SimPy processes of sessions of calls: one for each session, and one that starts them.

They own the progress of each session: the calls that are due, in flight and ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import simpy

from blis_simpy.core.call_graph import CallGraph
from blis_simpy.core.environment import FOLLOWING_ARRIVAL
from blis_simpy.core.request import Request, RequestOutcome
from blis_simpy.core.session_prompts import SessionPrompts
from blis_simpy.core.token_spans import output_stream
from blis_simpy.workload.user_processes import ended_at

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from simpy.events import Event

    from blis_simpy.core.environment import Environment

__all__ = ["PooledSession", "SessionPool", "SessionPoolProcesses"]


@attrs.frozen
class PooledSession:
    """Session that a pool starts.

    Attributes
    ----------
    graph : CallGraph
        Calls of the session.
    name : str
        Name, unique in the pool.
    at : int, tick
        Earliest start.
    """

    graph: CallGraph
    name: str
    at: int


@attrs.frozen(kw_only=True)
class SessionPool:
    """Sessions, and the rules by which they are sent.

    Attributes
    ----------
    sessions : tuple of PooledSession
        The sessions in the order of their starts.
    concurrent : int or None
        Largest number of sessions at a time; None = no limit.
    replay : str
        ``closed``: a call starts when those before it have ended, and its wait is over. ``open``: at its recorded
        start. ``fixed-accumulate``: at its recorded start, and its prompt repeats prompt and output of its main parent.
    follow : str
        ``recorded``: later prompts repeat the planned outputs; ``simulated``: those that were generated.
    retries : int
        Repetitions of a call that fails.
    backoff : int, µs
        Time before a repetition.
    timeout : int, µs
        Time from the start of a call to its deadline; 0 = none.
    tenant, slo_class, model : str
        Labels of the requests.
    """

    sessions: tuple[PooledSession, ...]
    concurrent: int | None = None
    replay: str = "closed"
    follow: str = "recorded"
    retries: int = 0
    backoff: int = 0
    timeout: int = 0
    tenant: str = ""
    slo_class: str = ""
    model: str = ""


class SessionPoolProcesses:
    """Processes of a pool.

    Parameters
    ----------
    env : Environment
        The simulation's environment.
    pool : SessionPool
        The sessions.
    submit : callable
        Called with each request at its arrival.
    on_request : callable
        Called with each request when it is made, before it arrives.
    on_end : callable
        Called when all sessions have ended.

    Attributes
    ----------
    off_critical_path : list of int
        Rows of the requests outside the critical path of their session.
    """

    def __init__(
        self,
        env: Environment,
        pool: SessionPool,
        *,
        submit: Callable[[Request], None],
        on_request: Callable[[Request], None],
        on_end: Callable[[], None],
    ) -> None:
        self.off_critical_path: list[int] = []
        self._env = env
        self._pool = pool
        self._submit = submit
        self._on_request = on_request
        self._on_end = on_end

    def start_sessions(self) -> Generator[Event, None, None]:
        """Start each session at its time, as soon as it has a slot, and wait for all."""
        env, pool = self._env, self._pool
        slots = simpy.Resource(env, pool.concurrent or len(pool.sessions))
        running = []
        for session in pool.sessions:
            if session.at > env.now:
                yield env.timeout(session.at - env.now)
            slot = slots.request()
            yield slot
            running.append(env.process(self._run(session, slots, slot)))
        yield env.all_of(running)
        self._on_end()

    def _run(
        self, session: PooledSession, slots: simpy.Resource, slot: simpy.resources.resource.Request
    ) -> Generator[Event, None, None]:
        run = _SessionRun(self._env, self._pool, session)
        while run.pending:
            yield self._env.any_of(run.pending)
            for request in run.due_requests():
                self._on_request(request)
                self._submit(request)
        if run.ended_at > self._env.now:
            yield self._env.timeout(run.ended_at - self._env.now)
        slots.release(slot)
        self.off_critical_path += run.off_critical_path()


class _SessionRun:
    """Progress of one session.

    Attributes
    ----------
    pending : dict of Event to int
        Events that the session waits for (starts of calls and ends of requests), with the positions of the calls.
    """

    def __init__(self, env: Environment, pool: SessionPool, session: PooledSession) -> None:
        self.pending: dict[Event, int] = {}
        self._env = env
        self._pool = pool
        self._session = session
        self._calls = calls = session.graph.calls
        self._prompts = SessionPrompts(session.graph, session.name, accumulates=pool.replay == "fixed-accumulate")
        self._unfinished = [len(call.after) for call in calls]
        self._children: list[list[int]] = [[] for _ in calls]
        for position, call in enumerate(calls):
            for parent in call.after:
                self._children[parent].append(position)
        self._attempts: list[list[Request]] = [[] for _ in calls]
        self._outputs = {position: call.output_tokens for position, call in enumerate(calls)}
        self._ends: dict[int, int] = {}
        self._is_closed = pool.replay == "closed"
        for position, call in enumerate(calls):
            if not self._is_closed:
                assert call.started_us is not None
                self._start_at(position, env.now + call.started_us)
            elif not call.after:
                self._start_at(position, env.now + call.wait_us)

    @property
    def ended_at(self) -> int:
        """Tick at which the client knows that the last of the calls so far has ended."""
        return max(self._ends.values(), default=0)

    def _start_at(self, position: int, tick: int) -> None:
        self.pending[self._env.event_at(tick, FOLLOWING_ARRIVAL)] = position

    def due_requests(self) -> list[Request]:
        """Process the events so far, and return the requests to send now."""
        requests = []
        for event in [event for event in self.pending if event.processed]:
            position = self.pending.pop(event)
            sent = self._attempts[position]
            if sent and sent[-1].done is event:
                self._ended(position, sent[-1])
            else:
                request = self._request(position)
                sent.append(request)
                request.done = self._env.event()
                self.pending[request.done] = position
                requests.append(request)
        return requests

    def _request(self, position: int) -> Request:
        pool, call, name = self._pool, self._calls[position], self._session.name
        content = self._prompts.prompt(position, self._outputs)
        number = len(self._attempts[position])
        return Request(
            id=f"{name}_call_{position}" + (f"_retry_{number}" if number else ""),
            arrived_at=self._env.now,
            input_tokens=max(sum(span.tokens for span in content), 1),
            output_tokens=call.output_tokens,
            max_output_tokens=call.output_tokens,
            deadline=self._env.now + pool.timeout if pool.timeout else 0,
            content=content or None,
            output_stream=output_stream(name, position) if self._children[position] else None,
            slo_class=pool.slo_class,
            tenant=pool.tenant,
            model=pool.model,
            client=call.client,
            session=name,
            round_index=position,
        )

    def _ended(self, position: int, request: Request) -> None:
        """Start the calls that wait for a call that has ended, unless it has failed after all its repetitions."""
        at = max(ended_at(request), self._env.now)
        self._ends[position] = at
        if request.outcome is not RequestOutcome.COMPLETED:
            if len(self._attempts[position]) <= self._pool.retries:
                self._start_at(position, at + self._pool.backoff)
            return
        if self._pool.follow == "simulated":
            self._outputs[position] = request.generated_tokens
        if not self._is_closed:
            return
        for child in self._children[position]:
            self._unfinished[child] -= 1
            if not self._unfinished[child]:
                call = self._calls[child]
                self._start_at(child, max(self._ends[parent] for parent in call.after) + call.wait_us)

    def off_critical_path(self) -> list[int]:
        """Return the rows of the requests outside the critical path.

        The critical path is the chain of calls that determined the end of the session.
        """
        on_path: set[int] = set()
        if self._is_closed:
            latest: int | None = max(self._ends, key=self._ends.__getitem__)
            while latest is not None:
                on_path.add(latest)
                latest = max(self._calls[latest].after, key=self._ends.__getitem__, default=None)
        return [
            request.row for position, sent in enumerate(self._attempts) for request in sent if position not in on_path
        ]
