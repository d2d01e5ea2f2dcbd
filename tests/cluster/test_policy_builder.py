"""From the settings of a scenario to its policies."""

from __future__ import annotations

import pytest
from policy_views import context, request, state

from blis_simpy import registry
from blis_simpy.cluster.admission import AlwaysAdmit, TokenBucket
from blis_simpy.cluster.policy_builder import build_decision_log, build_policy
from blis_simpy.cluster.routing import LeastLoaded, RoundRobin
from blis_simpy.cluster.scorers import LoadBalance, QueueDepth
from blis_simpy.cluster.settings import AdmissionSettings, RouterSettings
from blis_simpy.errors import PluginError, ScenarioError
from blis_simpy.load_files import load_scenario
from blis_simpy.scenario import Scenario
from blis_simpy.settings.field_types import Duration
from blis_simpy.settings.fields import setting, settings_class


class Last:
    def route(self, request, state):
        return state.snapshots[-1].replica


@settings_class(frozen=False)
class Sticky(Last):
    patience: Duration = setting(default=0, help="Patience.", unit="us", ge=0, dimension="duration")


class Nth:
    def __init__(self, n=0):
        self.n = n

    def route(self, request, state):
        return state.snapshots[self.n].replica


def scenario(**settings):
    return Scenario(model="m", **settings)


def build_admission(settings):
    return build_policy("admission", "admission", settings.policy)


def build_routing(settings):
    return build_policy("routing", "router", settings.policy)


def admitted_tokens(policy):
    return next(cost for cost in range(10_000, 0, -1) if policy.admit(request(tokens=cost), state()).admitted)


def scorer_weights(policy):
    return [(type(scorer).__name__, weight) for scorer, weight in policy._scorers]


def test_defaults_are_those_of_the_reference():
    plain = scenario()
    assert type(build_admission(plain.admission)) is AlwaysAdmit
    assert type(build_routing(plain.router)) is RoundRobin
    assert build_decision_log(plain.router) is None
    assert TokenBucket() == TokenBucket(capacity=10_000.0, refill_rate=1_000.0)
    assert (plain.admission.delay, plain.router.delay, plain.router.snapshot_interval) == (0, 0, 0)


def test_durations_may_be_text():
    made = scenario(admission={"delay": "5ms"}, router={"delay": "1s", "snapshot_interval": "10us"})
    assert (made.admission.delay, made.router.delay, made.router.snapshot_interval) == (5_000, 1_000_000, 10)


@pytest.mark.parametrize(
    ("admission", "tokens"),
    [
        ({"policy": "token-bucket", "capacity": 50}, 50),
        ({"policy": {"type": "token-bucket", "capacity": 50}}, 50),
        (AdmissionSettings(policy=TokenBucket(30)), 30),
        (TokenBucket(30), 30),
        (lambda: TokenBucket(20), 20),
    ],
)
def test_options_of_a_policy_are_given_beside_its_name_or_to_its_class(admission, tokens):
    assert admitted_tokens(build_admission(scenario(admission=admission).admission)) == tokens


@pytest.mark.parametrize(
    "scorers",
    ["queue-depth:3,load-balance:1", {"queue-depth": 3, "load-balance": 1}, [(QueueDepth, 3), (LoadBalance, 1)]],
)
def test_the_weighted_policy_takes_its_scorers_in_several_forms(scorers):
    policy = build_routing(scenario(router={"policy": "weighted", "scorers": scorers}).router)
    assert scorer_weights(policy) == [("QueueDepth", 0.75), ("LoadBalance", 0.25)]


def test_the_weighted_policy_has_scorers_of_its_own():
    assert [name for name, _ in scorer_weights(build_routing(scenario(router="weighted").router))] == [
        "PrefixAffinity",
        "QueueDepth",
        "KVUtilization",
    ]


@pytest.mark.parametrize("policy", [Last, Last()])
def test_a_policy_alone_stands_for_the_settings_with_it(policy):
    made = scenario(router=policy)
    assert made.router == RouterSettings(policy=policy)
    assert build_routing(made.router).route(request(), state((0, 0, 0))) == 2


def test_an_instance_is_used_as_it_is():
    policy = LeastLoaded()
    assert build_routing(scenario(router=policy).router) is policy


def test_options_are_kept_in_the_form_of_their_settings():
    made = scenario(router={"policy": "weighted", "scorers": "queue-depth:3"}, admission={"policy": "token-bucket"})
    assert made.router.policy == {"type": "weighted", "scorers": (("queue-depth", 3.0),)}
    assert made.admission.policy == "token-bucket"


