"""Many steps at once against one at a time, for every latency model and both KV stores; and the two-tier store against
one that goes block by block and token by token."""

import attrs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from naive_tiers import NaiveTiers
from test_macro_steps import OtherProcess, gaps, laws, other_processes, run
from test_naive import compare
from tiers import ARCHITECTURAL, DEPLOYMENTS, TieredCase, deployed, options_of, pressed, tiered

from blis_simpy import registry
from blis_simpy.catalog.defaults import Catalog
from blis_simpy.catalog.hardware import load_gpus
from blis_simpy.latency.base import LatencyInputs, StepBatch
from scenarios import ROOFLINE_TICKS, RequestSpec, cases, conversations

pytestmark = pytest.mark.equivalence
RANDOM = settings(deadline=None, suppress_health_check=list(HealthCheck))
IDLE = OtherProcess(())


def counters(kv):
    """What a two-tier store has counted, and how much its host holds."""
    return kv.hits, kv.misses, kv.cpu_misses, kv.offloaded, kv.cpu_evictions, len(kv._host)


def check(case, sample_gaps=(), other=IDLE):
    plain = run(case, sample_gaps, other, macro_steps=False)
    fast = run(case, sample_gaps, other, macro_steps=True)
    for name, value in plain[2].items():
        assert fast[2][name] == value, name
    if case.cpu_blocks:
        assert counters(fast[0].replicas[0]._kv) == counters(plain[0].replicas[0]._kv)
    laws(case, *fast[:2], other)
    return fast[0]


def slower(sample_gaps):
    return [gap * ROOFLINE_TICKS for gap in sample_gaps]


def growing_cases(**options):
    return cases(latencies=("roofline",), **options)


# Fast = plain.


@RANDOM
@given(deployed(growing_cases()), gaps)
def test_every_latency_model(case, sample_gaps):
    check(case, slower(sample_gaps))


@RANDOM
@given(deployed(tiered(growing_cases())), gaps)
def test_every_latency_model_with_host_memory(case, sample_gaps):
    check(case, slower(sample_gaps))


@RANDOM
@given(deployed(pressed(scale=ROOFLINE_TICKS, long_outputs=True)), gaps, other_processes(ROOFLINE_TICKS))
def test_every_latency_model_under_memory_pressure(case, sample_gaps, other):
    horizon = case.horizon if case.horizon or not other.visits else 10**6
    check(attrs.evolve(case, horizon=horizon), slower(sample_gaps), other)


@RANDOM
@given(tiered(cases(finite=True)), gaps, other_processes())
def test_a_process_that_takes_blocks_beside_host_memory(case, sample_gaps, other):
    check(case, sample_gaps, other)


@RANDOM
@given(tiered(cases(finite=True)), gaps, other_processes(), st.booleans(), st.booleans())
def test_policies_that_withhold_tokens_beside_host_memory(case, sample_gaps, other, dynamic_order, odd_decodes_yield):
    check(attrs.evolve(case, dynamic_order=dynamic_order, odd_decodes_yield=odd_decodes_yield), sample_gaps, other)


# Against the naive store.


def compare_with_naive(case, sample_at=(), *, macro_steps=True):
    kv = NaiveTiers(case.blocks, case.block_size, case.cpu_blocks, case.bandwidth, case.base_latency)
    simulation = compare(case, sample_at, macro_steps=macro_steps, kv=kv)
    replica = simulation.replicas[0]
    assert counters(replica._kv) == (kv.hits, kv.misses, kv.cpu_misses, kv.mirrored, kv.evictions, len(kv.host))
    assert replica.kv_store.thrashing_rate == (kv.evictions / kv.mirrored if kv.mirrored else 0.0)
    return simulation, kv


instants = st.lists(st.integers(0, 4000), max_size=8, unique=True)


@RANDOM
@given(pressed(), instants, st.booleans())
def test_memory_pressure_by_the_rules(case, sample_at, macro_steps):
    compare_with_naive(case, sample_at, macro_steps=macro_steps)


@RANDOM
@given(pressed(long_outputs=True), instants)
def test_long_outputs_by_the_rules(case, sample_at):
    compare_with_naive(case, sample_at)


@RANDOM
@given(tiered(cases()), instants, st.booleans())
def test_anything_by_the_rules(case, sample_at, macro_steps):
    compare_with_naive(case, sample_at, macro_steps=macro_steps)


@RANDOM
@given(tiered(conversations()))
def test_conversations_by_the_rules(case):
    compare_with_naive(case)


