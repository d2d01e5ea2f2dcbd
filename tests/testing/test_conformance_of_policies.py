"""For each rule of the suites for admission, routing and scorers, a plug-in that breaks this rule alone."""

import numpy as np
import pytest
from broken_rules import assert_breaks, failures, rules_of

import blis_simpy as blis
from blis_simpy.testing import AdmissionPolicyTests, RoutingPolicyTests, ScorerTests


class First:
    def route(self, request, state):
        return state.snapshots[0].replica


class Position(First):
    def route(self, request, state):
        return len(state.snapshots) - 1


class NoReplica(First):
    def route(self, request, state):
        return None


class ShortScores(First):
    def route(self, request, state):
        return blis.RoutingDecision(super().route(request, state), scores=[1.0])


class OwnChance(First):
    random = np.random.default_rng(7)

    def route(self, request, state):
        return state.snapshots[self.random.integers(len(state.snapshots))].replica


class NoStart(First):
    turn = 0

    def route(self, request, state):
        self.turn += 1
        return state.snapshots[self.turn % len(state.snapshots)].replica


class Marks(First):
    def route(self, request, state):
        request.tenant = request.tenant or "unknown"
        return super().route(request, state)


class Clairvoyant(First):
    def route(self, request, state):
        return state.snapshots[request.output_tokens % len(state.snapshots)].replica


class Hoards(First):
    def start(self, context):
        self.last = None

    def route(self, request, state):
        busy = self.last.queue_depth if self.last else 0
        self.last = state.snapshots[-1]
        return state.snapshots[min(busy, 1) % len(state.snapshots)].replica


INDEX = "route must return the index of a replica that it is shown, or a RoutingDecision with it"
STREAM = "must draw random numbers from context.streams alone, so that equal runs are equal"
ANEW = "must begin each run anew: state that belongs to a run is made in start"
UNCHANGED = "must leave request.tenant unchanged"
OUTPUT = "must not use request.output_tokens, which no real router knows (or set knows_output_length = True)"
EXPIRED = "must not read a snapshot after the call that it was handed to"
ROUTING = [
    ("test_route_returns_the_index_of_a_shown_replica", Position, INDEX),
    ("test_route_returns_the_index_of_a_shown_replica", NoReplica, INDEX),
    (
        "test_scores_of_a_decision_are_one_number_a_snapshot",
        ShortScores,
        "the scores of a decision must be one finite number for each snapshot",
    ),
    ("test_equal_runs_have_equal_answers", OwnChance, STREAM),
    ("test_one_instance_can_serve_several_runs", NoStart, ANEW),
    ("test_requests_are_left_unchanged", Marks, UNCHANGED),
    ("test_answers_do_not_depend_on_the_planned_output", Clairvoyant, OUTPUT),
    ("test_snapshots_are_used_during_the_call_only", Hoards, EXPIRED),
]


class Even:
    def score(self, request, snapshots):
        return [0.5] * len(snapshots)


class TooFew(Even):
    def score(self, request, snapshots):
        return [0.5]


class NaN(Even):
    def score(self, request, snapshots):
        return [float("nan")] * len(snapshots)


class Unbounded(Even):
    def score(self, request, snapshots):
        return [float(snapshot.effective_load) for snapshot in snapshots]


class Learns(Even):
    def __init__(self):
        self.seen = set()

    def score(self, request, snapshots):
        return [float(snapshot.replica in self.seen) for snapshot in snapshots]

    def observe(self, request, replica):
        self.seen.add(replica)


class Dices(Even):
    random = np.random.default_rng(7)

    def score(self, request, snapshots):
        return self.random.random(len(snapshots))


class Relabels(Even):
    def observe(self, request, replica):
        request.tenant = f"replica {replica}"


class Foresees(Even):
    def score(self, request, snapshots):
        return [1 / request.output_tokens] * len(snapshots)


class Keeps(Even):
    kept = ()

    def start(self, context):
        self.kept = ()

    def score(self, request, snapshots):
        seen = {view.replica: view.in_flight for view in self.kept}
        self.kept = snapshots
        return [1 / (1 + seen.get(view.replica, 0)) for view in snapshots]


NUMBERS = "score must return one number for each snapshot, in their order"
SCORERS = [
    ("test_score_returns_one_number_for_each_snapshot", TooFew, NUMBERS),
    ("test_score_returns_one_number_for_each_snapshot", NaN, NUMBERS),
    ("test_scores_lie_between_0_and_1", Unbounded, "scores must lie between 0 and 1"),
    ("test_one_instance_can_serve_several_runs", Learns, ANEW),
    ("test_equal_runs_have_equal_answers", Dices, STREAM),
    ("test_requests_are_left_unchanged", Relabels, UNCHANGED),
    ("test_answers_do_not_depend_on_the_planned_output", Foresees, OUTPUT),
    ("test_snapshots_are_used_during_the_call_only", Keeps, EXPIRED),
]