def test_a_policy_of_a_user_describes_its_options_as_settings():
    with registry.added("routing", "sticky", Sticky):
        made = scenario(router={"policy": "sticky", "patience": "5ms", "delay": 3})
        assert made.router.policy == {"type": "sticky", "patience": 5_000}
        assert made.router.delay == 3
        assert build_routing(made.router) == Sticky(patience=5_000)
        with pytest.raises(ScenarioError) as caught:
            made.with_(**{"router.patience": -1, "router.patients": 2})
    assert str(caught.value) == "router.patients is not a setting, nor an option of 'sticky'; did you mean patience?"


def test_options_of_a_policy_that_describes_none_are_its_parameters():
    with registry.added("routing", "nth", Nth):
        made = scenario(router={"policy": "nth", "n": 1})
        assert build_routing(made.router).route(request(), state((0, 0, 0))) == 1
        with pytest.raises(ScenarioError) as caught:
            scenario(router={"policy": "nth", "m": 1})
    assert str(caught.value).startswith("router.m is not a setting, nor an option of 'nth'; known: policy, delay, ")


def test_a_run_of_a_policy_needs_nothing_but_its_context():
    policy = build_routing(scenario(router="least-loaded").router)
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
            {"router": {"policy": "weigthed"}},
            (
                "router.policy is unknown, got 'weigthed'; did you mean 'weighted'? "
                "known: always-busiest, least-loaded, round-robin, weighted"
            ),
        ),
        ({"router": 3}, "router must be a name, a class or an instance, got 3"),
        ({"admission": {"delay": -1}}, "admission.delay must be >= 0, got -1"),
        ({"router": {"delay": -1}}, "router.delay must be >= 0, got -1"),
        ({"router": {"snapshot_interval": -1}}, "router.snapshot_interval must be >= 0, got -1"),
        ({"router": {"decision_log": "all"}}, "router.decision_log must be true or false, got 'all'"),
        ({"router": {"decision_alternatives": -1}}, "router.decision_alternatives must be >= 0, got -1"),
        (
            {"admission": {"policy": "token-bucket", "capacity": 0, "refill_rate": -2.0}},
            "admission.capacity must be > 0, got 0\nadmission.refill_rate must be > 0, got -2.0",
        ),
        (
            {"router": {"policy": "weighted", "scorers": "queue-depth"}},
            "router.scorers[0] must be name:weight, got 'queue-depth'",
        ),
        (
            {"router": {"scorers": "queue-depth:1"}},
            "router.scorers is not a setting, nor an option of 'round-robin'; it is an option of 'weighted'",
        ),
        (
            {"router": {"policy": "weighted", "scorer": 1}},
            "router.scorer is not a setting, nor an option of 'weighted'; did you mean scorers?",
        ),
    ],
)
def test_a_wrong_setting_is_refused_at_once(settings, line):
    with pytest.raises(ScenarioError) as caught:
        scenario(**settings)
    assert str(caught.value).startswith(line)


def test_a_file_names_the_line_of_a_wrong_option(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("model: m\nrouter:\n  policy: weighted\n  delay: x\n  scorers:\n    queue-dept: 1\n")
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path)
    assert [(problem.path, problem.line) for problem in caught.value.problems] == [
        ("router.delay", 4),
        ("router.scorers[0]", 5),
    ]


def test_another_policy_leaves_the_other_settings_and_takes_over_no_option():
    made = scenario(router={"policy": "weighted", "scorers": "queue-depth:1", "delay": 7})
    assert made.with_(router="least-loaded").router == RouterSettings(policy="least-loaded", delay=7)
    assert made.with_(router="weighted") == made
    assert made.with_(**{"router.policy": "weighted", "router.scorers": "load-balance:1"}).router.policy == {
        "type": "weighted",
        "scorers": (("load-balance", 1.0),),
    }
    assert made.with_(router={"policy": "least-loaded"}).router == RouterSettings(policy="least-loaded")


def test_options_of_an_instance_or_a_class_are_changed_by_their_path():
    for policy in (TokenBucket(5, 3), TokenBucket):
        changed = scenario(admission=policy).with_(**{"admission.capacity": 7})
        assert changed.admission.policy.capacity == 7
    assert policy is TokenBucket


def test_what_is_not_a_policy_is_refused():
    with pytest.raises(PluginError) as caught:
        build_routing(scenario(router=TokenBucket).router)
    assert str(caught.value) == "routing policy TokenBucket has no method route; route(request, state)"


def test_a_log_of_decisions_is_made_where_it_is_asked_for():
    log = build_decision_log(scenario(router={"decision_log": True, "decision_alternatives": 3}).router)
    assert log is not None
    assert log.counterfactual_k == 3
