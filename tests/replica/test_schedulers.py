"""Schedulers and priority policies, through a replica with one batch slot."""

import pytest

from blis_simpy.core.request import Request
from blis_simpy.replica.schedulers import AgePriority, ConstantPriority, InverseAgePriority


@pytest.mark.parametrize(
    ("scheduler", "priority", "order"),
    [
        ("fcfs", "constant", "zcbad"),
        ("sjf", "constant", "zadcb"),
        ("priority-fcfs", "constant", "zcabd"),
        ("priority-fcfs", "slo-based", "zcabd"),
        ("priority-fcfs", "inverted-slo", "zdabc"),
        ("reverse-priority", "slo-based", "zdabc"),
    ],
)
def test_schedulers_order_the_requests_that_waited_for_the_first(serve, scheduler, priority, order):
    """One slot. z runs until 110, when c, b, a, d wait, in the order of their entry."""
    rows = {"z": (10, 1, 0), "c": (25, 2, 1), "b": (30, 2, 5), "a": (20, 2, 5), "d": (20, 2, 9)}
    served = serve(
        *((*row, {"id": name}) for name, row in rows.items()), max_num_seqs=1, scheduler=scheduler, priority=priority
    )
    started = sorted(zip(served.column("scheduled_at_us"), rows, strict=True))
    assert "".join(name for _, name in started) == order


class Clockwise:
    """The shortest prompt first in even hundreds of µs, the longest in odd ones."""

    def key(self, request, priority, now):
        return request.input_tokens if now // 100 % 2 == 0 else -request.input_tokens


def test_order_that_depends_on_the_clock_is_computed_at_each_step(serve):
    """Steps of 100: at 100 the longest of the three is first, at 200 the shortest of the rest, at 300 the last."""
    rows = [(5, 1, 0), (10, 1, 1), (20, 1, 1), (30, 1, 1)]
    served = serve(*rows, max_num_seqs=1, scheduler=Clockwise(), beta=(100.0, 0.0, 0.0))
    assert served.column("scheduled_at_us") == [0, 200, 300, 100]


@pytest.mark.parametrize(
    ("policy", "scores"),
    [
        (ConstantPriority(), [0.0, 0.0]),
        (AgePriority(), [2.0, 0.5]),
        (InverseAgePriority(), [-2.0, -0.5]),
    ],
)
def test_priorities_are_ages_in_seconds(policy, scores):
    requests = [Request("old", 0, 1, 1), Request("new", 1_500_000, 1, 1)]
    assert [policy.score(request, 2_000_000) for request in requests] == scores
