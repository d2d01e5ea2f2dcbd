"""Experiments without pytest around them."""

import pytest

import blis_simpy as blis
from blis_simpy.testing.policy_experiment import PolicyExperiment

SCENARIO = blis.Scenario(
    model="any/model",
    hardware="H100",
    tp=1,
    engine_version="any",
    replicas=4,
    latency=blis.LatencySettings(backend="blackbox", alpha=(0.0, 0.0, 0.0), beta=(5000.0, 1.0, 100.0)),
    engine=blis.EngineSettings(max_num_seqs=4),
    kv=blis.KVSettings(blocks=10_000),
    workload=blis.Workload(rate=60, num_requests=40, arrivals="poisson", output=blis.Constant(10)),
)


class Anywhere:
    """A replica picked at random; each name has luck of its own."""

    def __init__(self, name):
        self.name = name

    def start(self, context):
        self.random = context.streams.generator(self.name)

    def route(self, request, state):
        return int(self.random.integers(len(state.snapshots)))


@pytest.fixture
def experiment():
    verdicts = []
    made = PolicyExperiment(command_line={}, defaults={"replications": 5}, store=None, record=verdicts.append)
    return made, verdicts


def test_two_policies_that_are_alike_but_for_their_luck_are_rarely_told_apart(experiment):
    """Sixty times, at 95 %: three false alarms are expected, and more than eight in 1 of 200 such tests."""
    run, verdicts = experiment
    first, second = (SCENARIO.with_(router=Anywhere(name)) for name in ("one", "other"))
    for seed in range(60):
        try:
            run(baseline=first, candidate=second, seed=seed).assert_lower("e2e_mean_ms")
        except AssertionError:
            continue
    findings = [verdict["verdict"] for verdict in verdicts]
    assert len(findings) == 60
    assert findings.count("shown") <= 8
    assert findings.count("refuted") <= 8
    assert findings.count("not decided") >= 44


def test_a_policy_is_the_same_as_itself(experiment):
    """Common random numbers leave nothing to chance."""
    run, _ = experiment
    outcome = run(baseline=SCENARIO, candidate=SCENARIO)
    outcome.assert_equivalent("e2e_mean_ms", by=1e-9)
    with pytest.raises(AssertionError, match="refuted that e2e_mean_ms of candidate is lower than that of baseline"):
        outcome.assert_lower("e2e_mean_ms")


def test_other_metrics_and_executors_can_be_asked_for(experiment):
    run, verdicts = experiment
    outcome = run(
        {"few": SCENARIO, "many": SCENARIO.with_(replicas=8)},
        metrics={"e2e_p99.9_ms": None, "slowest": lambda result: result.requests["e2e_us"].max() / 1000},
        executor="threads",
        workers=2,
        replications=3,
    )
    outcome.assert_lower("slowest", by=1, absolute=True, confidence=0.6)
    outcome.assert_lower("e2e_p99.9_ms", confidence=0.6)
    assert [(verdict["metric"], verdict["replications"]) for verdict in verdicts] == [
        ("slowest", 3),
        ("e2e_p99.9_ms", 3),
    ]


def test_the_comparison_behind_it_tells_the_rest(experiment):
    run, _ = experiment
    outcome = run(baseline=SCENARIO, candidate=SCENARIO.with_(replicas=8))
    assert outcome.comparison.verdict("e2e_mean_ms").finding in ("lower", "not decided")
    assert repr(outcome) == repr(outcome.comparison)


def test_unlike_traffic_is_mentioned_where_a_claim_fails(experiment):
    run, _ = experiment
    with pytest.warns(UserWarning, match="did not receive the same requests"):
        outcome = run(baseline=SCENARIO, candidate=SCENARIO.with_(**{"workload.rate": 30}))
    with pytest.raises(AssertionError, match=r"\n  the scenarios did not receive the same requests$"):
        outcome.assert_higher("e2e_mean_ms")


def test_runs_that_lack_a_metric_are_counted(experiment):
    run, _ = experiment
    outcome = run(baseline=SCENARIO, candidate=SCENARIO.with_(admission="reject-all"))
    with pytest.raises(AssertionError) as raised:
        outcome.assert_lower("e2e_mean_ms", by=0.1)
    assert str(raised.value).splitlines()[2:] == [
        "  candidate  - on average",
        "  5 paired replications, seed 42; 5 of 5 runs of candidate lack this metric",
    ]


def test_a_change_beside_what_may_be_zero_is_told_in_the_unit_of_the_metric(experiment):
    """Differences 3, 2, 0: mean 5/3, spread 1.5275; half-width 2.92 x 1.5275 / √3 = 2.575."""
    run, _ = experiment
    found = iter([0.0, 3.0, 0.0, 2.0, 1.0, 1.0])
    outcome = run(
        baseline=SCENARIO,
        candidate=SCENARIO,
        metrics={"mine": lambda result: next(found)},
        replications=3,
    )
    with pytest.raises(AssertionError) as raised:
        outcome.assert_lower("mine", by=0.5)
    assert "  change     +1.667 [-0.9085, +4.242] in the unit of the metric, each end with 95 % " in str(raised.value)
