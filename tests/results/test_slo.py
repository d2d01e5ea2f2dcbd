"""Attainment and goodput of requests that are made by hand, latencies in ms."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blis_simpy.core.request import Leg, Request, RequestOutcome
from blis_simpy.core.request_log import RequestLog
from blis_simpy.core.slo_targets import SLOTargets
from blis_simpy.errors import ScenarioError
from blis_simpy.results.requests import RequestTable
from blis_simpy.results.slo import SLOReport, wilson_interval
from blis_simpy.results.slo_judgement import judge

WINDOW_US = 10_000_000
"""End of the window, and of the run."""
CHAT = SLOTargets(ttft="200ms", tpot="40ms", e2e="2s")


def completed(ttft, n, e2e, *, at=0, capped=False, **labels):
    request = Request("done", at * 1000, 100, n, **labels)
    request.leg = leg = Leg(request, replica=0)
    leg.outcome, leg.ttft, leg.e2e, leg.generated_tokens = RequestOutcome.COMPLETED, ttft * 1000, e2e * 1000, n
    leg.length_capped = capped
    return request


def rejected(**labels):
    request = Request("rejected", 0, 100, 10, **labels)
    request.rejected_at = 0
    return request


def ended(outcome, **labels):
    request = Request("ended", 0, 100, 10, **labels)
    request.leg = Leg(request, replica=0)
    request.leg.outcome = outcome
    return request


def waiting(elapsed, ttft=None, **labels):
    """In the system for some time at the end of the run, with a first token or none."""
    request = Request("waiting", WINDOW_US - elapsed * 1000, 100, 10, **labels)
    request.leg = leg = Leg(request, replica=0)
    leg.outcome, leg.ttft = RequestOutcome.RUNNING, -1 if ttft is None else ttft * 1000
    return request


def report(requests, targets=CHAT):
    targets = {"*": targets} if isinstance(targets, SLOTargets) else targets
    own = {row: request.slo_targets for row, request in enumerate(requests) if request.slo_targets is not None}
    judgement = judge(RequestTable.of_requests(RequestLog(requests)), targets, own_targets=own, observed_at=WINDOW_US)
    return SLOReport(judgement, start=0, end=WINDOW_US)


@pytest.fixture
def seven():
    """Good: r1 and r4. TTFT and TPOT of r2 are late, TPOT of r3 is; r5 is rejected; r6 has waited too long, r7 not."""
    return report(
        [
            completed(150, 50, 1620),
            completed(210, 22, 1260),
            completed(180, 11, 730),
            completed(120, 1, 120),
            rejected(),
            waiting(500),
            waiting(100),
        ]
    )


def test_the_requests_are_counted_by_what_became_of_them(seven):
    assert (seven.offered, seven.completed, seven.good, seven.open) == (6, 4, 2, 1)


def test_attainment_is_a_share_of_the_offered_or_of_the_completed_requests(seven):
    assert (seven.attainment, seven.attainment_completed) == (2 / 6, 0.5)


def test_goodput_is_over_the_window(seven):
    """Outputs of 50 and of 1 token, prompts of 100."""
    assert (seven.goodput_rps, seven.good_output_tokens_per_s, seven.good_tokens_per_s) == (0.2, 5.1, 25.1)


def test_misses_are_counted_by_dimension_and_alone(seven):
    assert seven.misses == {"ttft": 2, "tpot": 2, "e2e": 0}
    assert seven.sole_misses == {"ttft": 1, "tpot": 1, "e2e": 0}
    assert seven.not_served == {"rejected": 1}


def test_attainment_of_a_dimension_counts_completed_requests_that_meet_it(seven):
    """TTFT: r1, r3 and r4; TPOT: r1 and r4; E2E: the four that completed; each of six."""
    assert [seven.attainment_of(name) for name in ("ttft", "tpot", "e2e")] == [3 / 6, 2 / 6, 4 / 6]
    assert math.isnan(seven.attainment_of("itl"))


def test_headroom_is_relative_to_the_target(seven):
    """TTFT 150, 210, 180 and 120 of 200; TPOT 30, 50 and 55 of 40."""
    assert seven.headroom("ttft").tolist() == pytest.approx([0.25, -0.05, 0.1, 0.4], rel=1e-12)
    assert seven.headroom("tpot").tolist() == pytest.approx([0.25, -0.25, -0.375], rel=1e-12)


def test_an_unknown_dimension_names_the_known_ones(seven):
    with pytest.raises(ScenarioError) as caught:
        seven.headroom("tppt")
    assert str(caught.value) == (
        "dimension is unknown, got 'tppt'; did you mean 'tpot'? known: ttft, tpot, itl, ntpot, e2e"
    )


def test_the_representation_has_the_main_figures(seven):
    assert repr(seven) == "<SLOReport: 2 of 6 requests good (33.3%), 1 open, goodput 0.200 requests/s>"


@pytest.mark.parametrize(
    ("targets", "good"),
    [
        ({"ttft": "200ms"}, True),
        ({"ttft": 199_999}, False),
        ({"tpot": "100ms"}, True),
        ({"tpot": 99_999}, False),
        ({"ntpot": 109_091}, True),
        ({"ntpot": 109_090}, False),
        ({"e2e": "1200ms"}, True),
        ({"e2e": 1_199_999}, False),
        ({"ttft": "200ms", "tpot": "100ms", "e2e": 1}, False),
        ({}, True),
    ],
)
def test_a_latency_equal_to_its_target_meets_it(targets, good):
    """TTFT 200, E2E 1200 and 11 tokens: TPOT 100 and NTPOT 109.0909."""
    assert report([completed(200, 11, 1200)], SLOTargets(**targets)).good == good


@pytest.mark.parametrize(
    ("request_", "is_open"),
    [
        (waiting(200), True),
        (waiting(201), False),
        (waiting(1999, ttft=200), True),
        (waiting(1999, ttft=201), False),
        (waiting(2000, ttft=10), True),
        (waiting(2001, ttft=10), False),
    ],
)
def test_a_request_in_the_system_is_failed_once_a_target_is_certainly_missed(request_, is_open):
    found = report([request_])
    assert (found.open, found.offered, found.good) == ((1, 0, 0) if is_open else (0, 1, 0))


def test_a_request_that_arrives_after_the_end_is_neither_offered_nor_open():
    found = report([waiting(-1)])
    assert (found.offered, found.open) == (0, 0)


@pytest.mark.parametrize("outcome", [RequestOutcome.TIMED_OUT, RequestOutcome.DROPPED])
def test_a_request_that_ended_otherwise_is_not_served(outcome):
    found = report([ended(outcome)])
    assert (found.offered, found.completed, found.not_served) == (1, 0, {outcome.name.lower(): 1})


def test_a_length_capped_request_is_good_only_if_its_targets_say_so():
    request = completed(100, 5, 200, capped=True)
    strict, lax = report([request]), report([request], SLOTargets(ttft="200ms", capped_is_good=True))
    assert (strict.offered, strict.completed, strict.not_served) == (1, 0, {"length_capped": 1})
    assert (lax.completed, lax.good, lax.not_served) == (1, 1, {})


def test_targets_are_those_of_the_class_or_else_of_all_others():
    """Requests without a class are in the class default."""
    requests = [completed(300, 2, 400, slo_class=name) for name in ("chat", "batch", "", "other")]
    targets = {
        "chat": SLOTargets(ttft="200ms"),
        "default": SLOTargets(ttft="300ms"),
        "*": SLOTargets(e2e="300ms"),
    }
    classes = report(requests, targets).classes
    assert {name: found.good for name, found in classes.items()} == {"batch": 0, "chat": 0, "default": 1, "other": 0}
    assert classes["chat"].misses == {"ttft": 1}
    assert classes["batch"].misses == {"e2e": 1}


def test_requests_without_targets_are_good_if_they_complete():
    requests = [completed(300, 2, 400), completed(300, 2, 400, slo_class="chat"), rejected()]
    assert report(requests, {"chat": SLOTargets(ttft="200ms")}).good == 1


def test_targets_of_a_request_replace_those_of_its_class_one_by_one():
    """Both have TTFT 300 and TPOT 100; the class allows 200 and 40."""
    found = report([completed(300, 2, 400, slo_targets=SLOTargets(ttft="300ms")), completed(300, 2, 400)])
    assert (found.misses, found.sole_misses) == ({"ttft": 1, "tpot": 2, "e2e": 0}, {"ttft": 0, "tpot": 1, "e2e": 0})


def test_weighted_attainment_weighs_the_requests_of_a_class():
    """Good: the request of weight 3; not good: one of weight 3 and two of weight 1."""
    requests = [completed(100, 2, 200, slo_class="chat"), rejected(slo_class="chat"), rejected(), rejected()]
    found = report(requests, {"chat": SLOTargets(weight=3), "*": SLOTargets()})
    assert (found.attainment, found.weighted_attainment) == (0.25, 3 / 8)


def test_the_timeline_is_by_arrival():
    """Intervals of 4 s, of which the last one has 2."""
    requests = [completed(100, 2, 140), completed(300, 2, 340), completed(100, 2, 140, at=8000), waiting(100)]
    timeline = report(requests).timeline("4s")
    assert timeline["start_us"].tolist() == [0, 4_000_000, 8_000_000]
    assert timeline["offered"].tolist() == [2, 0, 1]
    assert timeline["good"].tolist() == [1, 0, 1]
    assert timeline["open"].tolist() == [0, 0, 1]
    assert timeline["goodput_rps"].tolist() == [0.25, 0, 0.5]
    assert [str(share) for share in timeline["attainment"].tolist()] == ["0.5", "nan", "1.0"]
    with pytest.raises(ScenarioError, match=r"every must be > 0, got '0s'"):
        report(requests).timeline("0s")


def test_nothing_has_no_attainment():
    found = report([])
    assert math.isnan(found.attainment)
    assert math.isnan(found.weighted_attainment)
    assert all(map(math.isnan, found.interval()))
    assert (found.goodput_rps, found.misses, found.classes) == (0, {}, {})


def test_the_wilson_interval_of_990_of_1000():
    low, high = wilson_interval(990, 1000)
    assert (round(low, 4), round(high, 4)) == (0.9817, 0.9946)


@pytest.mark.parametrize(("part", "bounds"), [(0, (0.0, 0.2775)), (10, (0.7225, 1.0))])
def test_the_wilson_interval_stays_between_0_and_1(part, bounds):
    assert tuple(round(bound, 4) for bound in wilson_interval(part, 10)) == bounds


@pytest.mark.parametrize("confidence", [0, 1, 1.5])
def test_a_confidence_is_between_0_and_1(confidence):
    with pytest.raises(ScenarioError, match="confidence must be between 0 and 1"):
        wilson_interval(1, 2, confidence)


some_requests = st.lists(
    st.builds(completed, st.integers(1, 400), st.integers(1, 9), st.integers(400, 900), slo_class=st.sampled_from("ab"))
    | st.builds(rejected, slo_class=st.sampled_from("ab"))
    | st.builds(waiting, st.integers(0, 900), slo_class=st.sampled_from("ab")),
    max_size=12,
)


@given(some_requests, st.integers(1, 400), st.integers(0, 100))
def test_laws(requests, ttft, tighter):
    targets = SLOTargets(ttft=f"{ttft + tighter}ms", e2e="800ms")
    found = report(requests, targets)
    assert found.good <= found.completed <= found.offered
    assert found.offered + found.open == len(requests)
    assert sum(of_class.good for of_class in found.classes.values()) == found.good
    failed = sum(found.sole_misses.values())
    assert found.good + sum(found.not_served.values()) + failed <= found.offered
    # One that is not served lowers the offered attainment only.
    more = report([*requests, rejected()], targets)
    assert (more.good, more.completed, more.offered) == (found.good, found.completed, found.offered + 1)


@given(some_requests, st.integers(1, 400), st.integers(0, 100))
def test_attainment_does_not_rise_as_a_target_tightens(requests, ttft, tighter):
    loose, tight = (report(requests, SLOTargets(ttft=f"{limit}ms")) for limit in (ttft + tighter, ttft))
    assert tight.good <= loose.good
    assert tight.offered >= loose.offered
