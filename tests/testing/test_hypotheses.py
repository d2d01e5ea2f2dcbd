"""What an assertion means, and how often it is mistaken."""

import math

import numpy as np
import pytest

from blis_simpy.errors import ScenarioError
from blis_simpy.experiment.paired_tests import replications_needed
from blis_simpy.testing.hypotheses import Hypothesis, judge

UNIT = "; with absolute=True it is in the unit of the metric"
FLAT = np.full(4, 10.0)
WOBBLE = np.array([-0.1, 0.1, -0.1, 0.1])


def lower(**options):
    return Hypothesis(kind="lower", **options)


def higher(**options):
    return Hypothesis(kind="higher", **options)


def equivalent(**options):
    return Hypothesis(kind="equivalent", **options)


@pytest.mark.parametrize(
    ("claim", "finding"),
    [
        (lower(), "shown"),
        (lower(by=0.15), "shown"),
        (lower(by=0.2), "not decided"),
        (lower(by=0.25), "refuted"),
        (higher(), "refuted"),
        (higher(by=0.1), "refuted"),
        (equivalent(by=0.25), "shown"),
        (equivalent(by=0.2), "not decided"),
        (equivalent(by=0.15), "refuted"),
        (lower(by=1.5, absolute=True), "shown"),
        (lower(by=2.0, absolute=True), "not decided"),
        (lower(by=2.5, absolute=True), "refuted"),
        (equivalent(by=2.5, absolute=True), "shown"),
        (equivalent(by=1.5, absolute=True), "refuted"),
    ],
)
def test_a_claim_is_shown_refuted_or_left_open(claim, finding):
    """Baseline 10, candidate 8 ± 0.1: spread 0.1155, half-width 2.353 x 0.1155 / 2 = 0.136, which is 1.4 %."""
    judgement = judge(claim, FLAT, 8 + WOBBLE)
    assert judgement.finding == finding
    assert judgement.means == pytest.approx((10, 8))
    scale = 1 if claim.absolute else 0.1
    found = judgement.change
    assert (found.low, found.estimate, found.high) == pytest.approx(
        (-2.1359 * scale, -2 * scale, -1.8641 * scale), abs=1e-4
    )


@pytest.mark.parametrize("kind", ["lower", "higher", "equivalent"])
@pytest.mark.parametrize("absolute", [False, True])
def test_the_interval_inside_the_range_shows_and_outside_refutes(kind, absolute):
    """On 200 random samples, that is what the findings are."""
    rng = np.random.default_rng(1)
    findings = set()
    for _ in range(200):
        baseline = rng.normal(100, 10, 8)
        candidate = rng.uniform(0.6, 1.4) * baseline + rng.normal(0, 8, 8)
        by = rng.uniform(0.01, 0.4) * (100 if absolute else 1)
        judgement = judge(Hypothesis(kind=kind, by=by, absolute=absolute, confidence=0.9), baseline, candidate)
        low, high = {"lower": (-math.inf, -by), "higher": (by, math.inf), "equivalent": (-by, by)}[kind]
        change = judgement.change
        inside, outside = low <= change.low and change.high <= high, change.high < low or high < change.low
        assert judgement.finding == ("shown" if inside else "refuted" if outside else "not decided")
        assert judgement.is_shown == inside
        findings.add(judgement.finding)
    assert len(findings) == 3


def test_what_is_the_same_in_all_runs_is_not_lower():
    values = np.random.default_rng(2).normal(100, 10, 5)
    assert judge(lower(), values, values).finding == "refuted"
    assert judge(higher(), values, values).finding == "refuted"
    assert judge(equivalent(by=0.001), values, values).finding == "shown"


def test_a_run_without_the_metric_leaves_everything_open():
    """Two of four have one: mean 8."""
    judgement = judge(lower(), FLAT, np.array([7.0, math.nan, 9.0, math.nan]))
    assert (judgement.finding, judgement.lacking, judgement.means) == ("not decided", (0, 2), (10, 8))