@RANDOM
@given(tiered(cases(max_requests=8)))
def test_decodes_that_have_to_wait_by_the_rules(case):
    compare_with_naive(attrs.evolve(case, odd_decodes_yield=True))


# A latency model's runs are its steps.


@st.composite
def models(draw):
    """Draw a latency model on some deployment with its own coefficients or odd ones."""
    backend = draw(st.sampled_from((*ARCHITECTURAL, "blackbox")))
    name, degrees, options = draw(st.sampled_from(DEPLOYMENTS))
    cls = registry.get("latency", backend)
    catalog = Catalog.load()
    coefficients = st.floats(0.0, 1e4) | st.just(0.0)
    beta = draw(st.lists(coefficients, min_size=7, max_size=11))
    shipped = getattr(cls, "global_coefficients", None)
    if shipped is not None and draw(st.booleans()):
        beta = catalog.global_coefficients(shipped).beta
    inputs = LatencyInputs(
        alpha=() if backend == "kernels" else (0.0, 0.0, 0.0),
        beta=() if backend == "kernels" else tuple(beta),
        model=catalog.model(name),
        gpu=load_gpus()[draw(st.sampled_from(["H100", "A100-SXM", "L40S"]))],
        tp=draw(st.sampled_from(degrees)),
    )
    return cls(inputs, **(options_of(backend, options) if draw(st.booleans()) else {}))


@RANDOM
@given(
    models(),
    st.lists(st.integers(1, 200), min_size=1, max_size=20) | st.lists(st.integers(1, 10**6), min_size=1, max_size=300),
    st.integers(1, 40) | st.integers(1, 400),
)
def test_runs_of_every_latency_model_are_its_steps(model, contexts, steps):
    times = model.decode_step_times(StepBatch((), len(contexts), sum(contexts), lambda: contexts), steps)
    times = [times] * steps if isinstance(times, int) else np.asarray(times).tolist()
    assert times == [
        model.step_time(StepBatch((), len(later), sum(later), lambda later=later: later))
        for later in ([context + step for context in contexts] for step in range(steps))
    ]


# What random scenarios have found.


def test_empty_prompt_gives_its_blocks_back_when_it_is_evicted_beside_host_memory():
    """Six blocks of 6; an empty prompt stores its first output token twice, so it takes a block a step early.

    Six requests decode, each with one block. The first one's 7th token needs a second: the empty prompt, the latest,
    is evicted, and the count of blocks due in coming steps must forget it at the same remainder as it was counted.
    """
    requests = [RequestSpec(arrived_at=0, input_tokens=1, output_tokens=n, max_output_tokens=n) for n in (7, 13, 13, 7)]
    requests.append(RequestSpec(arrived_at=300, input_tokens=0, output_tokens=12, max_output_tokens=12))
    case = TieredCase(
        requests=requests, max_num_seqs=6, blocks=6, block_size=6, beta=(100.0, 1.0, 10.0), cpu_blocks=1000
    )
    for macro_steps in (False, True):
        simulation, _ = compare_with_naive(case, macro_steps=macro_steps)
        assert simulation.requests[4].num_preemptions > 0


def repeated(row, times):
    arrived_at, length, output, shared = row
    return [of_group(arrived_at, length, output, shared)] * times


def of_group(arrived_at, length, output=0, shared=None):
    """Prompt of a group with all its tokens, `shared` of them or (0) none."""
    shared = length if shared is None else shared
    return RequestSpec(
        arrived_at=arrived_at,
        input_tokens=length,
        output_tokens=output,
        max_output_tokens=output,
        content=(("g", 0, shared),) if shared else (),
    )


RARE = {
    "running: all found": {
        "requests": repeated((0, 25, 0, 25), 14),
        "max_num_batched_tokens": 104,
        "long_prefill_token_threshold": 7,
        "blocks": 13,
        "block_size": 4,
    },
    "running: part found, rest allocated": {
        "requests": [
            of_group(0, 22),
            of_group(0, 23, shared=0),
            of_group(0, 22),
            of_group(0, 22, shared=0),
            of_group(0, 5, 4, shared=0),
            *repeated((0, 22, 0, 22), 6),
            of_group(0, 23, 2, shared=0),
            of_group(100, 22),
        ],
        "max_num_seqs": 2,
        "max_num_batched_tokens": 70,
        "long_prefill_token_threshold": 11,
        "blocks": 5,
        "block_size": 7,
    },
    "running: part found, rest does not fit": {
        "requests": [
            *repeated((0, 10, 0, 10), 9),
            of_group(0, 10, shared=0),
            of_group(100, 11, 3, shared=0),
            of_group(100, 10),
        ],
        "max_num_seqs": 2,
        "max_num_batched_tokens": 4,
        "blocks": 10,
        "block_size": 2,
    },
    "queued: all found": {
        "requests": [
            *repeated((0, 29, 0, 29), 10),
            of_group(0, 31, shared=0),
            of_group(0, 31, shared=29),
            of_group(100, 29),
        ],
        "max_num_seqs": 2,
        "max_num_batched_tokens": 80,
        "long_prefill_token_threshold": 8,
        "blocks": 8,
        "block_size": 5,
        "cpu_blocks": 2,
    },
}
"""Rules of the two-tier store that random scenarios seldom meet, and one that does."""


