"""Order of the wait queue."""

import pytest

from blis_simpy.core.request import Phase, Request
from blis_simpy.replica.running_request import RunningRequest
from blis_simpy.replica.schedulers import (
    AgePriority,
    ConstantPriority,
    FirstComeFirstServed,
    PriorityScheduler,
    ShortestJobFirst,
)
from blis_simpy.replica.wait_queue import WaitQueue


def leg(name, tokens=1, arrived_at=0):
    return RunningRequest(Request(name, arrived_at, tokens, 1), 0, Phase.BOTH, arrived_at)


def names(queue):
    return "".join(waiting.request.id for waiting in queue)


def test_without_a_key_requests_keep_their_order_and_preempted_ones_go_first():
    queue = WaitQueue(FirstComeFirstServed(), ConstantPriority())
    for name in "ab":
        queue.append(leg(name), 0)
    queue.return_to_front(leg("p"), 0)
    assert names(queue) == "pab"
    assert queue.pop().request.id == "p"
    assert (queue.head.request.id, len(queue)) == ("a", 2)


def test_request_with_an_equal_key_waits_behind_and_a_preempted_one_before():
    queue = WaitQueue(ShortestJobFirst(), ConstantPriority())
    for name, tokens in (("c", 5), ("a", 3), ("b", 3)):
        queue.append(leg(name, tokens), 0)
    assert names(queue) == "abc"
    queue.return_to_front(leg("a", 3), 0)
    assert names(queue) == "aabc"


def test_request_can_be_removed_from_any_place():
    queue = WaitQueue(FirstComeFirstServed(), ConstantPriority())
    legs = [leg(name) for name in "abc"]
    for waiting in legs:
        queue.append(waiting, 0)
    queue.remove(legs[1])
    assert names(queue) == "ac"
    assert WaitQueue(FirstComeFirstServed(), ConstantPriority()).head is None


class Fickle:
    """A priority whose order changes with the clock."""

    def score(self, request, now):
        return float(now % (request.input_tokens + 1))


@pytest.mark.parametrize(
    ("scheduler", "priority", "time_invariant"),
    [
        (FirstComeFirstServed(), Fickle(), True),
        (PriorityScheduler(), AgePriority(), True),
        (PriorityScheduler(), Fickle(), False),
    ],
)
def test_order_is_time_invariant_if_scheduler_and_priority_are(scheduler, priority, time_invariant):
    assert WaitQueue(scheduler, priority).time_invariant is time_invariant


def test_order_of_a_single_request_is_stable_whatever_the_policy():
    queue = WaitQueue(PriorityScheduler(), Fickle())
    queue.append(leg("a", 2), 0)
    assert queue.is_stable
    queue.append(leg("b", 3), 0)
    assert not queue.is_stable


def test_order_that_depends_on_the_clock_is_sorted_on_demand():
    """Scores at 3 are 3 % 3 = 0 and 3 % 4 = 3; at 5 they are 2 and 1."""
    queue = WaitQueue(PriorityScheduler(), Fickle())
    for name, tokens in (("a", 2), ("b", 3)):
        queue.append(leg(name, tokens), 0)
    queue.sort(3)
    assert names(queue) == "ba"
    queue.sort(5)
    assert names(queue) == "ab"
