"""The timeline: a strict reader takes it, and it shows what happened, no more and no less."""

import gzip
import json

import numpy as np
import pytest
from strict_timeline import Timeline

import blis_simpy as blis
from blis_simpy.core.request import Request


@pytest.fixture
def timeline(tmp_path):
    def timeline(result):
        result.write_perfetto(tmp_path / "t.json")
        return Timeline(json.loads((tmp_path / "t.json").read_text()))

    return timeline


def test_a_request_waits_sits_in_a_slot_and_its_steps_are_beside_it(serve, timeline):
    """One slot. A prompt of 10 takes 110 µs, a decode 110: request_0 is in 0..220, request_1 in 220..330."""
    seen = timeline(serve((10, 2, 0), (10, 1, 50), max_num_seqs=1).result)
    assert seen.processes == {1: "router", 100_000: "replica 0"}
    assert set(seen.lanes.values()) == {"steps", "slot 0"}
    assert seen.lane("replica 0", "steps") == [("prefill", 0, 110), ("decode", 110, 220), ("prefill", 220, 330)]
    assert seen.lane("replica 0", "slot 0") == [
        ("request_0", 0, 220),
        ("prefill", 0, 110),
        ("decode", 110, 220),
        ("request_1", 220, 330),
        ("prefill", 220, 330),
    ]
    assert seen.spans == [("replica 0", "waiting", "request_1", 50, 220)]
    assert seen.instants == []


def test_counters_change_with_the_steps_and_fall_to_zero_when_idle(serve, timeline):
    """Steps 0..110 and 110..220 for one request, idle to 500, then one more of 130 µs for 30 tokens in two blocks."""
    seen = timeline(serve((10, 2, 0), (30, 1, 500)).result)
    assert seen.counter("replica 0", "batch size") == [(0, 1), (220, 0), (500, 1), (630, 0)]
    assert seen.counter("replica 0", "KV cache") == [(0, 1), (220, 0), (500, 2), (630, 0)]
    assert seen.counter("replica 0", "queue depth") == [(0, 0)]


def test_a_request_on_its_way_is_at_the_router(serve, timeline):
    """The queueing delay is 100 + 1 · 10 µs."""
    seen = timeline(serve((10, 1, 5), alpha=(100.0, 1.0, 0.0)).result)
    assert seen.spans == [("router", "routing", "request_0", 5, 115)]


def test_those_who_get_nothing_are_marked(serve, timeline):
    """A prompt too long for 5 blocks is dropped; who waits behind 0..220 gives up at 150."""
    requests = ((10, 2, 0), (1000, 1, 7), (10, 2, 50, {"deadline": 150}))
    seen = timeline(serve(*requests, blocks=5, max_num_seqs=1).result)
    assert ("replica 0", "dropped", "request_1", 7) in seen.instants
    assert ("replica 0", "timed out", "request_2", 150) in seen.instants
    assert ("replica 0", "waiting", "request_2", 50, 150) in seen.spans


def test_rejected_requests_are_marked_at_the_router(timeline):
    scenario = blis.Scenario(model="qwen/qwen3-14b", admission="reject-all")
    requests = [Request(id="request_0", arrived_at=9, input_tokens=5, output_tokens=5)]
    seen = timeline(blis.Simulation(scenario, requests=requests).run())
    assert seen.instants == [("router", "rejected", "request_0", 9)]
    assert seen.spans == []
    assert seen.slices == {}


def test_a_preempted_request_leaves_its_slot_and_comes_back(serve, timeline):
    """Three requests of 30 + 40 tokens in 8 blocks of 16: the later two lose their blocks, one of them six times."""
    result = serve((30, 40, 0), (30, 40, 0), (30, 40, 0), blocks=8).result
    seen = timeline(result)
    (lost,) = (tick for name, tick in result.preemptions if name == "request_1")
    back = int(result.requests["scheduled_at_us"][1])
    end = int(result.requests["finished_at_us"][1])
    slots = [seen.lane("replica 0", lane) for lane in ("slot 0", "slot 1", "slot 2")]
    stays = [(start, end) for lane in slots for name, start, end in lane if name == "request_1"]
    assert sorted(stays) == [(0, lost), (back, end)]
    assert ("replica 0", "preempted", "request_1", lost, back) in seen.spans
    marked = [(name, tick) for _, what, name, tick in seen.instants if what == "preemption"]
    assert marked == result.preemptions
    assert len(marked) == 7


