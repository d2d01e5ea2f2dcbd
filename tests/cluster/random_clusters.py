"""Random clusters, moved about by a user's process, for tests of many steps at once against one at a time."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import strategies as st

import blis_simpy as blis
from blis_simpy.cluster.lifecycle import ReplicaState
from blis_simpy.cluster.settings import DRAIN_POLICIES, LifecycleSettings, NodePool
from blis_simpy.core.request import Request, RequestOutcome
from blis_simpy.core.token_spans import Span
from blis_simpy.replica import engine, macro_step

ROUTING = ("round-robin", "least-loaded", "weighted", "always-busiest")
ADMISSION = (
    {},
    {},
    {"policy": "token-bucket", "capacity": 100.0, "refill_rate": 40_000.0},
    {"policy": "reject-all"},
)
MOVES = ("fail", "restore", "restore", "add", *DRAIN_POLICIES, "move")
BETAS = ((100.0, 0.0, 0.0), (100.0, 1.0, 10.0), (3.7, 0.3, 1.9))
ALPHAS = ((0.0, 0.0, 0.0), (5.0, 0.5, 2.0), (100.0, 0.0, 0.0))
DELAYS = st.sampled_from([0, 0, 0, 1, 100, 730])
# The beat of steps, where ties happen, or anywhere.
TICKS = st.one_of(st.integers(0, 40).map(lambda beats: 100 * beats), st.integers(0, 6000))


@pytest.fixture(scope="module", autouse=True)
def runs_of_steps_everywhere():
    """Steps are planned ahead wherever that is allowed, not only where it pays."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(macro_step, "_WORTH_PLANNING", 1)
        patch.setattr(engine.Engine, "decision_gap_x8", property(lambda _: 1 << 30, lambda *_: None), raising=False)
        yield


@attrs.frozen
class Move:
    """What the user's process does next: after a wait, to a replica (modulo their number)."""

    wait: int
    what: str
    replica: int

    def apply(self, cluster):
        replica = self.replica % len(cluster.replicas)
        state = cluster.state(replica)
        if self.what == "add":
            if len(cluster.replicas) < 8:
                cluster.add_replica()
        elif self.what == "restore":
            if state is ReplicaState.TERMINATED:
                cluster.restore(replica)
        elif state is not ReplicaState.TERMINATED:
            if self.what == "fail":
                cluster.fail(replica)
            elif self.what == "move":
                self.move_request(cluster, replica)
            elif self.what == "migrate" and not cluster.replicas[replica].can_hand_over:
                cluster.drain(replica, "redirect")
            else:
                cluster.drain(replica, self.what)

    def move_request(self, cluster, replica):
        """Migrate a decoding request of a replica to the first other one that can take it."""
        others = (
            other.index
            for other in cluster.replicas
            if cluster.state(other.index).is_routable and cluster.role(other.index) != "prefill"
        )
        target = next((other for other in others if other != replica), None)
        decoding = cluster.replicas[replica].decoding()
        if decoding and target is not None and cluster.replicas[replica].can_hand_over:
            cluster.migrate(decoding[0].request, target)


@attrs.frozen(kw_only=True)
class Case:
    """A scenario, the rows of its requests, and what a user's process does meanwhile."""

    scenario: blis.Scenario
    rows: tuple[tuple[int, int, int, int, int], ...]
    moves: tuple[Move, ...]
    looks: tuple[int, ...]

    def requests(self):
        """Fresh requests of (arrival, prompt, output, deadline after arrival, shared prompt tokens)."""
        return [
            Request(
                id=f"request_{i}",
                arrived_at=arrival,
                input_tokens=prompt,
                output_tokens=output,
                max_output_tokens=output,
                deadline=arrival + patience if patience else 0,
                content=(Span("shared", 0, min(shared, prompt)),) if shared else None,
            )
            for i, (arrival, prompt, output, patience, shared) in enumerate(self.rows)
        ]