@pytest.mark.parametrize("rule", RARE)
@pytest.mark.parametrize("macro_steps", [False, True])
def test_rules_that_are_seldom_met(rule, macro_steps):
    case = TieredCase(**{"cpu_blocks": 1000, "beta": (100.0, 1.0, 10.0), **RARE[rule]})
    _, kv = compare_with_naive(case, macro_steps=macro_steps)
    assert kv.events[rule] > 0


def test_steps_are_taken_singly_until_the_host_has_forgotten_who_left():
    """Two requests decode 33 tokens after prompts of one block; a third with four blocks ends in their first step.

    The host holds six: b, c, l1 to l4, as they were mirrored. A pass after the next step puts b and c behind the
    others, so that the four blocks that they fill later push out l1 to l4: 6 + 4 stored, 4 evicted. One pass for all
    steps would touch b, let b's next block push out c, and so store c a second time.
    """
    requests = [RequestSpec(arrived_at=0, input_tokens=16, output_tokens=34, max_output_tokens=34)] * 2
    requests.append(RequestSpec(arrived_at=0, input_tokens=64, output_tokens=1, max_output_tokens=1))
    case = TieredCase(requests=requests, blocks=20, block_size=16, beta=(100.0, 1.0, 10.0), cpu_blocks=6)
    for macro_steps in (False, True):
        _, kv = compare_with_naive(case, macro_steps=macro_steps)
        assert (kv.mirrored, kv.evictions) == (10, 4)


def test_block_of_prompt_and_answer_is_found_however_its_prompt_was_cut():
    """Blocks of 8, chunks of 3: the prompt of 20 ends amid its third block, whose 4 tokens come in two chunks.

    The answer fills it up and two more with 40 tokens in all; the later prompt contains 39 of them and finds 4 blocks.
    """
    prompt, answer = ("prompt_0", 0, 20), ("output_0", 0, 19)
    asked = RequestSpec(
        arrived_at=0, input_tokens=20, output_tokens=20, max_output_tokens=20, content=(prompt,), named_output=True
    )
    again = RequestSpec(
        arrived_at=10_000, input_tokens=45, output_tokens=1, max_output_tokens=1, content=(prompt, answer)
    )
    case = TieredCase(requests=[asked, again], block_size=8, long_prefill_token_threshold=3, cpu_blocks=9)
    for macro_steps in (False, True):
        _, kv = compare_with_naive(case, macro_steps=macro_steps)
        assert kv.hits == 4


def test_steps_are_taken_singly_while_a_request_fills_blocks_once_more():
    """Blocks of 4; the fifth request, with an empty prompt, is preempted after 4 tokens and starts over at 1000.

    The host is full with eleven blocks then, the oldest being the one that the request filled before. It fills that
    block again at 1300, which refreshes it; at 1400 the third request fills a new one, which evicts the next oldest:
    12 stored, 1 evicted. One pass for all steps would store the block of the third first, evict the block of the fifth
    for it and store that a second time.
    """
    arrivals_inputs_outputs = [(0, 1, 0), (0, 16, 5), (200, 1, 9), (200, 0, 4), (0, 0, 6), (201, 12, 3)]
    requests = [
        RequestSpec(
            arrived_at=arrived_at,
            input_tokens=length,
            output_tokens=output,
            max_output_tokens=output,
            content=((f"prompt_{index}", 0, length),) if length else (),
            named_output=bool(length),
        )
        for index, (arrived_at, length, output) in enumerate(arrivals_inputs_outputs)
    ]
    case = TieredCase(
        requests=requests,
        max_num_seqs=3,
        max_num_batched_tokens=9,
        blocks=6,
        block_size=4,
        scheduler="priority-fcfs",
        priority="inverted-slo",
        cpu_blocks=11,
    )
    for macro_steps in (False, True):
        simulation, kv = compare_with_naive(case, macro_steps=macro_steps)
        assert simulation.requests[4].num_preemptions == 1
        assert (kv.mirrored, kv.evictions) == (12, 1)
