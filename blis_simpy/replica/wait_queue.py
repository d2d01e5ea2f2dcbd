"""The wait queue of a replica.

A request whose KV blocks come from another replica leaves the order when its replica has reserved blocks for it, and
*loads* them. Then it *holds* its blocks, and waits at the front, whatever the scheduler: it needs no further blocks,
and others may wait for its own. Blocks from a KV tier are treated in the same way. A request whose blocks are on
the way for another one leaves the order without reserved blocks, and returns to its place.
"""

from __future__ import annotations

from bisect import insort_left, insort_right
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any

from blis_simpy.core.plugin_faults import is_own
from blis_simpy.errors import PluginError
from blis_simpy.replica.plugin_checks import checked_key, checked_score

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from blis_simpy.core.request import Request
    from blis_simpy.replica.running_request import RunningRequest
    from blis_simpy.replica.schedulers import FirstComeFirstServed, PriorityPolicy, Scheduler

__all__ = ["WaitQueue"]


class WaitQueue:
    """Waiting requests of a replica, in the order of its scheduler.

    Parameters
    ----------
    scheduler : Scheduler
        Computes the sort key; a ``key`` of None means first come, first served.
    priority : PriorityPolicy
        Computes the score that the key may use.

    Attributes
    ----------
    waiting : deque or list of RunningRequest
        The waiting requests in order. Other objects only read it.
    time_invariant : bool
        Whether the order of waiting requests is independent of the clock.
    num_holding : int
        Number of requests at the front that hold their KV blocks, in the order in which they got them.
    loading : dict of RunningRequest to bool
        Requests that wait for the content of KV blocks, in the order in which they left the queue, and whether they
        have reserved blocks. Other objects only read it.
    """

    def __init__(self, scheduler: Scheduler | FirstComeFirstServed, priority: PriorityPolicy) -> None:
        self._scheduler = scheduler
        self._key: Callable[[Request, float, int], Any] | None = scheduler.key
        if self._key is not None and not is_own(scheduler):
            self._key = checked_key(scheduler)  # type: ignore[arg-type]
        self._score = priority.score if is_own(priority) else checked_score(priority)
        self.time_invariant = self._key is None or bool(
            getattr(scheduler, "time_invariant", False) and getattr(priority, "time_invariant", False)
        )
        # A deque removes its head in constant time, but only a list can be sorted.
        self.waiting: deque[RunningRequest] | list[RunningRequest] = deque() if self._key is None else []
        self.num_holding = 0
        self.loading: dict[RunningRequest, bool] = {}

    def __len__(self) -> int:
        return len(self.waiting) + len(self.loading)

    def __iter__(self) -> Iterator[RunningRequest]:
        yield from self.loading
        yield from self.waiting

    def _sort_key(self, now: int) -> Callable[[RunningRequest], Any]:
        key, score = self._key, self._score
        assert key is not None
        return lambda leg: key(leg.request, score(leg.request, now), now)

    def append(self, leg: RunningRequest, now: int) -> None:
        """Add a new request: at the end, or by its key after equal keys."""
        if self._key is not None and self.time_invariant:
            try:
                insort_right(self.waiting, leg, lo=self.num_holding, key=self._sort_key(now))
            except TypeError as error:
                raise self._unsorted(error) from error
        else:
            self.waiting.append(leg)

    def return_to_front(self, leg: RunningRequest, now: int) -> None:
        """Add a preempted request: at the front, or by its key before equal keys."""
        if self._key is not None and self.time_invariant:
            try:
                insort_left(self.waiting, leg, lo=self.num_holding, key=self._sort_key(now))
            except TypeError as error:
                raise self._unsorted(error) from error
        else:
            self.waiting.insert(self.num_holding, leg)

    def with_blocks(self) -> list[RunningRequest]:
        """Return the requests with reserved KV blocks, those whose content has not arrived included."""
        return [
            *(leg for leg, is_reserved in self.loading.items() if is_reserved),
            *islice(self.waiting, self.num_holding),
        ]

    def load_head(self, *, is_reserved: bool = True) -> None:
        """Let the head of the queue wait for the content of its KV blocks, or of those of another request."""
        self.loading[self.pop()] = is_reserved

    def return_to_place(self, leg: RunningRequest, now: int) -> None:
        """Let a request without blocks that waited for those of another one return to its place."""
        del self.loading[leg]
        if self._key is not None and self.time_invariant:
            self.return_to_front(leg, now)
            return
        waiting = self.waiting
        later = (at for at in range(self.num_holding, len(waiting)) if waiting[at].position > leg.position)
        waiting.insert(next(later, len(waiting)), leg)

    def end_loading(self, leg: RunningRequest) -> None:
        """Let a request whose KV blocks have arrived wait at the front."""
        del self.loading[leg]
        self.waiting.insert(self.num_holding, leg)
        self.num_holding += 1

    def sort(self, now: int) -> None:
        """Sort the queue; called at the formation of a step if keys depend on the clock."""
        assert isinstance(self.waiting, list)
        try:
            if self.num_holding:
                self.waiting[self.num_holding :] = sorted(self.waiting[self.num_holding :], key=self._sort_key(now))
            else:
                self.waiting.sort(key=self._sort_key(now))
        except TypeError as error:
            raise self._unsorted(error) from error

    def _unsorted(self, error: TypeError) -> Exception:
        """Name the scheduler if keys cannot be compared; any other error stays as it is."""
        if error.__traceback__ is None or error.__traceback__.tb_next is not None:
            return error
        return PluginError.at(
            f"scheduler {type(self._scheduler).__name__}", f"gives keys that cannot be sorted: {error}"
        )

    @property
    def is_stable(self) -> bool:
        """Whether the order of the current requests is independent of the clock."""
        return self.time_invariant or len(self.waiting) < 2

    @property
    def head(self) -> RunningRequest | None:
        """Next request to admit; None if the queue is empty."""
        return self.waiting[0] if self.waiting else None

    def pop(self) -> RunningRequest:
        """Remove and return the head."""
        waiting = self.waiting
        if self.num_holding:
            self.num_holding -= 1
        return waiting.popleft() if isinstance(waiting, deque) else waiting.pop(0)

    def remove(self, leg: RunningRequest) -> bool:
        """Remove a request; return whether it has reserved KV blocks."""
        if leg in self.loading:
            return self.loading.pop(leg)
        holds = any(leg is other for other in islice(self.waiting, self.num_holding))
        self.num_holding -= holds
        self.waiting.remove(leg)
        return holds
