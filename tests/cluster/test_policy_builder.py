"""From the settings of a scenario to its policies."""

from __future__ import annotations

import logging

import pytest
from policy_views import context, request, state

from blis_simpy.cluster.admission import AlwaysAdmit, TokenBucket
from blis_simpy.cluster.policy_builder import build_admission, build_decision_log, build_routing
from blis_simpy.cluster.routing import LeastLoaded, RoundRobin, Weighted
from blis_simpy.errors import PluginError, ScenarioError
from blis_simpy.scenario import Scenario


class Last:
    def route(self, request, state):
        return state.snapshots[-1].replica


def scenario(**settings):
    return Scenario(model="m", **settings)


def admitted_tokens(policy):
    return next(cost for cost in range(10_000, 0, -1) if policy.admit(request(tokens=cost), state()).admitted)


def scorer_weights(policy):
    return [(type(scorer).__name__, weight) for scorer, weight in policy._scorers]


def test_defaults_are_those_of_the_reference():
    plain = scenario()
    assert type(build_admission(plain)) is AlwaysAdmit
    assert type(build_routing(plain)) is RoundRobin
    assert build_decision_log(plain) is None
    assert (plain.token_bucket_capacity, plain.token_bucket_refill_rate) == (10_000, 1_000)
    assert (plain.admission_latency, plain.routing_latency, plain.snapshot_refresh_interval) == (0, 0, 0)


def test_durations_may_be_text():
    settings = scenario(admission_latency="5ms", routing_latency="1s", snapshot_refresh_interval="10us")
    assert settings.admission_latency == 5_000
    assert settings.routing_latency == 1_000_000
    assert settings.snapshot_refresh_interval == 10


@pytest.mark.parametrize(
    ("settings", "tokens"),
    [
        ({"admission": "token-bucket", "token_bucket_capacity": 70}, 70),
        ({"admission": {"policy": "token-bucket", "capacity": 50}, "token_bucket_capacity": 70}, 50),
        ({"admission": {"policy": "token-bucket", "refill_rate": 5}, "token_bucket_capacity": 70}, 70),
        ({"admission": TokenBucket(30)}, 30),
    ],
)
def test_a_token_bucket_takes_its_size_from_where_it_is_given(settings, tokens):
    assert admitted_tokens(build_admission(scenario(**settings))) == tokens


@pytest.mark.parametrize("routing", ["weighted", Weighted, {"policy": "weighted"}])
def test_scorers_belong_to_the_weighted_policy(routing):
    policy = build_routing(scenario(routing=routing, scorers="queue-depth:3,load-balance:1"))
    assert scorer_weights(policy) == [("QueueDepth", 0.75), ("LoadBalance", 0.25)]


def test_the_weighted_policy_has_a_mix_of_its_own():
    assert [name for name, _ in scorer_weights(build_routing(scenario(routing="weighted")))] == [
        "PrefixAffinity",
        "QueueDepth",
        "KVUtilization",
    ]


@pytest.mark.parametrize("routing", [Last, Last()])
def test_a_policy_may_be_a_class_or_an_instance(routing):
    assert build_routing(scenario(routing=routing)).route(request(), state((0, 0, 0))) == 2


def test_an_instance_is_used_as_it_is():
    policy = LeastLoaded()
    assert build_routing(scenario(routing=policy)) is policy


def test_a_run_of_a_policy_needs_nothing_but_its_context():
    policy = build_routing(scenario(routing="least-loaded"))
    policy.start(context())
    assert policy.route(request(), state((1, 0))).replica == 1


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"admission": "all"},
            "admission is unknown, got 'all'; known: always-admit, reject-all, token-bucket",
        ),
        (
            {"routing": "weigthed"},
            (
                "routing is unknown, got 'weigthed'; did you mean 'weighted'? "
                "known: always-busiest, least-loaded, round-robin, weighted"
            ),
        ),
        ({"admission_latency": -1}, "admission_latency must be >= 0, got -1"),
        ({"routing_latency": -1}, "routing_latency must be >= 0, got -1"),
        ({"snapshot_refresh_interval": -1}, "snapshot_refresh_interval must be >= 0, got -1"),
        ({"trace_level": "Decisions"}, "trace_level is unknown, got 'Decisions'; did you mean 'decisions'?"),
        ({"counterfactual_k": -1}, "counterfactual_k must be >= 0, got -1"),
        (
            {"admission": "token-bucket", "token_bucket_capacity": 0},
            "token_bucket_capacity must be > 0, got 0",
        ),
        (
            {"admission": "token-bucket", "token_bucket_refill_rate": -2.0},
            "token_bucket_refill_rate must be > 0, got -2.0",
        ),
        ({"routing": "weighted", "scorers": "queue-depth"}, "scorers[0] must be name:weight, got 'queue-depth'"),
    ],
)
def test_a_wrong_setting_is_refused_at_once(settings, line):
    with pytest.raises(ScenarioError) as caught:
        scenario(**settings)
    assert str(caught.value).startswith(line)


def test_what_is_not_used_is_not_checked():
    assert scenario(token_bucket_capacity=-1, scorers="garbage").admission == "always-admit"


@pytest.mark.parametrize(
    ("build", "settings", "line"),
    [
        (
            build_admission,
            {"admission": {"policy": "token-bucket", "capacity": 0}},
            "admission.capacity must be a finite number > 0, got 0",
        ),
        (
            build_routing,
            {"routing": {"policy": "weighted", "scorers": "x:1"}},
            "routing.scorers[0] is unknown, got 'x'; known: kv-utilization, load-balance, prefix-affinity, queue-depth",
        ),
    ],
)
def test_a_wrong_option_is_named_by_its_path(build, settings, line):
    with pytest.raises(ScenarioError) as caught:
        build(scenario(**settings))
    assert str(caught.value) == line


def test_what_is_no_policy_is_refused():
    with pytest.raises(PluginError) as caught:
        build_routing(scenario(routing=TokenBucket))
    assert str(caught.value) == "routing policy TokenBucket has no method route"


def test_settings_without_effect_are_warned_of(caplog):
    with caplog.at_level(logging.WARNING, logger="blis_simpy"):
        build_routing(scenario(scorers="garbage", routing="least-loaded"))
        build_decision_log(scenario(counterfactual_k=3))
    assert [record.getMessage() for record in caplog.records] == [
        "scorers (--routing-scorers) has no effect when the routing policy is 'least-loaded': only 'weighted' uses it",
        "counterfactual_k (--counterfactual-k) has no effect without trace_level: decisions (--trace-level decisions)",
    ]


def test_a_log_of_decisions_is_made_where_it_is_asked_for():
    log = build_decision_log(scenario(trace_level="decisions", counterfactual_k=3))
    assert log is not None
    assert log.counterfactual_k == 3
