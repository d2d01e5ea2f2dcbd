"""The engine against an independent one that goes token by token."""

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from naive import NaiveEngine, NaiveRequest, NaiveSettings, Sample

from blis_simpy.latency.base import StepBatch, StepMember
from blis_simpy.simulation import Simulation
from scenarios import Case, RequestSpec, cases, conversations

pytestmark = pytest.mark.equivalence
RANDOM = settings(deadline=None, suppress_health_check=list(HealthCheck))


class Latency:
    """The package's latency model as the naive engine asks it."""

    def __init__(self, model):
        self.model = model

    def step_time(self, members):
        return self.model.step_time(StepBatch.of([StepMember(*member) for member in members]))

    def __getattr__(self, name):
        return getattr(self.model, name)


def naive(case, latency, sample_at, kv=None):
    requests = []
    for index, spec in enumerate(case.requests):
        prompt = [(stream, start + i) for stream, start, tokens in spec.content for i in range(tokens)]
        prompt += [(f"private_{index}", i) for i in range(spec.input_tokens - len(prompt))]
        requests.append(
            NaiveRequest(
                id=f"request_{index}",
                arrived_at=spec.arrived_at,
                prompt=prompt,
                output=[(f"output_{index}", i) for i in range(spec.output_tokens)],
                max_out=spec.max_output_tokens,
                deadline=spec.deadline,
            )
        )
    limits = NaiveSettings(
        max_num_seqs=case.max_num_seqs,
        max_tokens=case.max_num_batched_tokens,
        threshold=case.long_prefill_token_threshold,
        max_model_len=case.max_model_len,
        num_blocks=case.blocks,
        block_size=case.block_size,
        scheduler=case.scheduler,
        priority=case.priority,
        horizon=case.last_tick,
        odd_decodes_yield=case.odd_decodes_yield,
    )
    return NaiveEngine(limits, Latency(latency), requests, sample_at, kv).run()


def compare(case, sample_at=(), *, macro_steps=True, kv=None):
    simulation = Simulation(case.scenario(macro_steps=macro_steps), requests=case.fresh_requests(), check="full")
    replica = simulation.replicas[0]
    samples = []

    def watch():
        for tick in sorted(sample_at):
            if tick > simulation.env.now:
                yield simulation.env.timeout(tick - simulation.env.now)
            seen = replica.observe()
            samples.append(Sample(tick, seen.queue_depth, seen.batch_size, seen.used_blocks, seen.hit_rate))
            assert replica.kv_blocks.level == replica._kv.free_list_length()

    simulation.env.process(watch())
    result = simulation.run()
    expected = naive(case, simulation.deployment.latency, sorted(sample_at), kv)

    rows = [(r.id, r.outcome, r.scheduled_at, r.ttft, r.num_preemptions, r.finished_at) for r in expected.requests]
    assert [
        (r.id, r.outcome.name.lower(), r.scheduled_at, r.ttft, r.num_preemptions, r.finished_at)
        for r in simulation.requests
    ] == rows
    completed = [r for r in expected.requests if r.outcome == "completed"]
    assert [
        (r.id, r.e2e, r.itl_sum, r.itl_count, r.generated_tokens, r.length_capped)
        for r in simulation.requests
        if r.outcome.name == "COMPLETED"
    ] == [(r.id, r.e2e, sum(r.itls), len(r.itls), r.generated, r.length_capped) for r in completed]

    columns = (
        {name: [getattr(row, name) for row in expected.steps] for name in type(expected.steps[0])._fields}
        if (expected.steps)
        else {}
    )
    assert {name: result.steps[name].tolist() for name in columns} == columns
    assert len(result.steps["start_us"]) == len(expected.steps)
    assert result.preemptions == expected.preemptions
    assert samples == expected.samples[: len(samples)]

    block = result.summary
    assert block["completed_requests"] == len(completed)
    assert block["still_queued"] == len(expected.queue)
    assert block["still_running"] == len(expected.batch)
    assert block["total_input_tokens"] == expected.input_tokens
    assert block["total_output_tokens"] == expected.output_tokens
    assert block["preemption_count"] == len(expected.preemptions)
    assert block["dropped_unservable"] == sum(r.outcome == "dropped" for r in expected.requests)
    assert block["timed_out_requests"] == sum(r.outcome == "timed_out" for r in expected.requests)
    assert block["length_capped_requests"] == sum(r.length_capped for r in expected.requests)
    assert block.get("kv_allocation_failures", 0) == expected.kv_failures
    assert block["vllm_estimated_duration_s"] == expected.last / 1e6
    assert result.kv_rates["cache_hit_rate"] == expected.kv.hit_rate()
    gaps = result.aggregate.itl
    assert (gaps.count, gaps.total) == (len(expected.gaps), sum(expected.gaps))
    if expected.gaps:
        ranked = sorted(expected.gaps)
        assert [gaps._at(index) for index in range(gaps.count)] == ranked
    return simulation


@RANDOM
@given(cases(), st.lists(st.integers(0, 4000), max_size=8, unique=True), st.booleans())
def test_random_scenarios(case, sample_at, macro_steps):
    compare(case, sample_at, macro_steps=macro_steps)


@RANDOM
@given(conversations())
def test_prompts_that_repeat_earlier_answers(case):
    compare(case)


@RANDOM
@given(cases(max_requests=8))
def test_decodes_that_have_to_wait(case):
    compare(attrs.evolve(case, odd_decodes_yield=True))


def test_blocked_head_is_admitted_when_it_loses_the_start_of_its_cached_prefix():
    """Nine blocks of 16; a is the start of a prompt that s, r and h share; f decodes all the time.

    s holds four cached blocks of a; r, whose prompt is just the first of them, computes it again, so that the newer
    copy is found, and frees it before s ends. The free list is then: r's copy, a block without content, s's four.
    h finds four blocks and needs three more: 7 of 6, so it waits. When f takes r's copy, h finds nothing any more, is
    cut to the token budget, and fits: 79 tokens in 5 of 5 blocks. A plan that counts on a blocked head must not.
    """
    case = Case(
        requests=[
            RequestSpec(arrived_at=0, input_tokens=32, output_tokens=60, max_output_tokens=60),
            RequestSpec(arrived_at=100, input_tokens=64, output_tokens=3, max_output_tokens=3, content=(("a", 0, 64),)),
            RequestSpec(arrived_at=150, input_tokens=16, output_tokens=0, content=(("a", 0, 16),)),
            RequestSpec(
                arrived_at=600, input_tokens=112, output_tokens=1, max_output_tokens=1, content=(("a", 0, 64),)
            ),
        ],
        blocks=9,
        block_size=16,
        max_num_batched_tokens=80,
        beta=(100.0, 1.0, 10.0),
    )
    compare(case, macro_steps=False)
    compare(case, macro_steps=True)


def test_token_budget_goes_to_those_who_came_first():
    """Ten tokens a step, nine at most for one prompt: two empty prompts join the first without using any budget.

    In the second step the prompt comes first and takes nine again, so that one of the two gets the last token and the
    other none.
    """
    case = Case(
        requests=[
            RequestSpec(arrived_at=0, input_tokens=60, output_tokens=3),
            RequestSpec(arrived_at=0, input_tokens=0, output_tokens=5),
            RequestSpec(arrived_at=0, input_tokens=0, output_tokens=5),
        ],
        max_num_batched_tokens=10,
        long_prefill_token_threshold=9,
        blocks=40,
    )
    compare(case)
