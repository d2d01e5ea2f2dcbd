"""Many steps at once against one at a time: every figure is the same, whoever plugs in, watches or takes resources."""

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blis_simpy.core.request import RequestOutcome
from blis_simpy.simulation import Simulation
from scenarios import ROOFLINE_TICKS, Case, RequestSpec, cases

pytestmark = pytest.mark.equivalence
RANDOM = settings(deadline=None, suppress_health_check=list(HealthCheck))


@attrs.frozen
class OtherProcess:
    """A user's process: each visit waits, takes blocks and slots, stays, and gives them back."""

    visits: tuple[tuple[int, int, int, int], ...]

    def visit(self, env, replica):
        for wait, blocks, slots, stay in self.visits:
            yield env.timeout(wait)
            held = min(blocks, replica.kv_blocks.capacity)
            if held:
                yield replica.kv_blocks.get(held)
            taken = [replica.slots.request() for _ in range(min(slots, replica.slots.capacity))]
            for slot in taken:
                yield slot
            yield env.timeout(stay)
            if held:
                yield replica.kv_blocks.put(held)
            for slot in taken:
                yield replica.slots.release(slot)


@st.composite
def other_processes(draw, scale=1):
    ticks = st.one_of(st.integers(0, 5).map(lambda n: 100 * n * scale), st.integers(0, 700 * scale))
    visit = st.tuples(ticks, st.integers(0, 12), st.integers(0, 2), ticks)
    return OtherProcess(tuple(draw(st.lists(visit, max_size=6))))


def look(simulation):
    """What anybody can see of the replica, and the laws that hold whenever it is seen."""
    replica = simulation.replicas[0]
    pool, slots = replica.kv_blocks, replica.slots
    seen = replica.observe()
    assert pool.level + pool.num_reserved == replica._kv.free_list_length()
    assert pool.level == seen.free_blocks
    assert slots.count == seen.batch_size + len(slots.users) + slots.num_reserved <= slots.capacity
    assert 0 <= seen.used_blocks <= pool.capacity
    return seen


def run(case, sample_gaps, other, *, macro_steps):
    simulation = Simulation(case.scenario(macro_steps=macro_steps), requests=case.fresh_requests(), check="full")
    seen = []

    def watch():
        for gap in sample_gaps:
            yield simulation.env.timeout(gap)
            seen.append(look(simulation))

    simulation.env.process(watch())
    if other.visits:
        simulation.env.process(other.visit(simulation.env, simulation.replicas[0]))
    result = simulation.run()
    outcome = {
        "requests": {name: result.requests[name].tolist() for name in result.requests},
        "steps": {name: column.tolist() for name, column in result.steps.items()},
        "preemptions": result.preemptions,
        "summary": result.summary,
        "gaps": (result.aggregate.itl.values.tolist(), result.aggregate.itl.cumulative.tolist()),
        "kv_rates": result.kv_rates,
        "hits": (simulation.replicas[0]._kv.hits, simulation.replicas[0]._kv.misses),
        "anomalies": result.anomalies,
        "slo": {name: (d["ttft"].total, d["e2e"].total) for name, d in result.slo_classes.items()},
        "mean_queue": [replica.queue_depth_mean for replica in result.aggregate.replicas],
        "seen": seen,
        "at_the_end": look(simulation),
    }
    return simulation, result, outcome


def laws(case, simulation, result, other):
    """Check what holds for every engine, and what is true of one whose steps take effect at their start."""
    engine_laws(case, simulation, result, other)
    replica = simulation.replicas[0]
    latency = simulation.deployment.latency
    # What a request was told adds up.
    token_us = latency.output_token_processing_time()
    missed = {simulation.requests[row].id for row, _, _ in replica.log.skipped_tokens}
    for r in simulation.requests:
        if r.outcome is RequestOutcome.COMPLETED:
            assert r.e2e == r.ttft + r.itl_sum + (latency.post_decode_overhead() if r.output_tokens else 0)
            if r.id not in missed:
                overheads = (1 + r.itl_count) * token_us + (latency.post_decode_overhead() if r.output_tokens else 0)
                assert r.e2e == r.finished_at - r.arrived_at + overheads
            assert r.generated_tokens == (r.itl_count + 1 if r.length_capped else r.output_tokens)


