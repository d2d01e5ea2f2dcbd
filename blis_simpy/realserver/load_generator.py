"""Sends requests at their arrivals, with a limit of concurrency, and the further rounds of sessions.

It owns the schedule. Each send time is computed from the start of the run, not from the previous send, so delays do not
add up. A request that is due while the limit is reached waits, and so do all requests after it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, NamedTuple

from blis_simpy.core.request import Leg, RequestOutcome
from blis_simpy.realserver.http_exchange import ERROR, OK, Exchange
from blis_simpy.units import SECOND

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence

    from blis_simpy.core.request import Request
    from blis_simpy.realserver.http_exchange import Clock
    from blis_simpy.workload.sessions import SessionBlueprint

__all__ = ["Dispatcher", "completed_before"]

# At one tick, further rounds of sessions come before first requests.
_FOLLOWING, _KNOWN_BEFOREHAND = 0, 1


class _Due(NamedTuple):
    """A request with its send time; the number makes equal times comparable."""

    tick: int
    rank: int
    number: int
    request: Request


class Dispatcher:
    """Sends the requests of one run.

    Parameters
    ----------
    requests : iterable of Request
        Requests that are known at the start.
    sessions : iterable of SessionBlueprint
        Sessions whose further rounds follow some of these requests.
    clock : Clock
        Time since the start, tick 0.
    max_concurrency : int
        Maximum number of concurrent requests, >= 1.
    send : callable
        Sends a request and fills in its exchange.
    on_done : callable
        Called for each ended request, with its number in order of dispatch, the request and the exchange.

    Attributes
    ----------
    num_known : int
        Number of requests known so far, sent or not.
    num_held_back : int
        Number of requests that were due while the limit of concurrency was reached.
    """

    def __init__(
        self,
        requests: Iterable[Request],
        sessions: Iterable[SessionBlueprint],
        *,
        clock: Clock,
        max_concurrency: int,
        send: Callable[[Request, Exchange], Awaitable[None]],
        on_done: Callable[[int, Request, Exchange], None],
    ) -> None:
        self._pending = [
            _Due(request.arrived_at, _KNOWN_BEFOREHAND, number, request) for number, request in enumerate(requests)
        ]
        heapify(self._pending)
        self._sessions = {session.session: session for session in sessions}
        self._clock = clock
        self._places = asyncio.Semaphore(max_concurrency)
        self._send = send
        self._on_done = on_done
        self._news = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._num_rounds = 0
        self._full_until = 0
        self.num_known = len(self._pending)
        self.num_held_back = 0

    async def run(self, stop: asyncio.Event) -> bool:
        """Send all requests and wait for their responses.

        Parameters
        ----------
        stop : asyncio.Event
            When it is set, no more requests are sent, and those in progress are cancelled.

        Returns
        -------
        bool
            Whether the run was not interrupted.
        """
        try:
            return await completed_before(self._dispatch(), stop)
        finally:
            await _give_up(list(self._under_way))

    async def _dispatch(self) -> None:
        number = 0
        while (request := await self._next_due()) is not None:
            await self._take_place(request)
            task = asyncio.create_task(self._serve(number, request))
            self._under_way.add(task)
            task.add_done_callback(self._is_over)
            number += 1
            # Lets the task start before the next request is examined, even if all are late.
            await asyncio.sleep(0)

    async def _take_place(self, request: Request) -> None:
        is_full = self._places.locked()
        await self._places.acquire()
        if is_full:
            self._full_until = self._clock.elapsed_us()
        self.num_held_back += request.arrived_at < self._full_until

    async def _next_due(self) -> Request | None:
        """Wait for the arrival of the next request; None if there will be none."""
        while self._failure is None:
            wait_us = self._pending[0].tick - self._clock.elapsed_us() if self._pending else None
            if wait_us is not None and wait_us <= 0:
                return heappop(self._pending).request
            if wait_us is None and not self._under_way:
                return None
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if wait_us is None else wait_us / SECOND):
                    await self._news.wait()
        raise self._failure

    async def _serve(self, number: int, request: Request) -> None:
        exchange = Exchange(sent_at=self._clock.unix_us())
        try:
            await self._send(request, exchange)
        except asyncio.CancelledError:
            exchange.fail(ERROR, "HTTP error: cancelled, because the run was interrupted")
            raise
        finally:
            self._places.release()
            self._on_done(number, request, exchange)
        self._continue_session(request, exchange)

    def _continue_session(self, request: Request, exchange: Exchange) -> None:
        session = self._sessions.get(request.session)
        if session is None:
            return
        request.leg = leg = Leg(request, replica=0)
        leg.outcome = RequestOutcome.COMPLETED if exchange.status == OK else RequestOutcome.TIMED_OUT
        leg.generated_tokens = exchange.output_tokens
        following = session.next_request(request, self._clock.elapsed_us(), self._num_rounds + 1)
        if following is not None:
            self._num_rounds += 1
            self.num_known += 1
            heappush(self._pending, _Due(following.arrived_at, _FOLLOWING, self._num_rounds, following))

    def _is_over(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._failure = failure
        self._news.set()


async def completed_before(work: Coroutine[Any, Any, None], stop: asyncio.Event) -> bool:
    """Do some work unless a stop is set first.

    Parameters
    ----------
    work : coroutine
        The work; it does not begin if the stop is already set.
    stop : asyncio.Event
        Cancels the work.

    Returns
    -------
    bool
        Whether the work has completed.
    """
    if stop.is_set():
        work.close()
        return False
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        return working.done()
    finally:
        await _give_up([working, stopping])


async def _give_up(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
