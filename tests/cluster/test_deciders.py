"""Deciders, and the choice of the two replicas of a request."""

import pytest
from test_handovers import prepare, scenario

import blis_simpy as blis
from blis_simpy.cluster.deciders import Always, Never, Prefix
from blis_simpy.cluster.settings import ReplicaGroup
from blis_simpy.core.request import Request
from blis_simpy.core.token_spans import Span
from blis_simpy.errors import PluginError


class Choice:
    def __init__(self, cached_tokens=0):
        self.cached_tokens = cached_tokens


@pytest.mark.parametrize(
    ("decider", "prompt", "cached", "expected"),
    [
        (Always(), 1, 1, True),
        (Never(), 100_000, 0, False),
        (Prefix(), 100, 84, True),
        (Prefix(), 100, 85, False),
        (Prefix(non_cached_tokens=0), 100, 0, False),
        (Prefix(non_cached_tokens=50), 49, 0, False),
        (Prefix(prompt_tokens=101), 100, 0, False),
        (Prefix(prompt_tokens=100), 100, 0, True),
    ],
)
def test_what_deciders_decide(decider, prompt, cached, expected):
    assert decider.disaggregate(Request("a", 0, prompt, 1), Choice(cached)) is expected


def legs(simulation):
    return [[(leg.replica, leg.phase.name) for leg in request.legs] for request in simulation.requests]


def test_never_serves_requests_on_decode_replicas_alone():
    simulation = prepare(disaggregation={"decider": "never"})
    simulation.run()
    assert legs(simulation) == [[(1, "BOTH")]]


def test_the_prefix_decider_looks_into_the_cache_of_the_decode_replica():
    """Of the second prompt, 2,032 of 2,047 tokens are cached there: fewer than 16 are missing."""
    shared = (Span("same", 0, 2047),)
    requests = (Request("a", 0, 2047, 3, content=shared), Request("b", 1_000_000, 2047, 3, content=shared))
    simulation = prepare(*requests, disaggregation={"decider": "prefix"})
    result = simulation.run()
    assert legs(simulation) == [[(0, "PREFILL"), (1, "DECODE")], [(1, "BOTH")]]
    assert result.requests["cached_tokens"].tolist() == [0, 2032]


def test_a_decider_of_the_user_sees_the_replicas():
    seen = []

    class Mine:
        def disaggregate(self, request, choice):
            seen.append((choice.now, choice.decode.name, [view.name for view in choice.prefill], choice.cached_tokens))
            return request.input_tokens > 1000

    requests = (Request("a", 7, 2048, 3), Request("b", 9, 900, 3))
    simulation = prepare(*requests, disaggregation={"decider": Mine})
    simulation.run()
    assert seen == [(7, "instance_1", ["instance_0"], 0), (9, "instance_1", ["instance_0"], 0)]
    assert legs(simulation) == [[(0, "PREFILL"), (1, "DECODE")], [(1, "BOTH")]]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda request, choice: None, "disaggregate must return True or False, got None; request a, tick 0"),
        (lambda request, choice: 1 / 0, "decider Bad raised ZeroDivisionError"),
        (lambda request, choice: request.output_tokens > 5, "must not use request.output_tokens"),
    ],
)
def test_wrong_answers_of_a_decider_are_named(answer, message):
    class Bad:
        def disaggregate(self, request, choice):
            return answer(request, choice)

    with pytest.raises(PluginError, match=message):
        prepare(disaggregation={"decider": Bad()}).run()


def test_each_phase_has_its_own_policy():
    """The prefill replicas take turns; the decode replica with the fewest requests is chosen."""
    groups = [ReplicaGroup(role="prefill", replicas=2), ReplicaGroup(role="decode", replicas=2)]
    requests = [Request(f"r{i}", 400_000 * i, 2048, 3) for i in range(4)]
    simulation = prepare(
        *requests,
        groups=groups,
        router={"policy": "weighted", "scorers": "queue-depth:1"},
        disaggregation={"prefill_policy": "round-robin"},
    )
    simulation.run()
    assert [request.legs[0].replica for request in simulation.requests] == [0, 1, 0, 1]
    assert {request.legs[1].replica for request in simulation.requests} <= {2, 3}


def test_the_decision_log_names_both_replicas():
    simulation = prepare(router={"decision_log": True, "decision_alternatives": 1})
    (routing,) = simulation.run().decisions.routings
    assert routing.replica == 1
    assert routing.reason == "round-robin[0]; prefill on replica 0: least-loaded (load=0)"


def test_replicas_of_the_role_both_serve_either_phase():
    groups = [ReplicaGroup(role="prefill"), ReplicaGroup(role="both")]
    simulation = prepare(groups=groups, disaggregation={"prefill_policy": "round-robin"})
    simulation.run()
    assert legs(simulation) == [[(0, "PREFILL"), (1, "DECODE")]]


def test_without_a_prefill_replica_the_decode_replica_computes_the_prompt():
    simulation = prepare()
    simulation.cluster.fail(0)
    result = simulation.run()
    assert legs(simulation) == [[(1, "BOTH")]]
    assert result.requests["ttft_us"].tolist() == [100_000]


def test_without_a_decode_replica_requests_are_rejected():
    simulation = prepare()
    simulation.cluster.fail(1)
    assert simulation.run().requests["outcome"].tolist() == ["rejected"]


def test_roles_are_part_of_a_scenario_file(tmp_path):
    written = scenario(
        latency=blis.LatencySettings(), disaggregation={"decider": {"type": "prefix", "prompt_tokens": 9}}
    )
    written.write(tmp_path / "roles.yaml")
    read = blis.load_scenario(tmp_path / "roles.yaml")
    assert read == written
    assert read.roles == ["prefill", "decode"]
