"""Closed-loop sessions with timeouts, preemptions and failures combined; same bytes in every process."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import blis_simpy as blis
from blis_simpy.core.request import RequestOutcome

BUCKET = {"policy": "token-bucket", "capacity": 2000.0, "refill_rate": 3000.0}


def fixed(value):
    return blis.LengthDistribution("constant", {"value": value})


def client(rounds=3, think_time_us=0, *, prompt=64, output=8, growth="", single=False, **others):
    """A client of conversations whose lengths need no chance; all have one name and the same labels."""
    turns = blis.MultiTurn(max_rounds=rounds, think_time_us=think_time_us, context_growth=growth, single_session=single)
    return blis.Client(
        id="client",
        rate_fraction=1.0,
        arrival=blis.Arrival("poisson"),
        input_distribution=fixed(prompt),
        output_distribution=fixed(output),
        reasoning=blis.Reasoning(multi_turn=turns),
        **others,
    )


def scenario(*clients, rate=100.0, num_requests=60, **changes):
    """Three small replicas: a step takes 1000 µs, 10 more for each prompt token and 5 for each decode token."""
    made = blis.Scenario(
        model="any/model",
        hardware="H100",
        tp=1,
        engine_version="any",
        replicas=3,
        latency=blis.LatencySettings(backend="blackbox", alpha=(0.0, 0.0, 0.0), beta=(1000.0, 10.0, 5.0)),
        engine=blis.EngineSettings(max_num_seqs=2, max_model_len=0),
        kv=blis.KVSettings(blocks=40),
        workload=blis.WorkloadSpec(clients=clients, aggregate_rate=rate, num_requests=num_requests),
    )
    return made.with_(**changes)


def by_session(requests):
    sessions = {}
    for request in requests:
        sessions.setdefault(request.session, []).append(request)
    return sessions


@pytest.mark.parametrize(
    ("think_time_us", "growth", "timeout", "admission", "single"),
    [*itertools.product([0, 5000], ["", "accumulate"], [None, 30_000], ["always-admit", BUCKET], [False, True])],
)
def test_each_round_ends_once_and_only_a_completed_one_is_followed(think_time_us, growth, timeout, admission, single):
    clients = [
        client(4, think_time_us, growth=growth, timeout=timeout, output=20, single=single),
        client(3, think_time_us, growth=growth, timeout=timeout),
    ]
    simulation = blis.Simulation(scenario(*clients, admission=admission, **{"engine.max_model_len": 200}))
    result = simulation.run()
    outcomes = Counter(request.outcome for request in simulation.requests)
    assert not outcomes[RequestOutcome.PENDING] + outcomes[RequestOutcome.QUEUED] + outcomes[RequestOutcome.RUNNING]
    assert result.summary["completed_requests"] == outcomes[RequestOutcome.COMPLETED] > 0
    assert result.summary["timed_out_requests"] == outcomes[RequestOutcome.TIMED_OUT]
    assert result.summary["dropped_unservable"] == outcomes[RequestOutcome.DROPPED]
    assert len(result.rejected) == outcomes[RequestOutcome.REJECTED]
    assert len({request.id for request in simulation.requests}) == len(simulation.requests)
    for rounds in by_session(simulation.requests).values():
        assert [request.round_index for request in rounds] == list(range(len(rounds)))
        assert {request.outcome for request in rounds[:-1]} <= {RequestOutcome.COMPLETED}
        for earlier, later in itertools.pairwise(rounds):
            assert later.arrived_at == earlier.finished_at + think_time_us
    for replica in simulation.replicas:
        assert simulation.cluster.in_flight(replica.index) == 0
        assert (replica.slots.count, replica.kv_blocks.level) == (0, 40)


def test_sessions_that_look_alike_are_kept_apart():
    """Five clients of one name and the same labels: each session has its own three rounds."""
    simulation = blis.Simulation(scenario(*[client() for _ in range(5)]))
    simulation.run()
    sessions = by_session(simulation.requests)
    assert {len(rounds) for rounds in sessions.values()} == {3}


def test_conversations_go_on_over_an_outage_of_all_replicas_but_not_those_that_were_rejected():
    simulation = blis.Simulation(scenario(client(4, 1000, output=20)))
    cluster = simulation.cluster

    def outage():
        yield simulation.env.timeout(100_000)
        for replica in range(3):
            cluster.fail(replica)
        yield simulation.env.timeout(50_000)
        for replica in range(3):
            cluster.restore(replica)

    simulation.env.process(outage())
    result = simulation.run()
    outcomes = Counter(request.outcome for request in simulation.requests)
    assert set(outcomes) == {RequestOutcome.COMPLETED, RequestOutcome.REJECTED}
    assert result.anomalies["rejected_requests_routing"] == outcomes[RequestOutcome.REJECTED]
    lengths = {len(rounds) for rounds in by_session(simulation.requests).values()}
    assert max(lengths) == 4
    assert min(lengths) < 4


PROGRAM = """
import hashlib, sys
from pathlib import Path
from test_session_edge_cases import client, scenario

made = scenario(
    client(4, growth="accumulate", timeout=60_000, tenant="x", slo_class="batch"),
    client(3, 700, tenant="y", slo_class="critical", prefix_group="g", prefix_length=32),
    router={"policy": "weighted", "decision_log": True, "decision_alternatives": 2},
    **{"lifecycle.warm_up_requests": 3, "lifecycle.warm_up_ttft_factor": 2.0},
)
for _ in range(2):
    result = made.run()
    result.write_metrics(sys.argv[1])
    text = Path(sys.argv[1]).read_text() + result.blis_report(summarize_trace=True) + repr(result.decisions.routings)
    print(hashlib.sha256(text.encode()).hexdigest())
"""


def test_results_are_the_same_bytes_whatever_the_hashes_of_python(tmp_path):
    def digests(hash_seed):
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path / "results.json")],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(__file__).parent)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()

    assert len({*digests("0"), *digests("1"), *digests("77")}) == 1
