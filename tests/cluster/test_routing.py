"""Who goes where."""

from __future__ import annotations

import math

import numpy as np
import pytest
from policy_views import Draws, State, View, context, request, state

from blis_simpy.cluster.policies import RoutingDecision
from blis_simpy.cluster.routing import AlwaysBusiest, LeastLoaded, RoundRobin, Weighted
from blis_simpy.errors import PluginError


def begun(policy, **options):
    policy.start(context(**options))
    return policy


class Fixed:
    """Scores given beforehand; remembers what it was told."""

    def __init__(self, *scores):
        self.scores = scores
        self.observed = []

    def score(self, request, snapshots):
        return self.scores

    def observe(self, request, replica):
        self.observed.append((request.id, replica))


def test_round_robin_takes_turns_and_counts_them():
    policy = begun(RoundRobin())
    decisions = [policy.route(request(), state((0, 0, 0))) for _ in range(4)]
    assert [decision.replica for decision in decisions] == [0, 1, 2, 0]
    assert [decision.reason for decision in decisions] == [f"round-robin[{n}]" for n in range(4)]


def test_round_robin_counts_among_the_replicas_it_is_shown():
    policy = begun(RoundRobin())
    policy.route(request(), state((0, 0, 0)))
    assert policy.route(request(), State(0, [View(1), View(4)])).replica == 4


def test_a_policy_starts_afresh_in_another_run():
    policy = begun(RoundRobin())
    policy.route(request(), state())
    assert begun(policy).route(request(), state()).replica == 0


def test_always_busiest_takes_the_first_of_several():
    assert AlwaysBusiest().route(request(), state((1, 4, 4))) == RoutingDecision(1, "always-busiest (load=4)")


def test_least_loaded_draws_once_and_only_among_equals():
    """A burst on three replicas: ties of 3, 2, then none; then all over again with one request more each."""
    draws = Draws(0, 0, 2, 0)
    policy = begun(LeastLoaded(draws))
    loads = [0, 0, 0]
    chosen = []
    for _ in range(6):
        decision = policy.route(request(), state(loads))
        assert decision.reason == f"least-loaded (load={min(loads)})"
        chosen.append(decision.replica)
        loads[decision.replica] += 1
    assert chosen == [0, 1, 2, 2, 0, 1]
    assert draws.asked == [3, 2, 3, 2]


def test_ties_are_drawn_from_the_stream_named_router():
    stream = context(seed=7).streams.generator("router")
    policy = begun(LeastLoaded(), seed=7)
    drawn = [policy.route(request(), state([0] * 5)).replica for _ in range(20)]
    assert drawn == [int(stream.integers(5)) for _ in range(20)]
    assert {type(replica) for replica in drawn} == {int}


def test_weighted_adds_each_weighted_score_in_turn():
    """The sum depends on the order: 0.1·0.6 + 0.7·0.2 + 0.2·0.2, weights divided by their sum first."""
    policy = begun(Weighted([(Fixed(0.1, 0), 3), (Fixed(0.7, 0), 1), (Fixed(0.2, 0), 1)]))
    decision = policy.route(request(), state())
    total = 0.0 + 0.1 * (3 / 5)
    total += 0.7 * (1 / 5)
    total += 0.2 * (1 / 5)
    assert decision == RoutingDecision(0, f"weighted-scoring (score={total:.3f})", [total, 0.0])


@pytest.mark.parametrize("kind", [tuple, np.array])
@pytest.mark.parametrize(("score", "counted"), [(-0.5, 0.0), (0.0, 0.0), (0.25, 0.25), (1.0, 1.0), (1.5, 1.0)])
def test_weighted_clips_a_score_outside_0_to_1(kind, score, counted):
    scorer = Fixed()
    scorer.scores = kind([score, 0.5])
    assert begun(Weighted([(scorer, 1)])).route(request(), state()).scores == [counted, 0.5]


def test_weighted_clips_scores_with_one_warning_a_scorer(caplog):
    policy = begun(Weighted([(Fixed(-3.0, math.inf), 1)]))
    assert policy.route(request(), state()).scores == [0.0, 1.0]
    policy.route(request(), state())
    assert caplog.messages == ["scorer Fixed gives -3: scores below 0 count as 0, those above 1 as 1"]


def test_weighted_draws_among_exactly_equal_scores():
    draws = Draws(1)
    policy = begun(Weighted([(Fixed(0.5, 0.5 - 1e-16, 0.4, 0.5), 1)], draws))
    assert policy.route(request(), state((0,) * 4)).replica == 3
    assert draws.asked == [2]


def test_a_single_best_array_element_needs_no_draw():
    draws, scorer = Draws(1), Fixed()
    scorer.scores = np.array([0.4, 0.5, 0.4])
    policy = begun(Weighted([(scorer, 1)], draws))
    assert policy.route(request(), state((0,) * 3)).replica == 1
    scorer.scores = np.array([0.4, 0.5, 0.5])
    assert policy.route(request(), state((0,) * 3)).replica == 2
    assert draws.asked == [2]


def test_weighted_tells_its_scorers_of_the_choice():
    scorer = Fixed(0, 1)
    begun(Weighted([(scorer, 1)])).route(request("r7"), State(0, [View(3), View(5)]))
    assert scorer.observed == [("r7", 5)]


@pytest.mark.parametrize(
    ("scores", "line"),
    [
        ((1.0,), "scorer Fixed must give a score for each of the 2 replicas, got (1.0,)"),
        ((1.0, math.nan), "scorer Fixed must give scores that are numbers, got nan"),
    ],
)
def test_a_misbehaving_scorer_is_named(scores, line):
    with pytest.raises(PluginError) as caught:
        begun(Weighted([(Fixed(*scores), 1)])).route(request(), state())
    assert str(caught.value) == line


def test_the_default_mix_weighs_prefix_load_and_memory():
    """Figures recorded from the reference: 3 replicas of 40 blocks, weights 3, 2 and 2 of 7.

    r1 shares 3 of its 4 blocks with r0: 3/4·3/7 + 0 + 2/7 beats 2/7 + 2/7. r2 does so too, but the 5 blocks in use
    there bring it exactly level with the others. r3 has no full block.
    """
    draws = Draws(0, 1, 1)
    policy = begun(Weighted(stream=draws))
    idle = 0.5714285714285714

    def scores(name, tokens, loads, used, shared=48):
        decision = policy.route(request(name, tokens, shared=shared), state(loads, utilization=used))
        return decision.replica, decision.scores

    assert scores("r0", 64, (0, 0, 0), (0, 0, 0)) == (0, [idle] * 3)
    assert scores("r1", 64, (2, 0, 0), (0, 0, 0)) == (0, [0.6071428571428571, idle, idle])
    assert scores("r2", 70, (4, 0, 0), (0.125, 0, 0)) == (1, [idle] * 3)
    assert scores("r3", 15, (4, 2, 0), (0.125, 0.125, 0), 0) == (2, [0.25, 0.39285714285714285, idle])
    assert scores("r4", 100, (0, 0, 0), (0, 0, 0)) == (1, [0.7857142857142857, 0.7857142857142857, idle])
    assert draws.asked == [3, 3, 2]
