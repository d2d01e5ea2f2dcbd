"""How replicas are rated, and how a mix of ratings is written down."""

from __future__ import annotations

import pytest
from policy_views import View, context, request, state

from blis_simpy import registry
from blis_simpy.cluster.scorers import (
    DEFAULT_MIX,
    KVUtilization,
    LoadBalance,
    PrefixAffinity,
    QueueDepth,
    build_scorers,
    parse_scorers,
)
from blis_simpy.errors import PluginError, ScenarioError

KNOWN = "known: kv-utilization, load-balance, prefix-affinity, queue-depth"


def test_queue_depth_is_relative_to_the_greatest_and_least_load():
    assert QueueDepth().score(request(), state((5, 2, 3)).snapshots) == [0.0, 1.0, 2 / 3]


def test_queue_depth_of_equal_loads_is_1():
    assert QueueDepth().score(request(), state((4, 4)).snapshots) == [1.0, 1.0]


def test_kv_utilization_is_what_is_free():
    assert KVUtilization().score(request(), state((0, 0), utilization=(0.125, 1.0)).snapshots) == [0.875, 0.0]


def test_load_balance_is_the_inverse_of_the_load():
    assert LoadBalance().score(request(), state((0, 1, 3)).snapshots) == [1.0, 0.5, 0.25]


def test_prefix_affinity_is_the_fraction_of_full_blocks_that_were_sent_there():
    scorer = PrefixAffinity()
    scorer.start(context())
    scorer.observe(request("a", 64, shared=48), 4)
    assert scorer.score(request("b", 100, shared=48), [View(0), View(4)]) == [0.0, 3 / 6]
    assert scorer.score(request("c", 15, shared=15), [View(0), View(4)]) == [0.0, 0.0]
    scorer.start(context())
    assert scorer.score(request("b", 100, shared=48), [View(0), View(4)]) == [0.0, 0.0]


@pytest.mark.parametrize(
    ("mix", "pairs"),
    [
        (None, list(DEFAULT_MIX)),
        ("", list(DEFAULT_MIX)),
        (" queue-depth : 2 ,load-balance:1e-3", [("queue-depth", 2.0), ("load-balance", 0.001)]),
        ({"queue-depth": 2, "load-balance": 1}, [("queue-depth", 2.0), ("load-balance", 1.0)]),
        ([("queue-depth", 2), (LoadBalance, 1.5)], [("queue-depth", 2.0), (LoadBalance, 1.5)]),
    ],
)
def test_a_mix_becomes_pairs(mix, pairs):
    assert parse_scorers(mix) == tuple(pairs)


@pytest.mark.parametrize(
    ("mix", "lines"),
    [
        ("queue-depth", "[0] must be name:weight, got 'queue-depth'"),
        ("queue-depth:1,", "[1] must be name:weight, got ''"),
        ("load:1", f"[0] is unknown, got 'load'; {KNOWN}"),
        (":1", f"[0] is unknown, got ''; {KNOWN}"),
        ("Queue-Depth:1", f"[0] is unknown, got 'Queue-Depth'; did you mean 'queue-depth'? {KNOWN}"),
        ("queue-depth:1,queue-depth:2", "[1] is given twice, got 'queue-depth'"),
        ("queue-depth:", "[0] must have a number as its weight, got ''"),
        ("queue-depth:1:2", "[0] must have a number as its weight, got '1:2'"),
        ("queue-depth:1e400", "[0] must have a finite weight > 0, got inf"),
        ("queue-depth:nan", "[0] must have a finite weight > 0, got nan"),
        ("queue-depth:0", "[0] must have a finite weight > 0, got 0.0"),
        ("queue-depth:-1", "[0] must have a finite weight > 0, got -1.0"),
        (
            "queue-depth,load-balance:x",
            ("[0] must be name:weight, got 'queue-depth'\n[1] must have a number as its weight, got 'x'"),
        ),
        ({"queue-depth": True}, "[0] must have a number as its weight, got True"),
        ([(QueueDepth, 1, 2)], "[0] must be a pair of a scorer and its weight, got"),
        ([QueueDepth], "[0] must be a pair of a scorer and its weight, got"),
        ([], "must not be empty"),
        (7, "must be text, a mapping or a list, got 7"),
    ],
)
def test_a_wrong_mix_is_refused(mix, lines):
    with pytest.raises(ScenarioError) as caught:
        parse_scorers(mix)
    assert str(caught.value).startswith(lines)


def test_weights_add_up_to_1_and_scorers_are_built():
    ready = LoadBalance()
    (first, a), (second, b) = build_scorers([("queue-depth", 3), (ready, 1)])
    assert (type(first), second) == (QueueDepth, ready)
    assert (a, b) == (0.75, 0.25)


def test_a_registered_scorer_can_be_named():
    with registry.added("scorer", "mine", LoadBalance):
        assert type(build_scorers("mine:1")[0][0]) is LoadBalance


def test_what_cannot_score_is_refused():
    with pytest.raises(PluginError) as caught:
        build_scorers([(dict, 1)])
    assert str(caught.value) == "scorer dict has no method score; score(request, snapshots)"