def test_who_still_runs_at_the_horizon_is_drawn_to_the_end(serve, timeline):
    """The step that is under way at tick 300 runs from 220 to 330."""
    seen = timeline(serve((10, 50, 0), (10, 50, 0), horizon=300, max_num_seqs=1).result)
    assert seen.lane("replica 0", "slot 0") == [("request_0", 0, 330), ("prefill", 0, 110), ("decode", 110, 330)]
    assert seen.spans == [("replica 0", "waiting", "request_1", 0, 330)]


@pytest.fixture(scope="module")
def busy():
    """Four replicas, short of blocks and slots, with conversations that time out now and then."""
    return blis.Scenario(
        model="qwen/qwen3-14b",
        hardware="H100",
        tp=1,
        replicas=4,
        horizon="12s",
        kv=blis.KVSettings(blocks=700),
        engine=blis.EngineSettings(max_num_seqs=24, max_model_len=0),
        workload=blis.Workload(
            rate="60/s",
            num_requests=600,
            arrivals="poisson",
            prompt=blis.Gaussian(400, 200, 20, 1000),
            output=blis.Gaussian(150, 80, 1, 400),
        ),
    ).run(seed=3)


def test_a_busy_cluster_makes_a_correct_timeline(busy, timeline):
    """Against the tables: every step, every change of a counter, every stay in a batch; never more than 24 at once."""
    seen = timeline(busy)
    requests, steps = busy.requests, busy.steps
    assert sorted(seen.processes.values()) == ["replica 0", "replica 1", "replica 2", "replica 3", "router"]
    assert len(busy.preemptions) > 10
    assert {"completed", "running", "queued"} <= set(requests["outcome"])
    for replica in range(4):
        process, mine = f"replica {replica}", steps["replica"] == replica
        starts, durations = steps["start_us"][mine], steps["duration_us"][mine]
        drawn = np.array([(start, end) for _, start, end in seen.lane(process, "steps")])
        assert np.array_equal(drawn, np.column_stack([starts, starts + durations]))
        for name, column in (("queue depth", "queue_depth"), ("KV cache", "used_blocks")):
            ticks, values = np.array(seen.counter(process, name)).T
            at_starts = values[np.searchsorted(ticks, starts, side="right") - 1]
            assert np.array_equal(at_starts, steps[column][mine])
        slots = [lane for (pid, _), lane in seen.lanes.items() if seen.processes[pid] == process and lane != "steps"]
        assert sorted(slots) == sorted(f"slot {number}" for number in range(len(slots)))
        assert len(slots) <= 24
        names = {name for slot in slots for name, _, _ in seen.lane(process, slot)} - {"prefill", "decode"}
        scheduled = (requests["replica"] == replica) & (requests["first_scheduled_at_us"] >= 0)
        assert names == set(requests["id"][scheduled])


def test_the_same_run_gives_the_same_bytes_compressed_or_not(busy, tmp_path):
    for name in ("one.json", "two.json", "three.json.gz"):
        busy.write_perfetto(tmp_path / name)
    one, two, three = ((tmp_path / name).read_bytes() for name in ("one.json", "two.json", "three.json.gz"))
    assert one == two == gzip.decompress(three)


def test_a_timeline_costs_less_than_a_kilobyte_and_a_half_a_request(busy, tmp_path):
    busy.write_perfetto(tmp_path / "t.json")
    assert (tmp_path / "t.json").stat().st_size < 1500 * busy.requests.num_rows + 400 * busy.steps.num_rows


def test_a_transfer_is_a_span_of_the_network_and_a_link_has_a_counter(timeline):
    """4 GB at 0 and 1 GB at 80 ms share 25 GB/s and end at 200 and 160 ms."""

    def transfers(simulation):
        simulation.network.send(0, 1, 4 * 10**9, kind="kv", request="request_0")
        yield simulation.env.timeout(80_000)
        yield simulation.network.send(0, 1, 10**9)

    scenario = blis.Scenario(
        model="qwen/qwen3-14b",
        tp=1,
        replicas=2,
        network={"nic_bandwidth": "25 GB/s"},
        workload=blis.Workload(rate=10, num_requests=20),
        processes=[transfers],
    )
    seen = timeline(scenario.run())
    assert seen.processes[2] == "network"
    assert ("network", "kv", "request_0", 0, 200_000) in seen.spans
    assert ("network", "transfer", "", 80_000, 160_000) in seen.spans
    assert seen.counter("network", "replica-0 nic out") == [(0, 100), (200_000, 0)]
