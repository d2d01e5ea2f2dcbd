"""Policies that misbehave, replicas moved at awkward moments, and worked examples of the reference."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pytest
from small_clusters import at, outcomes, prepare, requests, scenario

import blis_simpy as blis
from blis_simpy.cluster.admission import AlwaysAdmit
from blis_simpy.cluster.lifecycle import ReplicaState
from blis_simpy.cluster.settings import NodePool
from blis_simpy.core.request import Request
from blis_simpy.core.token_spans import Span
from blis_simpy.results.anomalies import priority_inversions


def router(answer):
    """A routing policy that answers so."""

    class Router:
        def route(self, request, state):
            return answer(state)

    return Router


def admission(answer):
    """An admission policy that answers so."""

    class Admission:
        def admit(self, request, state):
            return answer(state)

    return Admission


def scorer(answer):
    """The weighted policy with one scorer that answers so."""

    class Scorer:
        def score(self, request, snapshots):
            return answer(snapshots)

    return {"router": {"policy": "weighted", "scorers": [(Scorer, 1.0)]}}


class FirstReplica:
    def route(self, request, state):
        return state.snapshots[0].replica


def scored(*scores):
    return lambda state: blis.RoutingDecision(0, scores=scores[0] if len(scores) == 1 else scores)


def change(name):
    return lambda state: setattr(state.snapshots[0], name, 0)


WRONG_INDEX = "policy Router route must return the index of a replica"
NO_ADMISSION = "policy Admission admit must return an AdmissionDecision or a bool"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"router": router(lambda state: 2)}, f"{WRONG_INDEX} it was shown (0, 1), got 2"),
        ({"router": router(lambda state: -1)}, f"{WRONG_INDEX} it was shown (0, 1), got -1"),
        ({"router": router(lambda state: None)}, f"{WRONG_INDEX} or a RoutingDecision, got None"),
        ({"router": router(lambda state: 0.0)}, f"{WRONG_INDEX} or a RoutingDecision, got 0.0"),
        ({"router": router(lambda state: True)}, f"{WRONG_INDEX} or a RoutingDecision, got True"),
        (
            {"router": router(lambda state: state.snapshots[0])},
            f"{WRONG_INDEX} or a RoutingDecision, got <snapshot of instance_0>",
        ),
        (
            {"router": router(lambda state: 1 / 0)},
            "policy Router raised ZeroDivisionError('division by zero') in route",
        ),
        (
            {"router": router(scored(1.0, float("nan")))},
            "policy Router the scores of a decision must be 2 finite numbers, got (1.0, nan)",
        ),
        (
            {"router": router(scored("a", "b"))},
            "policy Router the scores of a decision must be 2 finite numbers, got ('a', 'b')",
        ),
        (
            {"router": router(scored(0.5, 0.5, 0.5))},
            "policy Router the scores of a decision must be 2 finite numbers, got (0.5, 0.5, 0.5)",
        ),
        ({"router": router(scored(3))}, "policy Router the scores of a decision must be 2 finite numbers, got 3"),
        ({"admission": admission(lambda state: None)}, f"{NO_ADMISSION}, got None"),
        ({"admission": admission(lambda state: 1)}, f"{NO_ADMISSION}, got 1"),
        (
            {"admission": admission(lambda state: blis.AdmissionDecision("no"))},
            f"{NO_ADMISSION}, got AdmissionDecision(admitted='no', reason='')",
        ),
        (
            {"admission": admission(lambda state: {}["x"])},
            "policy Admission raised KeyError('x') in admit",
        ),
        (scorer(lambda snapshots: None), "scorer Scorer must give a number for each of the 2 replicas, got None"),
        (scorer(lambda snapshots: [1.0]), "scorer Scorer must give a score for each of the 2 replicas, got [1.0]"),
        (
            scorer(lambda snapshots: ["a", "b"]),
            "scorer Scorer must give a number for each of the 2 replicas, got ['a', 'b']",
        ),
        (
            scorer(lambda snapshots: {0: 0.5, 1: 0.7}),
            "scorer Scorer must give a number for each of the 2 replicas, got {0: 0.5, 1: 0.7}",
        ),
        (scorer(lambda snapshots: 1 / 0), "scorer Scorer raised ZeroDivisionError('division by zero') in score"),
    ],
)
def test_a_policy_that_misbehaves_is_named_in_one_line(settings, message):
    with pytest.raises(blis.PluginError) as caught:
        prepare(**settings).run()
    assert str(caught.value).startswith(message)
    assert "tick " in str(caught.value)


@pytest.mark.parametrize("interval", [0, 1000])
@pytest.mark.parametrize("name", ["replica", "name", "model", "in_flight", "queue_depth", "batch_size", "hit_rate"])
def test_a_policy_cannot_change_what_it_sees(name, interval):
    with pytest.raises(blis.PluginError, match="raised AttributeError"):
        prepare(router={"policy": router(change(name)), "snapshot_interval": interval}).run()


@pytest.mark.parametrize("method", ["sort", "pop", "reverse", "clear"])
def test_a_policy_cannot_change_the_list_of_replicas(method):
    with pytest.raises(blis.PluginError, match=f"no attribute '{method}'"):
        prepare(router=router(lambda state: getattr(state.snapshots, method)())).run()


def test_answers_may_be_numbers_of_numpy():
    """argmin gives a numpy integer, a comparison of arrays a numpy bool."""
    simulation = prepare(
        router={
            "policy": router(lambda state: np.argmin([snapshot.effective_load for snapshot in state.snapshots])),
            "decision_log": True,
        },
        admission=admission(lambda state: np.bool_(True)),
    )
    log = simulation.run().decisions
    assert [type(record.replica) for record in log.routings] == [int] * 6
    assert [record.replica for record in log.routings] == [0, 1, 0, 1, 0, 1]


def test_scores_of_a_policy_of_ones_own_are_in_the_decision_log():
    simulation = prepare(router={"policy": router(scored(2.5, -1.0)), "decision_log": True})
    log = simulation.run().decisions
    assert [record.scores for record in log.routings] == [{"instance_0": 2.5, "instance_1": -1.0}] * 6


def test_a_policy_that_cannot_start_is_named():
    class Broken(FirstReplica):
        def start(self, context):
            raise ValueError("no seed")

    with pytest.raises(blis.PluginError, match=r"policy Broken raised ValueError\('no seed'\) in start"):
        prepare(router=Broken).run()


def test_a_scenario_with_a_policy_of_ones_own_survives_pickling():
    made = scenario(router=FirstReplica)
    again = pickle.loads(pickle.dumps(made))
    assert again == made
    assert blis.Simulation(again, requests=requests()).run().replicas[0]["completed_requests"] == 6


def test_a_policy_derived_from_always_admit_is_asked_on_a_single_replica():
    class Odd(AlwaysAdmit):
        def admit(self, request, state):
            return int(request.id[-1]) % 2 == 1

    simulation = prepare(replicas=1, admission=Odd)
    simulation.run()
    assert outcomes(simulation) == ["REJECTED", "COMPLETED"] * 3


@pytest.mark.parametrize("routing", ["round-robin", "least-loaded", "weighted", "always-busiest"])
def test_what_a_policy_learnt_on_a_single_replica_counts_when_others_are_added(routing):
    """A log of decisions changes nothing: the second replica is there for the last four of nine requests."""

    def targets(decision_log):
        simulation = prepare(requests(9), replicas=1, router={"policy": routing, "decision_log": decision_log})
        at(simulation, 45, simulation.cluster.add_replica)
        simulation.run()
        return [request.replica for request in simulation.requests]

    assert targets(False) == targets(True)
    if routing == "round-robin":
        assert targets(False) == [0, 0, 0, 0, 0, 1, 0, 1, 0]


@pytest.mark.parametrize("policy", ["wait", "immediate", "redirect"])
def test_a_drained_replica_gives_its_gpus_back_although_all_it_had_was_on_its_way(policy):
    simulation = prepare(
        requests(2),
        alpha=(600.0, 0.0, 0.0),
        node_pools=(NodePool(name="p", gpu_type="H100", gpus_per_node=2),),
    )
    cluster = simulation.cluster
    at(simulation, 500, cluster.drain, 0, policy)
    simulation.run()
    assert cluster.state(0) is ReplicaState.TERMINATED
    assert cluster.in_flight(0) == 0
    cluster.restore(0)
    assert cluster.state(0) is ReplicaState.ACTIVE


@pytest.mark.parametrize("policy", ["wait", "immediate", "redirect"])
def test_a_drained_replica_may_fail_and_come_back_at_the_same_tick(policy):
    simulation = prepare(alpha=(600.0, 0.0, 0.0))
    for act, *arguments in (
        (simulation.cluster.drain, 0, policy),
        (simulation.cluster.fail, 0),
        (simulation.cluster.restore, 0),
    ):
        at(simulation, 500, act, *arguments)
    simulation.run()
    assert outcomes(simulation) == ["COMPLETED"] * 6
    assert [simulation.cluster.in_flight(replica) for replica in range(2)] == [0, 0]


@pytest.mark.parametrize(
    ("gap", "count", "settings", "loads"),
    [
        (1000, 12, {"snapshot_interval": 5000}, [0, 1, 2, 3, 4, 10, 11, 12, 13, 14, 20, 21]),
        (1000, 12, {}, list(range(0, 24, 2))),
        (3000, 8, {"snapshot_interval": 5000}, [0, 1, 4, 5, 8, 9, 12, 13]),
        (3000, 8, {"snapshot_interval": 5000, "delay": 2500}, [0, 2, 3, 6, 7, 10, 11, 14]),
    ],
)
def test_snapshots_are_read_anew_at_the_first_look_that_finds_them_too_old(gap, count, settings, loads):
    """Figures measured with the reference."""
    served = requests(count, gap=gap, output=50)
    made = scenario(router={"policy": "always-busiest", "decision_log": True, **settings}, max_num_seqs=256)
    log = blis.Simulation(made, requests=served).run().decisions
    assert [int(re.findall(r"load=(\d+)", record.reason)[0]) for record in log.routings] == loads


@pytest.mark.parametrize(
    ("arrivals", "output", "loads"), [((0, 1, 2, 1160, 1161), 3, [0, 2, 4, 6, 8]), ((0, 1), 1, [0, 0])]
)
def test_a_router_sees_the_effects_of_a_step_from_its_start(arrivals, output, loads):
    """Figures measured with the reference: a request of one token is gone a tick later, a step's end is not seen."""
    served = [Request(id=f"r{i}", arrived_at=t, input_tokens=16, output_tokens=output) for i, t in enumerate(arrivals)]
    made = scenario(router={"policy": "always-busiest", "decision_log": True}, max_num_seqs=256)
    log = blis.Simulation(made, requests=served).run().decisions
    assert [record.reason for record in log.routings] == [f"always-busiest (load={load})" for load in loads]