@st.composite
def cases(draw, profile=None):
    block_size = draw(st.integers(1, 8))
    blocks = draw(st.one_of(st.integers(2, 12), st.integers(12, 80)))
    capacity = block_size * blocks
    prompt = st.integers(1, max(1, min(60, capacity // 2)))
    output = st.one_of(st.integers(1, 3), st.integers(1, max(1, min(120, capacity // 2))))
    patience = st.one_of(st.just(0), st.just(0), TICKS.map(lambda tick: tick + 1))
    row = st.tuples(TICKS, prompt, output, patience, st.sampled_from([0, 0, 9, 30]))
    lifecycle = LifecycleSettings(
        loading_delay=draw(DELAYS),
        loading_delay_stddev=draw(st.sampled_from([0, 0, 50])),
        warm_up_requests=draw(st.integers(0, 2)),
        warm_up_ttft_factor=draw(st.sampled_from([1.0, 2.5])),
    )
    pools = ()
    if draw(st.integers(0, 4)) == 0:
        pools = (NodePool(name="p", gpu_type="H100", gpus_per_node=2, initial_nodes=draw(st.integers(1, 3))),)
    profile = profile or draw(st.sampled_from(["blis", "vllm"]))
    max_num_seqs = draw(st.integers(1, 8))
    cpu_blocks = draw(st.sampled_from([0, 0, 0, 9])) if profile == "blis" else 0
    scenario = blis.Scenario(
        model="any/model",
        hardware="H100",
        tp=1,
        engine_version="any",
        replicas=draw(st.integers(1, 5)),
        admission={
            **(draw(st.sampled_from(ADMISSION)) if draw(st.integers(0, 4)) == 0 else {}),
            "delay": draw(DELAYS),
        },
        router={
            "policy": draw(st.sampled_from(ROUTING)),
            "delay": draw(DELAYS),
            "snapshot_interval": draw(st.sampled_from([0, 0, 1, 250, 2000])),
            "decision_log": True,
            "decision_alternatives": 2,
        },
        horizon=draw(st.one_of(st.none(), st.none(), st.none(), st.integers(1, 9000))),
        latency=blis.LatencySettings(
            backend="blackbox", alpha=draw(st.sampled_from(ALPHAS)), beta=draw(st.sampled_from(BETAS))
        ),
        engine=blis.EngineSettings(
            profile=profile,
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=max(draw(st.integers(4, 120)), max_num_seqs if profile == "vllm" else 1),
            max_model_len=0,
            scheduler=draw(st.sampled_from(["fcfs", "fcfs", "sjf", "priority-fcfs"])),
            priority=draw(st.sampled_from(["constant", "slo-based"])),
        ),
        kv=blis.KVSettings(
            blocks=blocks,
            block_size=block_size,
            cpu_blocks=cpu_blocks,
            bytes_per_token=draw(st.sampled_from([1.0, 1e6])),
        ),
        lifecycle=lifecycle,
        node_pools=pools,
    )
    moves = st.builds(
        Move,
        wait=st.one_of(st.sampled_from([0, 100, 1000]), st.integers(0, 2500)),
        what=st.sampled_from(MOVES),
        replica=st.integers(0, 7),
    )
    return Case(
        scenario=scenario,
        rows=tuple(draw(st.lists(row, min_size=1, max_size=draw(st.sampled_from([4, 25]))))),
        moves=tuple(draw(st.lists(moves, max_size=8))),
        looks=tuple(draw(st.lists(st.integers(0, 1500), max_size=5))),
    )


def run(case, *, macro_steps):
    scenario = case.scenario.with_(**{"engine.macro_steps": macro_steps})
    simulation = blis.Simulation(scenario, requests=case.requests(), check="full")
    cluster, env = simulation.cluster, simulation.env
    seen = []

    def look():
        for replica in cluster.replicas:
            level = replica.kv_blocks.level
            # Blocks that a blocked replica has reserved are still on the free list.
            reserved = replica.kv_blocks.num_reserved
            assert level + reserved == replica._kv.free_list_length()
            assert replica.slots.count == replica.batch_size <= replica.slots.capacity
            on_replica = replica.queue_depth + replica.batch_size
            assert cluster.in_flight(replica.index) >= on_replica
            if cluster.state(replica.index) is ReplicaState.TERMINATED:
                assert (on_replica, level + reserved) == (0, replica.kv_blocks.capacity)
        seen.append([(replica.observe(), str(cluster.state(replica.index))) for replica in cluster.replicas])

    def watch():
        for gap in case.looks:
            yield env.timeout(gap)
            look()

    def move():
        for step in case.moves:
            yield env.timeout(step.wait)
            step.apply(cluster)
            look()

    env.process(move())
    env.process(watch())
    result = simulation.run()
    look()
    log = result.decisions
    return simulation, {
        "requests": {name: result.requests[name].tolist() for name in result.requests},
        "steps": {name: column.tolist() for name, column in result.steps.items()},
        "decisions": (log.admissions, log.routings),
        "preemptions": result.preemptions,
        "summary": result.summary,
        "replicas": result.replicas,
        "anomalies": result.anomalies,
        "kv_rates": result.kv_rates,
        "gaps": (result.aggregate.itl.values.tolist(), result.aggregate.itl.cumulative.tolist()),
        "slowed": sorted(request.id for request in cluster.slowed),
        "seen": seen,
    }


def laws(case, simulation, figures):
    requests, cluster, summary = simulation.requests, simulation.cluster, figures["summary"]
    counts = {outcome: sum(request.outcome is outcome for request in requests) for outcome in RequestOutcome}
    assert summary["completed_requests"] == counts[RequestOutcome.COMPLETED]
    assert summary["timed_out_requests"] == counts[RequestOutcome.TIMED_OUT]
    assert summary["dropped_unservable"] == counts[RequestOutcome.DROPPED]
    rejections = figures["anomalies"]
    assert counts[RequestOutcome.REJECTED] == (
        rejections["rejected_requests_admission"] + rejections["rejected_requests_routing"]
    )
    assert (
        summary["injected_requests"] == len(requests) - counts[RequestOutcome.REJECTED] - counts[RequestOutcome.PENDING]
    )
    for request in requests:
        if request.outcome is RequestOutcome.COMPLETED:
            assert request.e2e == request.ttft + request.itl_sum + (
                simulation.deployment.latency.post_decode_overhead() if request.output_tokens else 0
            )
            assert request.length_capped or request.generated_tokens == request.output_tokens
            assert request.arrived_at <= request.scheduled_at <= request.finished_at
    if case.scenario.horizon is None:
        assert not counts[RequestOutcome.PENDING] + counts[RequestOutcome.QUEUED] + counts[RequestOutcome.RUNNING]
        assert all(cluster.in_flight(replica.index) == 0 for replica in cluster.replicas)
    steps = figures["steps"]
    ends = {}
    for replica, start, duration in zip(steps["replica"], steps["start_us"], steps["duration_us"], strict=True):
        assert start >= ends.get(replica, 0)
        ends[replica] = start + duration


def check(case):
    _, plain = run(case, macro_steps=False)
    simulation, fast = run(case, macro_steps=True)
    for name, value in plain.items():
        assert fast[name] == value, name
    laws(case, simulation, fast)
