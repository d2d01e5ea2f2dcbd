"""Steps that take effect at their end, worked out by hand: profile ``vllm``, synchronous unless said otherwise.

A step takes 100 + prompt tokens + 10 x decode tokens (µs), a block holds 16 tokens.
"""

import pytest

import blis_simpy as blis
from blis_simpy.results.token_gaps import StepGaps

SYNC = {"profile": "vllm", "async_scheduling": False}
ASYNC = {"profile": "vllm"}
BOTH = pytest.mark.parametrize("engine", [SYNC, ASYNC], ids=["synchronous", "asynchronous"])


def seen_by(simulation, *ticks):
    """What another process observes: tick to requests in the batch, KV blocks in use."""
    seen = {}

    def look():
        for tick in ticks:
            yield simulation.env.timeout(tick - simulation.env.now)
            now = simulation.replicas[0].observe()
            seen[tick] = now.batch_size, now.used_blocks

    simulation.env.process(look())
    simulation.run()
    return seen


@BOTH
def test_one_request_has_its_tokens_when_its_steps_end(serve, engine):
    """Prefill 120, two decodes of 110 each."""
    served = serve((20, 3, 0), **engine)
    assert served.steps("start_us", "duration_us") == [(0, 120), (120, 110), (230, 110)]
    assert (served.column("ttft_us"), served.column("e2e_us")) == ([120], [340])
    assert served.column("finished_at_us") == [340]


def test_arrival_in_a_step_joins_the_next_one_or_with_a_step_ahead_the_one_after(serve):
    """r0 from 0 to 120, then decodes of 110. r1 comes at 1.

    Synchronous: the step at 120 takes 100 + 20 + 10, so r1 has its token at 250. Asynchronous: the step at 120 was
    formed at 0, so r1 runs in the one at 230, which ends at 360.
    """
    rows = (20, 4, 0), (20, 1, 1)
    assert serve(*rows, **SYNC).column("ttft_us") == [120, 249]
    assert serve(*rows, **ASYNC).column("ttft_us") == [120, 359]


@pytest.mark.parametrize(("pause", "start"), [({}, 1120), ({"idle_pause": 7}, 127)])
def test_engine_with_a_step_ahead_pauses_when_its_last_step_drains(serve, pause, start):
    """r0 ends at 120 with its only step. r1 came at 50, when the next step had been formed empty."""
    served = serve((20, 1, 0), (20, 1, 50), **ASYNC, **pause)
    assert [row for (row,) in served.steps("start_us")] == [0, start]
    assert served.column("ttft_us") == [120, start + 120 - 50]
    assert serve((20, 1, 0), (20, 1, 50), **SYNC).column("ttft_us") == [120, 120 + 120 - 50]


@BOTH
def test_effects_of_a_step_are_visible_from_its_end_on(prepare, engine):
    """r0 takes its two blocks at 0 and gives them back at 120, when its only step ends."""
    simulation = prepare((20, 1, 0), (1, 1, 2000), **engine)
    assert seen_by(simulation, 60, 119, 121) == {60: (1, 2), 119: (1, 2), 121: (0, 0)}


def test_effects_are_visible_at_the_start_of_a_step_in_the_profile_blis(prepare):
    """The same request has left for an observer while its step runs."""
    assert seen_by(prepare((20, 1, 0), (1, 1, 2000), profile="blis"), 60, 119) == {60: (0, 0), 119: (0, 0)}


@BOTH
def test_hooks_are_called_when_a_token_is_delivered(prepare, engine):
    simulation = prepare((20, 3, 0), **engine)
    calls = []
    simulation.on_first_token(lambda request: calls.append(("first token", simulation.env.now)))
    simulation.on_complete(lambda request: calls.append(("complete", simulation.env.now)))
    simulation.run()
    assert calls == [("first token", 120), ("complete", 340)]


@BOTH
def test_blocks_go_to_a_process_that_waits_when_the_step_ends(prepare, engine):
    """r0 holds two of three blocks from 0 to 120; another process wants two from tick 10 on."""
    simulation = prepare((20, 1, 0), blocks=3, **engine)
    got = []

    def want():
        yield simulation.env.timeout(10)
        yield simulation.replicas[0].kv_blocks.get(2)
        got.append(simulation.env.now)

    simulation.env.process(want())
    simulation.run()
    assert got == [120]


@pytest.mark.parametrize(
    ("deadline", "outcome", "finished_at"),
    [(341, "completed", 340), (340, "timed_out", 340), (339, "timed_out", 340), (231, "timed_out", 340)],
)
@BOTH
def test_timeout_takes_effect_at_the_end_of_the_step_and_its_token_is_lost(
    serve, engine, deadline, outcome, finished_at
):
    """Tokens at 120, 230 and 340. The engine removes a request between steps, before it delivers the step."""
    served = serve((20, 3, 0, {"deadline": deadline}), **engine)
    assert served.column("outcome") == [outcome]
    assert served.column("finished_at_us") == [finished_at]
    assert served.column("itl_count") == [2 if outcome == "completed" else 1]
    assert served.replica.observe().used_blocks == 0