def engine_laws(case, simulation, result, other):
    """Check what holds for every engine."""
    replica = simulation.replicas[0]
    steps, block = result.steps, result.summary
    ended = {RequestOutcome.COMPLETED, RequestOutcome.TIMED_OUT, RequestOutcome.DROPPED}
    counts = {outcome: sum(r.outcome is outcome for r in simulation.requests) for outcome in RequestOutcome}
    # Each request is in one place.
    assert sum(counts.values()) == len(case.requests)
    assert block["completed_requests"] == counts[RequestOutcome.COMPLETED]
    assert block["timed_out_requests"] == counts[RequestOutcome.TIMED_OUT]
    assert block["dropped_unservable"] == counts[RequestOutcome.DROPPED]
    assert block["still_queued"] == counts[RequestOutcome.QUEUED]
    assert block["still_running"] == counts[RequestOutcome.RUNNING]
    assert block["injected_requests"] == len(case.requests) - counts[RequestOutcome.PENDING]
    if case.horizon is None and not other.visits:
        assert all(r.outcome in ended for r in simulation.requests)
    if all(r.outcome in ended or r.outcome is RequestOutcome.PENDING for r in simulation.requests):
        assert replica.kv_blocks.level == case.blocks - replica.kv_blocks.held_externally
        assert replica.slots.count == len(replica.slots.users)
    assert all(r.scheduled_at >= r.arrived_at for r in simulation.requests if r.outcome is RequestOutcome.COMPLETED)
    # A step keeps its limits, and one begins when or after the one before is over.
    assert (steps["decode_tokens"] + steps["prefill_tokens"] <= case.max_num_batched_tokens).all()
    assert (steps["batch_size"] <= case.max_num_seqs).all()
    assert (steps["used_blocks"] <= case.blocks).all()
    assert (steps["duration_us"] >= 1).all()
    assert (steps["start_us"][1:] >= (steps["start_us"] + steps["duration_us"])[:-1]).all()


def check(case, sample_gaps=(), other=OtherProcess(())):
    plain = run(case, sample_gaps, other, macro_steps=False)
    fast = run(case, sample_gaps, other, macro_steps=True)
    for name, value in plain[2].items():
        assert fast[2][name] == value, name
    laws(case, *fast[:2], other)


gaps = st.lists(st.one_of(st.just(0), st.integers(1, 300), st.just(100)), max_size=12)


@RANDOM
@given(cases(max_requests=40), gaps)
def test_random_scenarios(case, sample_gaps):
    check(case, sample_gaps)


@RANDOM
@given(cases(latencies=("roofline",)), gaps)
def test_steps_that_grow_with_the_context(case, sample_gaps):
    check(case, [gap * ROOFLINE_TICKS for gap in sample_gaps])


@RANDOM
@given(cases(finite=True, latencies=("blackbox", "contextual")), gaps, other_processes())
def test_a_process_that_takes_blocks_and_slots(case, sample_gaps, other):
    check(case, sample_gaps, other)


@RANDOM
@given(cases(finite=True, latencies=("roofline",)), gaps, other_processes(ROOFLINE_TICKS))
def test_a_process_that_takes_blocks_and_slots_among_growing_steps(case, sample_gaps, other):
    check(case, [gap * ROOFLINE_TICKS for gap in sample_gaps], other)


@RANDOM
@given(cases(finite=True), gaps, other_processes())
def test_an_order_that_changes_with_the_clock(case, sample_gaps, other):
    check(attrs.evolve(case, dynamic_order=True), sample_gaps, other)


@RANDOM
@given(cases(finite=True), gaps, other_processes())
def test_a_batch_policy_that_withholds_tokens(case, sample_gaps, other):
    check(attrs.evolve(case, odd_decodes_yield=True), sample_gaps, other)


def test_runs_are_planned_at_all(planning):
    """Guards the tests above: were every step taken singly, fast and plain would agree for no reason."""
    case = Case(requests=[RequestSpec(arrived_at=0, input_tokens=4, output_tokens=50)])
    counts = {}
    for macro_steps in (True, False):
        simulation, result, _ = run(case, (), OtherProcess(()), macro_steps=macro_steps)
        stretches = simulation.replicas[0].steps.num_stretches
        counts[macro_steps] = (len(result.steps["start_us"]), stretches)
    assert counts[False] == (50, 50)
    if planning == "plan always":
        assert counts[True] == (50, 3)
