"""Every mixture of the switches in which engines differ: many steps at once against one at a time, and the laws."""

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_macro_steps import OtherProcess, engine_laws, gaps, other_processes, run

from blis_simpy.core.request import RequestOutcome
from scenarios import ROOFLINE_TICKS, Case, cases

pytestmark = pytest.mark.equivalence
RANDOM = settings(deadline=None, suppress_health_check=list(HealthCheck))
IDLE = OtherProcess(())


@attrs.frozen(kw_only=True)
class SwitchedCase(Case):
    """A case with an engine profile, and single switches beside it."""

    engine: dict
    kv: dict

    def scenario(self, *, macro_steps):
        scenario = super().scenario(macro_steps=macro_steps)
        return attrs.evolve(
            scenario, engine=attrs.evolve(scenario.engine, **self.engine), kv=attrs.evolve(scenario.kv, **self.kv)
        )


@st.composite
def switched(draw, drawn):
    """Give drawn cases a profile, a value to some of its switches, and priorities to their requests."""
    case = draw(drawn)
    engine = {"profile": draw(st.sampled_from(["blis", "vllm", "vllm"]))}
    switches = {
        "step_effects": st.sampled_from(["start", "end"]),
        "async_scheduling": st.booleans(),
        "reserve_full_sequence": st.booleans(),
        "victim": st.sampled_from(["latest", "least-urgent"]),
        "resume": st.sampled_from(["restart", "recompute"]),
        "over_length": st.sampled_from(["drop", "clip"]),
        "long_prefill_threshold_if_alone": st.booleans(),
        "long_prefill_token_threshold_adaptive": st.booleans(),
        "watermark": st.sampled_from([0.05, 0.3]),
        "idle_pause": st.sampled_from([1, 77]),
    }
    engine |= {name: draw(values) for name, values in switches.items() if draw(st.booleans())}
    if engine["profile"] == "vllm":
        engine["max_num_batched_tokens"] = max(case.max_num_batched_tokens, case.max_num_seqs)
    if draw(st.booleans()):
        engine["scheduler"] = "priority"
    effects = engine.get("step_effects", "end" if engine["profile"] == "vllm" else "start")
    if effects == "start":
        engine["async_scheduling"] = False
    resume = engine.get("resume", "recompute" if engine["profile"] == "vllm" else "restart")
    stores = [{}, {"store": "single-tier"}, {"store": "block-pool"}, {"store": "block-pool", "prefix_caching": False}]
    if resume == "restart":
        stores.append({"store": "two-tier", "cpu_blocks": draw(st.integers(1, 3 * case.blocks))})
    priorities = draw(st.lists(st.integers(0, 2), min_size=len(case.requests), max_size=len(case.requests)))
    requests = [attrs.evolve(spec, priority=n) for spec, n in zip(case.requests, priorities, strict=True)]
    given = {**attrs.asdict(case, recurse=False), "requests": requests}
    given["max_num_batched_tokens"] = engine.get("max_num_batched_tokens", case.max_num_batched_tokens)
    return SwitchedCase(**given, engine=engine, kv=draw(st.sampled_from(stores)))


def check(case, sample_gaps=(), other=IDLE):
    plain = run(case, sample_gaps, other, macro_steps=False)
    fast = run(case, sample_gaps, other, macro_steps=True)
    for name, value in plain[2].items():
        assert fast[2][name] == value, name
    simulation, result, _ = fast
    engine_laws(case, simulation, result, other)
    overhead_us = simulation.deployment.latency.post_decode_overhead()
    ends = simulation.deployment.engine.step_effects == "end"
    for r in simulation.requests:
        if r.outcome is RequestOutcome.COMPLETED:
            # A request without planned outputs gets one all the same where steps take effect at their end.
            assert r.e2e == r.ttft + r.itl_sum + (overhead_us if r.output_tokens or ends else 0)
            if ends:
                assert r.finished_at == r.arrived_at + r.e2e
                assert r.generated_tokens == r.itl_count + 1
                assert not 0 < r.deadline < r.finished_at


@RANDOM
@given(switched(cases(finite=True)), gaps)
def test_random_scenarios(case, sample_gaps):
    check(case, sample_gaps)


@RANDOM
@given(switched(cases(finite=True, latencies=("roofline",))), gaps)
def test_steps_that_grow_with_the_context(case, sample_gaps):
    check(case, [gap * ROOFLINE_TICKS for gap in sample_gaps])


@RANDOM
@given(switched(cases(finite=True)), gaps, other_processes())
def test_a_process_that_takes_blocks_and_slots(case, sample_gaps, other):
    check(case, sample_gaps, other)


@RANDOM
@given(switched(cases(finite=True)), gaps, other_processes(), st.booleans())
def test_policies_that_withhold_tokens(case, sample_gaps, other, dynamic_order):
    engine = {name: value for name, value in case.engine.items() if name != "scheduler" or not dynamic_order}
    check(attrs.evolve(case, engine=engine, dynamic_order=dynamic_order, odd_decodes_yield=True), sample_gaps, other)
