"""assert_slo: an assertion about the SLO targets of a run."""

import pytest

import blis_simpy as blis
from blis_simpy.core.request import Request
from blis_simpy.testing import assert_slo

TARGETS = {"batch": {"ttft": 110}, "*": {"e2e": 310, "tpot": 125}}


def message(*arguments, **options):
    with pytest.raises(AssertionError) as caught:
        assert_slo(*arguments, **options)
    return str(caught.value)


def test_an_attainment_that_is_reached_passes(three):
    """Request 0 misses E2E, request 1 (batch) TTFT, request 2 nothing."""
    assert_slo(three, 0.0, targets=TARGETS)
    assert_slo(three, {"default": 0.5}, targets=TARGETS)
    assert_slo(three, {"default": 0.5, "batch": 0}, targets=TARGETS)
    assert_slo(three.where(start=2000), 1, targets=TARGETS)


def test_each_class_is_asserted(three):
    assert message(three, 0.5, targets=TARGETS) == (
        "SLO attainment is too low\n"
        "  batch: 0 of 1 requests good (0 %), at least 50 % asserted; 1 missed ttft (1 nothing else)"
    )


def test_a_failure_names_the_causes(three):
    assert message(three, {"default": 0.995}, targets={"*": {"e2e": 310, "ttft": 109}}) == (
        "SLO attainment is too low\n"
        "  default: 1 of 2 requests good (50 %), at least 99.50 % asserted; 1 missed ttft (0 nothing else), "
        "1 missed e2e (0 nothing else)"
    )


def test_targets_are_those_of_the_scenario(prepare):
    scenario = prepare().scenario.with_(slo={"*": {"ttft": 109}}, admission="reject-all")
    result = blis.Simulation(scenario, requests=[Request("one", 0, 10, 2)]).run()
    assert message(result, 1) == (
        "SLO attainment is too low\n  default: 0 of 1 requests good (0 %), at least 100 % asserted; 1 rejected"
    )


def test_a_run_without_offered_requests_fails(prepare):
    simulation = blis.Simulation(prepare().scenario, requests=[Request("long", 0, 900, 2)])
    assert message(simulation.run(until=1), 0, targets={"*": {"ttft": "1s"}}) == (
        "SLO attainment is too low\n  default: no request was offered; 1 open"
    )
    assert message(simulation.run().where(tenant="x"), 0, targets={"*": {}}) == "no request was offered"


@pytest.mark.parametrize(
    ("attainment", "line"),
    [
        (
            {"bach": 0.9},
            "attainment['bach'] is no SLO class of the requests; did you mean 'batch'? known: batch, default",
        ),
        ({"batch": 99}, "attainment['batch'] must be between 0 and 1, got 99"),
        ("99 %", "attainment must be between 0 and 1, got '99 %'"),
    ],
)
def test_an_attainment_is_a_share_of_a_known_class(three, attainment, line):
    with pytest.raises(blis.ScenarioError) as caught:
        assert_slo(three, attainment, targets=TARGETS)
    assert str(caught.value).startswith(line)


def test_a_result_without_targets_is_an_error(three):
    with pytest.raises(blis.ScenarioError, match="slo must have the targets of an SLO class"):
        assert_slo(three, 0.99)