@BOTH
def test_deadline_counts_against_the_recorded_end_with_its_delays(serve, engine):
    """Each of the three tokens takes 5 µs to process: the response is complete at 340 + 15."""
    rows = [(20, 3, 0, {"deadline": deadline}) for deadline in (354, 355)]
    late, in_time = (serve(row, alpha=(0.0, 0.0, 5.0), **engine) for row in rows)
    assert (late.column("outcome"), late.column("finished_at_us")) == (["timed_out"], [354])
    assert (in_time.column("outcome"), in_time.column("finished_at_us")) == (["completed"], [355])


@BOTH
def test_preempted_request_keeps_its_first_token_and_its_outputs(serve, engine):
    """Eight blocks; both requests need a fifth at their 33rd output, and the second gives way.

    Prefill of both: 100 + 64 = 164. 32 decode steps of 120 each: outputs 33 at 164 + 3840 = 4004. Then r0 alone, steps
    of 110: its 40th at 4774. r1 finds three of its four blocks (48 of 65 tokens) and computes 17: its 34th output in
    one step of 117, the others in six steps of 110. With a step ahead the engine drains first, and pauses for 1 ms.
    """
    served = serve((32, 40, 0), (32, 40, 0), blocks=8, **engine)
    assert served.column("ttft_us") == [164, 164]
    resumed_at = 4774 + (0 if engine is SYNC else 1000)
    assert served.column("finished_at_us") == [4774, resumed_at + 117 + 6 * 110]
    assert served.column("num_preemptions") == [0, 1]
    assert served.column("itl_count") == [39, 39]
    gaps = served.result.aggregate.itl
    assert gaps.values.max() == resumed_at + 117 - 4004


def test_step_gaps_include_pauses(serve):
    """Two requests in steps of 120, with a pause of 1 ms between them."""
    served = serve((20, 1, 0), (20, 1, 50), **ASYNC)
    gaps = StepGaps(served.replica.steps, served.replica.gaps_include_pauses)
    assert [gap for block in gaps.blocks() for gap in block.tolist()] == [120, 1120]


@pytest.mark.parametrize(("engine", "prompt", "outcome"), [(SYNC, 0, "dropped"), (SYNC, 1, "completed")])
def test_empty_prompt_is_dropped(serve, engine, prompt, outcome):
    served = serve((prompt, 3, 0), over_length="drop", **engine)
    assert served.column("outcome") == [outcome]


@BOTH
def test_runs_of_decode_steps_are_planned(prepare, engine):
    """The 600 steps of two requests, one after the other, are recorded in a few stretches."""
    stretches, starts = {}, {}
    for macro_steps in (True, False):
        simulation = prepare((20, 300, 0), (20, 300, 100_000), macro_steps=macro_steps, **engine)
        simulation.run()
        steps = simulation.replicas[0].steps
        stretches[macro_steps] = steps.num_stretches
        starts[macro_steps] = steps.table()["start_us"].tolist()
    first, second = ([at, *range(at + 120, at + 120 + 299 * 110, 110)] for at in (0, 100_000))
    assert starts[True] == starts[False] == first + second
    assert stretches[False] == 600
    assert stretches[True] < 30


@BOTH
def test_a_plan_goes_on_while_the_first_token_and_the_end_of_a_request_are_delivered(prepare, engine):
    """The second request joins and ends while the first decodes; another process sees it at the ends of the steps."""
    changes, stretches = {}, {}
    for macro_steps in (True, False):
        simulation = prepare((20, 600, 0), (20, 200, 30_000), macro_steps=macro_steps, **engine)
        changes[macro_steps] = observed = []

        def look(simulation=simulation, observed=observed):
            request = simulation.requests[1]
            while len(observed) < 3:
                shown = request.ttft, request.outcome.name
                if not observed or observed[-1][1:] != shown:
                    observed.append((simulation.env.now, *shown))
                yield simulation.env.timeout(10)

        simulation.env.process(look())
        simulation.run()
        stretches[macro_steps] = simulation.replicas[0].steps.num_stretches
    assert changes[True] == changes[False]
    assert stretches[False] == 600
    assert stretches[True] <= 10


def test_a_response_is_sent_at_its_tick_while_another_process_holds_the_block(prepare):
    """The first request ends at 100 µs and takes 7 µs for its response; the process has the block until 400 µs."""
    simulation = prepare((1, 1, 0), (1, 1, 0), alpha=(0, 0, 7), beta=(100, 0, 0), step_effects="end", blocks=1)
    ticks = []

    class Ends(blis.Observer):
        def ended(self, request):
            ticks.append(simulation.env.now)

    def hold():
        yield simulation.env.timeout(100)
        yield simulation.replicas[0].kv_blocks.get(1)
        yield simulation.env.timeout(300)
        ticks.append(simulation.env.now)
        yield simulation.replicas[0].kv_blocks.put(1)

    simulation.add_observer(Ends())
    simulation.env.process(hold())
    simulation.run()
    assert ticks == [107, 400, 507]