def test_regret_of_taking_turns_and_of_the_busiest():
    """Figures measured with the reference; all but the shortest prompt begin with the same 48 tokens."""

    def summary(routing):
        rows = ((0, 64, 9), (0, 64, 1), (100, 70, 3), (200, 15, 3), (5000, 100, 3))
        shared = (Span("shared", 0, 48),)
        served = [
            Request(
                id=f"r{i}", arrived_at=t, input_tokens=prompt, output_tokens=output, content=shared if i != 3 else None
            )
            for i, (t, prompt, output) in enumerate(rows)
        ]
        made = scenario(router={"policy": routing, "decision_log": True, "decision_alternatives": 5}, max_num_seqs=256)
        log = blis.Simulation(made, requests=served).run().decisions
        return [record.regret for record in log.routings], log.summary()["mean_regret"]

    assert summary("round-robin") == ([0, 0, 2, 0, 2], 0.8)
    assert summary("always-busiest") == ([0, 1, 2, 4, 2], 1.8)


@pytest.mark.parametrize(("replicas", "events"), [(2, 0), (3, 1), (4, 1)])
def test_a_queue_is_blocked_if_it_is_twice_as_long_as_the_mean(replicas, events):
    """Figures measured with the reference; of two replicas none can be."""
    served = requests(12, gap=0, tokens=2000, output=5)
    made = scenario(router="always-busiest", replicas=replicas, max_num_seqs=256, kv=blis.KVSettings(blocks=10_000))
    assert blis.Simulation(made, requests=served).run().anomalies["hol_blocking_events"] == events


def test_requests_without_a_class_are_of_the_default_class_where_inversions_are_counted():
    served = requests(2, gap=0, tokens=16, output=50)
    served[1].output_tokens, served[1].slo_class = 1, "default"
    result = prepare(served, replicas=1, max_num_seqs=2).run()
    assert priority_inversions(result.requests) == 1


def test_candidates_of_many_replicas_are_kept_in_the_order_of_their_names_as_text():
    simulation = prepare(requests(1), replicas=17, router={"decision_log": True, "decision_alternatives": 20})
    (record,) = simulation.run().decisions.routings
    names = [candidate.name for candidate in record.candidates]
    assert names[:4] == ["instance_0", "instance_1", "instance_10", "instance_11"]
    assert (len(names), record.regret) == (17, 0.0)