class ShortPrompts:
    def admit(self, request, state):
        return request.input_tokens < 150


class Truthy(ShortPrompts):
    def admit(self, request, state):
        return "yes"


class Least(ShortPrompts):
    def admit(self, request, state):
        return min(snapshot.queue_depth for snapshot in state.snapshots) < 5


class NotTheLoad(ShortPrompts):
    may_decide_on_arrival = True

    def admit(self, request, state):
        return all(snapshot.queue_depth < 5 for snapshot in state.snapshots)


class Coin(ShortPrompts):
    random = np.random.default_rng(7)

    def admit(self, request, state):
        return bool(self.random.random() < 0.5)


class EveryOther(ShortPrompts):
    count = 0

    def admit(self, request, state):
        self.count += 1
        return self.count % 7 == 0


class Stamps(ShortPrompts):
    def admit(self, request, state):
        request.tenant = "admitted"
        return True


class ShortAnswers(ShortPrompts):
    def admit(self, request, state):
        return request.output_tokens < 100


class Remembers(ShortPrompts):
    def start(self, context):
        self.before = ()

    def admit(self, request, state):
        busy = sum(snapshot.in_flight for snapshot in self.before)
        self.before = state.snapshots
        return busy < 10


ADMISSION = [
    (
        "test_admit_returns_a_decision_or_a_bool",
        Truthy,
        "admit must return a bool, or an AdmissionDecision with a bool and a text",
    ),
    (
        "test_admit_answers_without_any_replica",
        Least,
        "admit must answer when no replica is routable: state.snapshots may be empty",
    ),
    (
        "test_decisions_on_arrival_do_not_depend_on_the_replica",
        NotTheLoad,
        "has may_decide_on_arrival = True, so its decision must not depend on the figures of a single replica",
    ),
    ("test_equal_runs_have_equal_answers", Coin, STREAM),
    ("test_one_instance_can_serve_several_runs", EveryOther, ANEW),
    ("test_requests_are_left_unchanged", Stamps, UNCHANGED),
    ("test_answers_do_not_depend_on_the_planned_output", ShortAnswers, OUTPUT),
    ("test_snapshots_are_used_during_the_call_only", Remembers, EXPIRED),
]
CASES = [
    *((RoutingPolicyTests, *case) for case in ROUTING),
    *((ScorerTests, *case) for case in SCORERS),
    *((AdmissionPolicyTests, *case) for case in ADMISSION),
]


@pytest.mark.parametrize(("suite", "test", "plugin", "rule"), CASES)
def test_a_policy_that_breaks_a_rule_fails_its_test_alone(suite, test, plugin, rule):
    assert_breaks(suite, test, lambda self: plugin(), f"{plugin.__name__}: {rule}")


@pytest.mark.parametrize("suite", [RoutingPolicyTests, ScorerTests, AdmissionPolicyTests])
def test_every_rule_is_broken_by_a_policy(suite):
    assert {test for of, test, *_ in CASES if of is suite} == rules_of(suite)


@pytest.mark.parametrize(
    ("suite", "policy"),
    [(RoutingPolicyTests, First), (ScorerTests, Even), (AdmissionPolicyTests, ShortPrompts)],
)
def test_a_policy_of_a_few_lines_passes(suite, policy):
    assert failures(suite, lambda self: policy()) == {}


def test_a_policy_may_know_the_output_if_the_suite_says_so():
    assert failures(RoutingPolicyTests, lambda self: Clairvoyant(), knows_output_length=True) == {}


def test_numpy_integers_are_indices():
    class Numpy(First):
        def route(self, request, state):
            return np.int64(super().route(request, state))

    assert failures(RoutingPolicyTests, lambda self: Numpy()) == {}


def test_a_claim_that_a_subclass_overrides_does_not_count():
    """As for the router: the attribute belongs to the `admit` of its class."""

    class Subclass(blis.AlwaysAdmit):
        def admit(self, request, state):
            return NotTheLoad.admit(self, request, state)

    assert failures(AdmissionPolicyTests, lambda self: Subclass()) == {}


def test_the_message_shows_what_was_returned_and_for_what():
    found = failures(RoutingPolicyTests, lambda self: Position())
    assert found["test_route_returns_the_index_of_a_shown_replica"] == (
        f"Position: {INDEX}\n  returned: 1\n  shown: [0, 4]\n  request: 'request_0'\n  tick: 0"
    )


def test_a_suite_without_make_says_what_is_missing():
    class TestNothing(RoutingPolicyTests):
        pass

    with pytest.raises(NotImplementedError, match=r"^TestNothing\.make must return a new instance of the plug-in$"):
        TestNothing().test_equal_runs_have_equal_answers()
