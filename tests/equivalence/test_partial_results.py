"""Results in the middle of a run, against the engine that goes token by token and stops at the same place."""

import attrs
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_naive import naive

from blis_simpy.simulation import Simulation
from scenarios import Case, RequestSpec, cases

pytestmark = pytest.mark.equivalence


def check(simulation, result, case, until):
    """The result at a pause shows what happened before that tick, and nothing else."""
    expected = naive(attrs.evolve(case, horizon=until - 1), simulation.deployment.latency, ())
    names = ("id", "outcome", "scheduled_at_us", "ttft_us", "num_preemptions", "finished_at_us")
    assert list(zip(*(result.requests[name] for name in names), strict=True)) == [
        (r.id, r.outcome, r.scheduled_at, r.ttft, r.num_preemptions, r.finished_at) for r in expected.requests
    ]
    gaps = [(r["itl_count"], r["itl_sum_us"]) for r in result.requests.rows()]
    assert gaps == [(len(r.itls), sum(r.itls)) for r in expected.requests]
    assert list(zip(*(result.steps[name] for name in result.steps if name != "replica"), strict=True)) == expected.steps
    assert result.preemptions == expected.preemptions
    summary = result.summary
    assert (summary["still_queued"], summary["still_running"]) == (len(expected.queue), len(expected.batch))
    assert (summary["total_input_tokens"], summary["total_output_tokens"]) == (
        expected.input_tokens,
        expected.output_tokens,
    )
    assert result.aggregate.itl.total == sum(expected.gaps)


def one_token_per_us(*requests):
    """A case whose latency model says 0 us, which is 1 us."""
    specs = [
        RequestSpec(
            arrived_at=0,
            input_tokens=prompt,
            output_tokens=output,
            max_output_tokens=0,
            deadline=0,
            content=(),
            named_output=False,
            slo_class="",
            priority=0,
        )
        for prompt, output in requests
    ]
    limits = {"max_num_seqs": 2, "max_num_batched_tokens": 2, "blocks": 2, "block_size": 2}
    return Case(requests=specs, latency="contextual", alpha=(0.0, 0.0, 0.0), beta=(0.0, 0.0, 0.0), **limits)


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@example(  # request_3 misses a step whose time is rounded up
    case=one_token_per_us((1, 2), (1, 0), (1, 0), (1, 2), (2, 0)), pauses=[], macro_steps=False, odd_decodes_yield=True
)
@given(cases(), st.lists(st.integers(1, 4000), max_size=4), st.booleans(), st.booleans())
def test_result_at_a_pause_shows_what_happened_before_that_tick(case, pauses, macro_steps, odd_decodes_yield):
    case = attrs.evolve(case, odd_decodes_yield=odd_decodes_yield)
    simulation = Simulation(case.scenario(macro_steps=macro_steps), requests=case.fresh_requests(), check="full")
    for pause in sorted(pauses):
        if not simulation.is_over:
            result = simulation.run(until=pause)
            if not simulation.is_over:
                check(simulation, result, case, pause)
    check(simulation, simulation.run(), case, case.last_tick + 1)
