"""Requests that have ended are packed: they tell the same as before, and take less memory."""

from __future__ import annotations

import gc
from weakref import ref

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from random_clusters import cases, runs_of_steps_everywhere
from small_clusters import BETA
from test_random_roles import disaggregated

import blis_simpy as blis
from blis_simpy.core import request_log
from blis_simpy.core.request import Handover, Leg, Request
from blis_simpy.core.request_log import RequestLog
from blis_simpy.core.token_spans import Span

__all__ = ["runs_of_steps_everywhere"]

NEVER_PACKED = 10**9


def public(kind):
    return [name for name in dir(kind) if not name.startswith("_") and not callable(getattr(kind, name))]


# Instances of other classes are compared by the attributes that lead to no further ones.
PUBLIC = {
    Request: sorted({*public(Request), "outcome"} - {"leg", "prompt_leg", "earlier_legs", "done"}),
    Leg: sorted(set(public(Leg)) - {"request", "previous", "first", "prompt_leg"}),
    Handover: sorted(set(public(Handover)) - {"source"}),
}


def told(value):
    """All public attributes, those of the legs included."""
    if isinstance(value, list):
        return [told(item) for item in value]
    for kind, names in PUBLIC.items():
        if isinstance(value, kind):
            return {name: told(getattr(value, name)) for name in names}
    return value


@pytest.fixture
def blocks_of(monkeypatch):
    """Pack requests from the first on, and set the number of those that are packed together."""
    monkeypatch.setattr(request_log, "FIRST_PACKED", 0)
    return lambda number: monkeypatch.setattr(request_log, "BLOCK_REQUESTS", number)


def run(case, until):
    """Requests and columns at a pause, and at the end."""
    simulation = blis.Simulation(case.scenario, requests=case.requests(), check="full")
    env, cluster = simulation.env, simulation.cluster

    def move():
        for step in case.moves:
            yield env.timeout(step.wait)
            step.apply(cluster)

    env.process(move())
    seen = []
    for result in (simulation.run(until=until), simulation.run()):
        columns = {name: result.requests[name].tolist() for name in result.requests}
        legs = {name: result.legs[name].tolist() for name in result.legs}
        seen.append((columns, legs, told(list(simulation.requests)), result.preemptions, result.rejected))
    return simulation, seen


@pytest.mark.equivalence
@pytest.mark.parametrize("kind", [cases(), disaggregated()], ids=["replicas", "roles"])
def test_packed_requests_tell_the_same(kind, blocks_of):
    """With preemptions, timeouts, drops, rejections, failures, redirections and handovers."""
    num_packed = 0

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
    @given(kind, st.integers(0, 3000), st.integers(1, 4))
    def check(case, until, number):
        nonlocal num_packed
        blocks_of(NEVER_PACKED)
        _, objects = run(case, until)
        blocks_of(number)
        simulation, packed = run(case, until)
        for some, others in zip(packed, objects, strict=True):
            for part, other in zip(some, others, strict=True):
                assert part == other
        num_packed += len(simulation.requests) - len(list(simulation.requests.objects()))

    check()
    assert num_packed


def scenario(**changes):
    base = blis.Scenario(
        model="any/model",
        hardware="H100",
        tp=1,
        latency=blis.LatencySettings(backend="blackbox", alpha=(0, 0, 0), beta=BETA),
        kv=blis.KVSettings(blocks=1000, block_size=16),
        workload=blis.Workload(rate=20, num_requests=400, prompt=100, output=20),
    )
    return base.with_(**changes)


def num_alive():
    gc.collect()
    return sum(type(thing) is Request for thing in gc.get_objects())


def test_number_of_objects_does_not_grow_with_the_requests_that_have_ended(blocks_of):
    blocks_of(16)
    before, alive = num_alive(), []
    for num_requests in (400, 800):
        simulation = blis.Simulation(scenario(**{"workload.num_requests": num_requests}))
        result = simulation.run()
        alive.append(num_alive() - before)
        assert len(simulation.requests) == result.requests.num_rows == num_requests
        del simulation, result
    assert max(alive) < 16


