"""Steps that take effect at their start, as in the reference: profile ``blis``.

A step takes 100 + prompt tokens + 10 x decode tokens (µs), a block holds 16 tokens.
"""

import pytest

from blis_simpy.replica.batch_policies import ContinuousBatching
from blis_simpy.results.token_gaps import StepGaps

BLIS = {"profile": "blis"}


def test_hooks_are_called_at_the_start_of_a_step_and_latencies_reach_to_its_end(prepare):
    """Prefill at 0, decodes at 120 and 230; the last step ends at 340."""
    simulation = prepare((20, 3, 0), **BLIS)
    calls = []
    simulation.on_first_token(lambda request: calls.append(("first token", simulation.env.now)))
    simulation.on_complete(lambda request: calls.append(("complete", simulation.env.now)))
    requests = simulation.run().requests
    assert calls == [("first token", 0), ("complete", 230)]
    assert (requests["ttft_us"][0], requests["e2e_us"][0], requests["finished_at_us"][0]) == (120, 340, 340)


def test_blocks_go_to_a_process_that_waits_when_the_last_step_starts(prepare):
    """r0 holds two of three blocks until its last step starts at 230; another process wants two from tick 10 on."""
    simulation = prepare((20, 3, 0), blocks=3, **BLIS)
    got = []

    def want():
        yield simulation.env.timeout(10)
        yield simulation.replicas[0].kv_blocks.get(2)
        got.append(simulation.env.now)

    simulation.env.process(want())
    simulation.run()
    assert got == [230]


@pytest.mark.parametrize(
    ("deadline", "outcome", "finished_at"), [(231, "completed", 340), (229, "timed_out", 229), (50, "timed_out", 50)]
)
def test_timeout_takes_effect_at_once_unless_the_last_step_has_started(serve, deadline, outcome, finished_at):
    served = serve((20, 3, 0, {"deadline": deadline}), **BLIS)
    assert (served.column("outcome"), served.column("finished_at_us")) == ([outcome], [finished_at])


def test_preempted_request_starts_over_and_its_first_token_counts_anew(serve):
    """As in tests/replica/test_engine.py: r1 is preempted at 4004, starts over at 4114 and again until it fits."""
    served = serve((32, 40, 0), (32, 40, 0), blocks=8, **BLIS)
    assert served.column("ttft_us")[0] == 164 < 4004 < served.column("ttft_us")[1]
    assert served.column("itl_count") == [39, 39]


class EverySecondStep(ContinuousBatching):
    """Grants nothing to decoding requests in every other step."""

    is_steady = None

    def form(self, step):
        for leg in step.running():
            if not leg.decoding or step.step % 2:
                step.grant(leg)
        while step.num_waiting and step.free_slots > 0 and step.admit():
            pass


@pytest.mark.parametrize(("resume", "e2e_us"), [("restart", 340), ("recompute", 440)])
def test_missed_step_is_left_out_of_the_latencies_unless_requests_keep_their_outputs(serve, resume, e2e_us):
    """Two outputs after the first: decode steps 1 and 3 of 110; in step 2, of 100, the request gets nothing."""
    served = serve((20, 3, 0), batching=EverySecondStep, resume=resume, **BLIS)
    assert served.steps("start_us", "decode_tokens") == [(0, 0), (120, 1), (230, 0), (330, 1)]
    assert served.column("e2e_us") == [e2e_us]
    assert served.column("finished_at_us") == [440]


def test_step_gaps_are_the_durations(serve):
    served = serve((20, 3, 0), **BLIS)
    gaps = StepGaps(served.replica.steps, served.replica.gaps_include_pauses)
    assert [gap for block in gaps.blocks() for gap in block.tolist()] == [120, 110, 110]


def test_empty_prompt_is_served(serve):
    assert serve((0, 3, 0), **BLIS).column("outcome") == ["completed"]
