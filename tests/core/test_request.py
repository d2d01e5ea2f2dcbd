"""A request and its legs, without a simulation."""

import pickle

import pytest

from blis_simpy.core.request import NEVER, Leg, Phase, Request, RequestOutcome, Route

TIMES = ("routed_at", "queued_at", "first_scheduled_at", "scheduled_at", "ttft", "e2e", "finished_at", "replica")
COUNTS = ("itl_sum", "itl_count", "generated_tokens", "num_preemptions")


def request():
    return Request("r", 100, 20, 5)


def begin(owner, replica=0, routed_at=110):
    owner.leg = Leg(owner, replica, Phase.BOTH, routed_at)
    return owner.leg


def test_request_without_a_leg_has_no_figures():
    new = request()
    assert [getattr(new, name) for name in TIMES] == [NEVER] * len(TIMES)
    assert [getattr(new, name) for name in COUNTS] == [0] * len(COUNTS)
    assert (new.outcome, new.itl_first_step, new.length_capped, new.legs) == (RequestOutcome.PENDING, NEVER, False, [])


def test_figures_are_those_of_the_leg():
    served = request()
    leg = begin(served, 3)
    leg.outcome = RequestOutcome.COMPLETED
    leg.queued_at, leg.first_scheduled_at, leg.scheduled_at, leg.finished_at = 120, 130, 130, 250
    leg.ttft, leg.e2e, leg.itl_sum, leg.itl_count, leg.generated_tokens = 60, 150, 90, 4, 5
    assert [getattr(served, name) for name in TIMES] == [110, 120, 130, 130, 60, 150, 250, 3]
    assert [getattr(served, name) for name in COUNTS] == [90, 4, 5, 0]
    assert served.outcome is RequestOutcome.COMPLETED


def test_times_of_earlier_legs_count_until_a_later_leg_has_its_own():
    served = request()
    first = begin(served)
    first.first_scheduled_at = first.scheduled_at = 130
    first.ttft, first.itl_sum = 60, 90
    second = begin(served)
    second.previous = first
    assert (served.first_scheduled_at, served.scheduled_at, served.ttft, served.itl_sum) == (130, 130, 60, 0)
    second.first_scheduled_at = second.scheduled_at = 200
    second.ttft = 150
    assert (served.first_scheduled_at, served.scheduled_at, served.ttft) == (130, 200, 150)
    assert second.first is first


def test_figures_of_a_leg_that_was_withdrawn_do_not_count_but_for_its_preemptions():
    served = request()
    leg = begin(served)
    leg.scheduled_at, leg.ttft, leg.num_preemptions = 130, 60, 2
    leg.withdraw(200)
    assert (leg.outcome, leg.finished_at) == (RequestOutcome.WITHDRAWN, 200)
    assert (served.outcome, served.replica, served.scheduled_at, served.ttft) == (
        RequestOutcome.PENDING,
        NEVER,
        NEVER,
        NEVER,
    )
    assert served.num_preemptions == 2
    again = begin(served, 1)
    assert (served.replica, served.num_preemptions, served.ttft) == (1, 2, NEVER)
    assert served.legs == [leg, again]


def test_request_that_is_rejected_after_its_replica_gave_it_up_is_rejected():
    served = request()
    begin(served).withdraw(200)
    served.rejected_at = 210
    assert (served.outcome, served.finished_at) == (RequestOutcome.REJECTED, 210)


def test_figures_of_a_request_cannot_be_set():
    with pytest.raises(AttributeError):
        request().ttft = 5


def test_request_with_a_leg_survives_pickling():
    served = request()
    begin(served).ttft = 60
    copy = pickle.loads(pickle.dumps(served))
    assert (copy.ttft, copy.leg.request is copy) == (60, True)


def test_the_replica_of_a_route_is_that_of_its_last_leg():
    route = Route(request(), 120, ((4, Phase.PREFILL), (2, Phase.DECODE)))
    assert (route.replica, route.reason, route.scores) == (2, "", None)
