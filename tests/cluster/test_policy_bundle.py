"""Policy bundles."""

from __future__ import annotations

import pytest

from blis_simpy.cluster.policy_bundle import load_policy_bundle
from blis_simpy.errors import ScenarioError
from blis_simpy.scenario import Scenario

FULL = """
admission:
  policy: token-bucket
  token_bucket_capacity: 5000
  token_bucket_refill_rate: 1e3
routing:
  policy: weighted
  scorers:
    - {name: queue-depth, weight: 2}
    - {name: kv-utilization, weight: 0.5}
priority: {policy: slo-based}
scheduler: priority-fcfs
"""
SCORERS = "kv-utilization, load-balance, prefix-affinity, queue-depth"
NOTHING = (
    "{}",
    "admission:\nrouting: null\npriority: ~\n",
    "admission: {policy: '', token_bucket_capacity: null}\nscheduler: ''\nrouting: {scorers: []}\n",
)


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def load(text):
        (tmp_path / "b.yaml").write_text(text)
        return load_policy_bundle("b.yaml")

    return load


def test_a_bundle_names_settings_of_the_scenario(load):
    changes = load(FULL)
    assert changes == {
        "admission.policy": "token-bucket",
        "admission.capacity": 5000,
        "admission.refill_rate": 1000.0,
        "router.policy": "weighted",
        "router.scorers": (("queue-depth", 2.0), ("kv-utilization", 0.5)),
        "engine.priority": "slo-based",
        "engine.scheduler": "priority-fcfs",
    }
    assert Scenario(model="m").with_(**changes).engine.scheduler == "priority-fcfs"


@pytest.mark.parametrize("text", NOTHING)
def test_what_is_empty_is_not_set(load, text):
    assert load(text) == {}


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", "b.yaml: is empty"),
        ("# nothing\n", "b.yaml: is empty"),
        ("- 1", "b.yaml: must be a mapping of settings, got [1]"),
        ("admision: {}", "b.yaml: admision is not a setting (line 1); did you mean admission?"),
        (
            "routing:\n  polcy: weighted",
            "b.yaml: routing.polcy is not a setting (line 2); did you mean policy?",
        ),
        ("scheduler: a\nscheduler: b", "b.yaml: scheduler is given twice (line 2); first on line 1"),
        ("scheduler: [sjf]", "b.yaml: scheduler must be text, got ('sjf',) (line 1)"),
        ("admission: token-bucket", "b.yaml: admission must be a mapping of settings, got 'token-bucket' (line 1)"),
        (
            "admission:\n  token_bucket_capacity: '12'",
            "b.yaml: admission.token_bucket_capacity must be a number, got '12' (line 2)",
        ),
        (
            "admission: {token_bucket_capacity: .nan}",
            "b.yaml: admission.token_bucket_capacity must be a finite number, got nan (line 1)",
        ),
        (
            "admission: {token_bucket_refill_rate: -1}",
            "b.yaml: admission.token_bucket_refill_rate must be >= 0, got -1 (line 1)",
        ),
        (
            "scheduler: sfj\nadmission: {policy: all}\n",
            (
                "b.yaml: admission.policy is unknown, got 'all' (line 2); "
                "known: always-admit, reject-all, token-bucket\n"
                "b.yaml: scheduler is unknown, got 'sfj' (line 1); did you mean 'sjf'? "
                "known: fcfs, priority, priority-fcfs, reverse-priority, sjf"
            ),
        ),
        (
            "routing:\n  scorers:\n  - {name: queue-depth, weight: 1}\n  - {name: load, weight: 1}",
            f"b.yaml: routing.scorers[1] is unknown, got 'load' (line 4); known: {SCORERS}",
        ),
        (
            "routing:\n  scorers:\n  - {name: queue-depth, weight: 1}\n  - {name: queue-depth, weight: 1}",
            "b.yaml: routing.scorers[1] is given twice, got 'queue-depth' (line 4)",
        ),
        (
            "routing: {scorers: [{name: queue-depth, weight: 0}]}",
            "b.yaml: routing.scorers[0] must have a finite weight > 0, got 0 (line 1)",
        ),
        (
            "routing: {scorers: [{name: queue-depth}]}",
            "b.yaml: routing.scorers[0].weight is required (line 1)",
        ),
        (
            "routing: {scorers: [{name: queue-depth, weight: '2'}]}",
            "b.yaml: routing.scorers[0].weight must be a number, got '2' (line 1)",
        ),
    ],
)
def test_a_mistake_is_named_with_file_and_line(load, text, lines):
    with pytest.raises(ScenarioError) as caught:
        load(text)
    assert str(caught.value) == lines


def test_a_missing_file_is_named():
    with pytest.raises(ScenarioError) as caught:
        load_policy_bundle("nowhere.yaml")
    assert str(caught.value) == "nowhere.yaml: cannot be read: No such file or directory"