def test_objects_that_have_survived_collections_are_freed_during_the_run(blocks_of, monkeypatch):
    blocks_of(16)
    monkeypatch.setattr(request_log, "COLLECT_EVERY", 64)
    simulation = blis.Simulation(scenario(**{"workload.num_requests": 800}))
    gc.collect()
    served, alive = [], []

    @simulation.on_end
    def count(request):
        served.append(ref(request))
        alive.append(sum(each() is not None for each in served))

    simulation.run()
    # A collection comes after 64 packed requests, or a quarter of the objects that are left; besides, those in flight.
    assert max(alive) < 300
    assert alive[-1] < 120


def test_ended_request_is_kept_by_nobody_but_its_holder(blocks_of):
    blocks_of(1)
    simulation = blis.Simulation(scenario())
    ended = []
    simulation.on_end(lambda request: ended.append(ref(request)))
    mine = simulation.requests[7]
    simulation.run()
    assert len(ended) == 400
    gc.collect()  # a request and its leg refer to each other
    assert [request() for request in ended if request() is not None] == [mine]
    again = simulation.requests[7]
    assert again is not mine
    assert told(again) == told(mine)


def test_every_kind_of_attribute_is_kept(blocks_of):
    blocks_of(1)
    own = Request(
        id="mine",
        arrived_at=5,
        input_tokens=70,
        output_tokens=9,
        max_output_tokens=12,
        deadline=10**9,
        content=(Span("shared", 0, 33),),
        output_stream="answer",
        slo_class="critical",
        tenant="a",
        model="any/model",
        client="b",
        session="c",
        prefix_group="d",
        round_index=3,
        streaming=True,
        priority=-2,
        slo_targets=blis.SLOTargets(ttft=5),
    )
    simulation = blis.Simulation(scenario(), requests=[Request("first", 0, 10, 10), own])
    result = simulation.run()
    again = simulation.requests[1]
    assert again is not own
    assert told(again) == told(own)
    assert again.content == own.content
    assert (again.row, again.leg.request) == (1, again)
    assert result.record.slo_targets == {1: own.slo_targets}


def test_hook_gets_the_object_that_was_served(blocks_of):
    blocks_of(1)
    simulation = blis.Simulation(scenario(), requests=[Request(f"r{i}", 10 * i, 10, 10) for i in range(3)])
    first = simulation.requests[0]
    seen = []
    simulation.on_complete(seen.append)
    simulation.run()
    assert seen[0] is first


def test_process_that_waits_for_a_request_finds_it_ended(blocks_of):
    blocks_of(1)
    simulation = blis.Simulation(scenario(), requests=[])
    found = []

    def visit():
        done = simulation.submit(Request("mine", 5, 100, 20))
        yield done
        found.append((simulation.requests[0].outcome.name, simulation.requests[0].done is done))

    simulation.process(visit())
    simulation.run()
    assert found == [("COMPLETED", True)]


def test_requests_of_a_short_run_remain_objects(monkeypatch):
    monkeypatch.setattr(request_log, "BLOCK_REQUESTS", 1)
    requests = [Request(f"r{i}", 10 * i, 10, 10) for i in range(5)]
    simulation = blis.Simulation(scenario(), requests=requests)
    simulation.run()
    assert list(simulation.requests) == requests


def test_subclass_of_a_request_stays_as_it_is(blocks_of):
    class Mine(Request):
        pass

    blocks_of(1)
    simulation = blis.Simulation(scenario(), requests=[Mine("mine", 0, 10, 10)])
    mine = simulation.requests[0]
    simulation.run()
    assert simulation.requests[0] is mine


def test_sequence():
    requests = [Request(f"r{i}", i, 10, 10) for i in range(5)]
    log = RequestLog(requests)
    assert list(log) == requests
    assert (log[-1], log[1:3], len(log)) == (requests[4], requests[1:3], 5)
    assert [request.row for request in requests] == list(range(5))
    with pytest.raises(IndexError):
        log[5]
