"""Legs: what a request keeps of each stay on a replica."""

from blis_simpy.core.request import NEVER, Phase, Request, RequestOutcome
from blis_simpy.replica.running_request import RunningRequest


def test_preempted_leg_keeps_its_figures_and_the_next_one_starts_over():
    request = Request("r", 0, 20, 5)
    request.leg = first = RunningRequest(request, 3, Phase.BOTH, 10)
    first.outcome, first.queued_at, first.position, first.keys = RequestOutcome.RUNNING, 12, 7, [1]
    first.first_scheduled_at = first.scheduled_at = 20
    first.ttft, first.computed = 50, 20
    second = first.preempted(90)
    assert request.leg is second
    assert request.legs == [first, second]
    assert (first.outcome, first.finished_at, first.ttft) == (RequestOutcome.PREEMPTED, 90, 50)
    assert (second.outcome, second.computed, second.ttft) == (RequestOutcome.QUEUED, 0, NEVER)
    assert (second.replica, second.routed_at, second.queued_at, second.position, second.keys) == (3, 10, 12, 7, [1])
    assert (first.num_preemptions, second.num_preemptions) == (0, 1)


def test_engine_state_of_a_leg_that_is_over_is_deleted():
    request = Request("r", 0, 20, 5)
    leg = RunningRequest(request, 0, Phase.BOTH, 0)
    leg.withdraw(5)
    assert not leg.decoding
    assert not hasattr(leg, "blocks")


def test_preempted_request_has_a_leg_for_each_time_that_it_started(serve):
    """As in `test_engine.py`: r1 is preempted at 4004, starts over at 4114 and has its first token at 4240 again."""
    served = serve((32, 40, 0), (32, 40, 0), blocks=8)
    first, second = served.simulation.requests[1].legs
    assert (first.outcome.name, first.scheduled_at, first.ttft, first.finished_at) == ("PREEMPTED", 0, 164, 4004)
    assert (second.outcome.name, second.scheduled_at, second.ttft, second.finished_at) == (
        "COMPLETED",
        4114,
        4240,
        8580,
    )
    assert second.previous is first
    assert (served.column("first_scheduled_at_us")[1], served.column("scheduled_at_us")[1]) == (0, 4114)


def test_request_without_a_preemption_has_one_leg(serve):
    (request,) = serve((10, 2, 5)).simulation.requests
    assert len(request.legs) == 1
    assert request.leg.first is request.leg
