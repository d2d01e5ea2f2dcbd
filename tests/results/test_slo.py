import math

import pytest

from blis_simpy.core.request import Leg, Request, RequestOutcome
from blis_simpy.errors import ScenarioError
from blis_simpy.results.requests import RequestTable
from blis_simpy.results.slo import Goodput, Target, attainment, goodput


def table(*rows):
    """Requests of 10 tokens from (class, E2E or None if it timed out)."""
    requests = []
    for index, (slo_class, e2e) in enumerate(rows):
        request = Request(f"request_{index}", 0, 5, 10, slo_class=slo_class)
        request.leg = leg = Leg(request, replica=0)
        leg.ttft = 10
        if e2e is None:
            leg.outcome = RequestOutcome.TIMED_OUT
        else:
            leg.outcome, leg.e2e, leg.generated_tokens = RequestOutcome.COMPLETED, e2e, 10
            leg.itl_sum, leg.itl_count = e2e - 10, 9
        requests.append(request)
    return RequestTable.of_requests(requests)


def test_a_request_with_a_latency_equal_to_its_target_meets_it():
    requests = table(("chat", 100), ("chat", 101))
    assert attainment(requests, {"chat": 100}) == 0.5


def test_a_class_without_a_target_meets_it():
    assert attainment(table(("chat", 500), ("batch", 500)), {"chat": 100}) == 0.5


def test_requests_without_a_class_are_not_those_of_the_default_class():
    requests = table(("", 500))
    assert (attainment(requests, {"default": 100}), attainment(requests, {"": 100})) == (1.0, 0.0)


def test_attainment_is_zero_when_nothing_completed():
    assert attainment(table(("chat", None)), {"chat": 100}) == 0.0


def test_who_timed_out_lowers_goodput_but_not_attainment():
    """One of two requests in 2 s: 0.5 requests/s and 5 tokens/s."""
    requests = table(("chat", 100), ("chat", None))
    assert goodput(requests, {"chat": 100}, duration_us=2_000_000) == Goodput(0.5, 5.0, 1.0)


def test_goodput_leaves_out_who_came_late():
    requests = table(("chat", 100), ("chat", 101), ("batch", 101), ("batch", 99))
    assert goodput(requests, {"chat": 100, "batch": 100}, duration_us=1_000_000) == Goodput(2.0, 20.0, 0.5)


def test_goodput_of_a_run_without_duration_is_zero():
    assert goodput(table(), {}, duration_us=0) == Goodput(0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("target", "share"),
    [
        (Target(ttft_us=10), 1.0),
        (Target(ttft_us=9), 0.0),
        (Target(tpot_us=10), 1.0),
        (Target(tpot_us=9.9), 0.0),
        (Target(ttft_us=10, tpot_us=10, e2e_us=99), 0.0),
        (Target(), 1.0),
    ],
)
def test_every_part_of_a_target_must_be_met(target, share):
    """TTFT 10, E2E 100, so nine gaps of 10 on average."""
    assert attainment(table(("chat", 100)), {"chat": target}) == share


@pytest.mark.parametrize("limit", [-1, "2s", True, math.nan])
def test_target_that_is_no_number_is_an_error(limit):
    with pytest.raises(ScenarioError) as caught:
        attainment(table(("chat", 100)), {"chat": limit})
    assert str(caught.value) == f"targets['chat'].e2e_us must be a number >= 0, got {limit!r}"