def test_changes_of_what_may_be_zero_are_told_in_its_unit():
    judgement = judge(lower(), np.array([0.0, 0.0, 3.0, 1.0]), np.array([1.0, 0.0, 0.0, 0.0]))
    assert not judgement.is_relative
    assert judgement.change.estimate == -0.75
    with pytest.raises(ScenarioError, match="by is a fraction of the baseline's mean, which must be > 0, got 0"):
        judge(lower(by=0.2), np.zeros(4), FLAT)
    assert judge(equivalent(by=1, absolute=True), np.zeros(4), np.zeros(4) + WOBBLE).finding == "shown"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "lower", "by": -0.1}, "by must be >= 0, got -0.1"),
        ({"kind": "lower", "by": "0.2"}, "by must be >= 0, got '0.2'"),
        ({"kind": "higher", "by": True}, "by must be >= 0, got True"),
        ({"kind": "higher", "by": math.nan}, "by must be >= 0, got nan"),
        ({"kind": "equivalent"}, "by must be > 0, got 0.0"),
        (
            {"kind": "lower", "by": 20},
            "by must be >= 0 and < 1, as a fraction of the baseline's mean, got 20" + UNIT,
        ),
        ({"kind": "lower", "confidence": 0.5}, "confidence must be > 0.5 and < 1, got 0.5"),
        ({"kind": "lower", "confidence": 95}, "confidence must be > 0.5 and < 1, got 95"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ScenarioError) as raised:
        Hypothesis(**options)
    assert str(raised.value) == message


def shares(claim, samples):
    """How often it is shown, refuted, left open."""
    findings = [judge(claim, baseline, candidate).finding for baseline, candidate in samples]
    return [findings.count(finding) / len(findings) for finding in ("shown", "refuted", "not decided")]


def pairs(number, count, ratio, seed):
    """Samples of pairs: traffic moves both by 20, each by 5 of its own; the candidate's mean is `ratio` times 100."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        traffic = rng.normal(100, 20, count)
        yield traffic + rng.normal(0, 5, count), ratio * (traffic + rng.normal(0, 5, count))


@pytest.mark.parametrize(
    ("claim", "ratio"),
    [
        (lower(), 1.0),
        (higher(), 1.0),
        (lower(by=0.2), 0.8),
        (higher(by=0.2), 1.2),
        (equivalent(by=0.2), 1.2),
        (lower(by=20, absolute=True), 0.8),
    ],
)
def test_false_alarms_are_as_rare_as_stated(claim, ratio):
    """At the edge of what is claimed, where a mistake is likeliest: 5 % of 2000, three standard deviations are 1.5 %.

    As often it is refuted; nine times of ten it says that it cannot tell.
    """
    shown, refuted, open_ = shares(claim, pairs(2000, 8, ratio, seed=3))
    assert shown == pytest.approx(0.05, abs=0.015)
    assert refuted == pytest.approx(0.05, abs=0.015)
    assert open_ > 0.85


def test_a_higher_confidence_makes_them_rarer():
    """1 % of 2000, three standard deviations are 0.7 %."""
    shown, *_ = shares(lower(confidence=0.99), pairs(2000, 8, 1.0, seed=4))
    assert shown == pytest.approx(0.01, abs=0.007)


@pytest.mark.parametrize(
    ("claim", "ratio", "edge"),
    [(lower(), 0.97, 1.0), (lower(by=0.2), 0.76, 0.8), (higher(by=0.1), 1.15, 1.1), (equivalent(by=0.04), 1.0, 0.96)],
)
def test_so_many_replications_do_show_it_eight_times_of_ten(claim, ratio, edge):
    """The number is computed from the true mean and spread of what is tested; 1000 samples, ± three of 1.3 %."""
    spread = math.hypot(20 * (ratio - edge), 5 * ratio, 5 * edge)
    power = 0.9 if claim.kind == "equivalent" else 0.8
    count = replications_needed(100 * (ratio - edge), spread, 2 * claim.confidence - 1, power)
    shown, *_ = shares(claim, pairs(1000, count, ratio, seed=5))
    assert shown == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize(
    ("claim", "power"),
    [(lower(by=0.19), 0.8), (lower(by=0.21), 0.8), (higher(by=0.0), None), (equivalent(by=0.19), 0.8)],
)
def test_it_says_how_many_would_decide_either_way(claim, power):
    """A candidate of 8 ± 0.1 beside an edge of 8.1 or 7.9: a mean distance of 0.1 and a spread of 0.1155.

    The spread of four may as well be sqrt(3 / 1.005) times as large: the chi-square distribution with three degrees of
    freedom is below 1.005 with a probability of 0.2.
    """
    needed = judge(claim, FLAT, 8 + WOBBLE).needed
    wide = 0.11547 * math.sqrt(3 / 1.005)
    assert needed == (power and replications_needed(0.1, wide, 0.9, power)) == (power and 27)


def test_equivalence_needs_more_as_it_takes_two_tests():
    needed = judge(equivalent(by=0.21), FLAT, 8 + WOBBLE).needed
    assert needed == replications_needed(0.1, 0.11547 * math.sqrt(3 / 1.005), 0.9, 0.9) == 36
