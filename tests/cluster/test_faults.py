"""Replicas that go down and come back, by the hand of a user's process."""

from __future__ import annotations

from small_clusters import at, outcomes, prepare, requests

import blis_simpy as blis
from blis_simpy.core.request import Request, RequestOutcome
from blis_simpy.core.token_spans import Span


def test_requests_of_a_failed_replica_start_over_elsewhere():
    """Replica 0 fails at 500 in the prefill of request 0: replica 1 serves 1, 3, 5, then 0, 2, 4."""
    simulation = prepare()
    at(simulation, 500, simulation.cluster.fail, 0)
    result = simulation.run()
    ends = [10 + 3170 * place for place in (4, 1, 5, 2, 6, 3)]
    assert [request.finished_at for request in simulation.requests] == ends
    assert [request.e2e for request in simulation.requests] == [end - 10 * i for i, end in enumerate(ends)]
    assert [request.num_preemptions for request in simulation.requests] == [1, 0, 0, 0, 0, 0]
    assert [replica["injected_requests"] for replica in result.replicas] == [0, 6]
    assert result.summary["total_input_tokens"] == 96


def test_slots_and_blocks_of_a_failed_replica_are_free():
    simulation = prepare(max_num_seqs=3)
    replica = simulation.replicas[0]

    def outage():
        yield simulation.env.timeout(1500)
        assert (replica.slots.count, simulation.cluster.in_flight(0)) == (3, 3)
        assert replica.kv_blocks.level < 100
        simulation.cluster.fail(0)
        assert (replica.slots.count, replica.kv_blocks.level, simulation.cluster.in_flight(0)) == (0, 100, 0)
        assert replica.observe().queue_depth == 0

    simulation.env.process(outage())
    simulation.run()
    assert outcomes(simulation) == ["COMPLETED"] * 6


def test_what_a_replica_had_cached_is_gone_with_it():
    """The prompt is cached by the first request, found by the second and, after the failure, not by the third."""

    def hits(fails):
        served = [
            Request(id=f"r{i}", arrived_at=10_000 * i, input_tokens=33, output_tokens=1, content=(Span("s", 0, 33),))
            for i in range(3)
        ]
        simulation = prepare(served, replicas=1)
        if fails:
            at(simulation, 15_000, simulation.cluster.fail, 0)
            at(simulation, 15_001, simulation.cluster.restore, 0)
        simulation.run()
        return simulation.replicas[0]._kv.hits

    assert (hits(fails=False), hits(fails=True)) == (4, 2)


def test_a_step_that_was_under_way_ends_before_the_replica_steps_again():
    """The first step takes until 1160; the replica is back at 600 and starts then with nothing done."""
    simulation = prepare(requests(1), replicas=1)
    at(simulation, 500, simulation.cluster.fail, 0)
    at(simulation, 500, simulation.cluster.restore, 0)
    result = simulation.run()
    assert result.steps["start_us"].tolist() == [0, 1160, 2320, 3325]
    assert simulation.requests[0].e2e == 1160 + 3170


def test_a_request_that_failed_keeps_its_deadline_and_has_but_one():
    """The second life begins on the same replica, and the deadline of the first must not fire into it."""
    served = requests(2, gap=0, deadline=3000)
    simulation = prepare(served, replicas=1)
    at(simulation, 100, simulation.cluster.fail, 0)
    at(simulation, 100, simulation.cluster.restore, 0)
    result = simulation.run()
    assert outcomes(simulation) == ["TIMED_OUT"] * 2
    assert [request.finished_at for request in served] == [3000, 3000]
    assert result.summary["timed_out_requests"] == 2


def test_requests_on_their_way_to_a_failed_replica_turn_back_at_its_door():
    simulation = prepare(alpha=(600.0, 0.0, 0.0))
    at(simulation, 500, simulation.cluster.fail, 0)
    simulation.run()
    assert outcomes(simulation) == ["COMPLETED"] * 6
    assert [request.replica for request in simulation.requests] == [1] * 6


def test_without_a_replica_left_the_requests_are_rejected():
    simulation = prepare(replicas=1)
    at(simulation, 500, simulation.cluster.fail, 0)
    result = simulation.run()
    assert outcomes(simulation) == ["REJECTED"] * 6
    assert result.anomalies["rejected_requests_routing"] == 6
    assert result.summary["completed_requests"] == 0


def test_a_request_that_comes_back_is_admitted_anew():
    simulation = prepare(router={"decision_log": True})
    at(simulation, 500, simulation.cluster.fail, 0)
    log = simulation.run().decisions
    assert [(record.request, record.at) for record in log.admissions[6:]] == [
        ("request_0", 500),
        ("request_2", 500),
        ("request_4", 500),
    ]


def test_a_process_that_waits_for_blocks_gets_those_of_the_failed_replica():
    simulation = prepare(requests(4, gap=0), kv=blis.KVSettings(blocks=6), max_num_seqs=2)
    replica = simulation.replicas[0]
    got = []

    def other_process():
        yield simulation.env.timeout(100)
        yield replica.kv_blocks.get(5)
        got.append(simulation.env.now)
        yield replica.kv_blocks.put(5)

    simulation.env.process(other_process())
    at(simulation, 500, simulation.cluster.fail, 0)
    simulation.run()
    assert got == [500]
    assert replica.kv_blocks.level == 6


def test_an_outage_that_comes_and_goes_loses_nobody():
    served = requests(300, gap=400, output=5)
    simulation = prepare(served, replicas=3, max_num_seqs=4, lifecycle={"loading_delay": 300})

    def outages():
        while True:
            for replica in range(3):
                yield simulation.env.timeout(1700)
                simulation.cluster.fail(replica)
                yield simulation.env.timeout(900)
                simulation.cluster.restore(replica)

    simulation.env.process(outages())
    summary = simulation.run().summary
    assert summary["completed_requests"] == 300
    assert all(request.outcome is RequestOutcome.COMPLETED for request in served)
    assert sum(request.num_preemptions for request in served) > 0
    assert [simulation.cluster.in_flight(replica) for replica in range(3)] == [0, 0, 0]


def test_request_between_two_replicas_has_the_marks_of_neither():
    """Admission takes 50 µs: at 520, a is on its way back in, which it began when its replica failed at 500."""
    scenario = blis.Scenario(
        model="any/model",
        replicas=2,
        admission={"delay": 50},
        latency=blis.LatencySettings(backend="blackbox", alpha=(0, 0, 0), beta=(100, 1, 10)),
        engine=blis.EngineSettings(max_model_len=0),
        kv=blis.KVSettings(blocks=100),
    )
    simulation = blis.Simulation(scenario, requests=[Request("a", 0, 10, 30)])
    simulation.env.call_at(500, -1, lambda _event: simulation.cluster.fail(0))
    marks = ("admitted_at_us", "routed_at_us", "queued_at_us", "scheduled_at_us", "replica")
    (between,) = simulation.run(until=520).requests.rows()
    assert [between[name] for name in marks] == [None] * 5
    (after,) = simulation.run().requests.rows()
    assert [after[name] for name in marks] == [550, 550, 550, 550, 1]
